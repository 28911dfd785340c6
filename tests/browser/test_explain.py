"""Asking why: the panel explains in words and pictures, keeps its place, and never shows stale content."""

import re

import pytest
from playwright.sync_api import Locator, Route, expect

from recognizer.models import Submission
from tests.browser.conftest import OpenPage
from tests.browser.sheet import SEVEN, THREE, DrawingPage

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

EXPLANATION = "**/api/v1/submissions/*/explanation"
PHONE = {"width": 390, "height": 844}


class Panel:
    """The panel that the button "Why?" opens."""

    def __init__(self, sheet: DrawingPage) -> None:
        self.toggle = sheet.button("Why?")
        self.root: Locator = sheet.page.locator("[data-why]")
        self.answer: Locator = self.root.get_by_role("status")
        self.heat: Locator = self.root.locator("[data-why-heat]")


@pytest.fixture
def panel(sheet: DrawingPage) -> Panel:
    return Panel(sheet)


def test_why_names_influential_ink_and_reading_without_it(sheet: DrawingPage, panel: Panel) -> None:
    sheet.draw(THREE)
    sheet.wait_until("stored")
    expect(panel.root).to_be_hidden()
    panel.toggle.click()

    expect(panel.toggle).to_have_attribute("aria-expanded", "true")
    expect(panel.answer).to_have_text(
        re.compile(
            r"The strongest evidence for 3 is (at|in) the [a-z ]+\."
            r" Without that [123]0% of the ink, the network .*reads"
        )
    )
    expect(panel.heat).to_have_attribute("src", re.compile("^data:image/png;base64,"))
    expect(panel.heat).to_have_attribute("alt", re.compile("^The ink with the most influence is bright: [a-z ]+$"))
    expect(panel.root.locator("[data-why-runner-up]")).to_have_text(re.compile(r"^Next most likely: an? \d, "))
    panel.toggle.click()
    expect(panel.root).to_be_hidden()


def test_explanation_is_requested_once_and_only_on_demand(sheet: DrawingPage, panel: Panel) -> None:
    asked: list[str] = []
    sheet.page.on("request", lambda request: asked.append(request.url) if "explanation" in request.url else None)
    sheet.draw(THREE)
    sheet.wait_until("stored")
    assert asked == []

    panel.toggle.click()
    expect(panel.answer).to_contain_text("strongest evidence")
    panel.toggle.click()
    expect(panel.root).to_be_hidden()
    panel.toggle.click()
    expect(panel.answer).to_contain_text("strongest evidence")

    assert len(asked) == 1


def test_open_panel_follows_next_drawing_and_is_never_stale(sheet: DrawingPage, panel: Panel) -> None:
    sheet.draw(THREE)
    sheet.wait_until("stored")
    panel.toggle.click()
    expect(panel.answer).to_contain_text("for 3")

    sheet.button("Clear").click()
    expect(panel.answer).to_contain_text("When a drawing has been read and stored")
    expect(panel.heat).to_be_hidden()
    sheet.draw(SEVEN)
    expect(panel.answer).to_contain_text("for 7")


def test_late_explanation_is_dropped(sheet: DrawingPage, panel: Panel) -> None:
    held: list[Route] = []
    sheet.page.route(EXPLANATION, lambda route: held.append(route) if not held else route.continue_())
    sheet.draw(THREE)
    sheet.wait_until("stored")
    panel.toggle.click()
    expect(panel.answer).to_contain_text("Erasing ink")

    sheet.button("Clear").click()
    sheet.draw(SEVEN)
    expect(panel.answer).to_contain_text("for 7")
    held[0].continue_()
    held[0].request.response()  # it has come, or was given up

    expect(panel.answer).to_contain_text("for 7")


def test_similar_drawing_of_the_owner_is_shown_with_its_source(sheet: DrawingPage, panel: Panel) -> None:
    sheet.draw(THREE)
    sheet.wait_until("stored")
    sheet.button("Yes, correct").click()
    expect(sheet.saved).to_contain_text("Saved")
    Submission.objects.get().corrections.update(state="accepted", decided=Submission.objects.get().created)

    sheet.draw(THREE)
    expect(sheet.saved).to_be_empty()
    sheet.wait_until("stored")
    panel.toggle.click()

    own = panel.root.get_by_role("listitem").first
    expect(own).to_contain_text("Yours")
    expect(own).to_contain_text(re.compile(r"\d+% match"))


@pytest.mark.parametrize("viewport", [{"width": 1280, "height": 900}, PHONE], ids=["desk", "phone"])
def test_layout_does_not_shift_when_explanation_arrives(open_page: OpenPage, viewport: dict[str, int]) -> None:
    sheet = open_page(viewport=viewport)
    panel = Panel(sheet)
    panel.toggle.click()
    expect(panel.answer).to_contain_text("When a drawing")
    waiting = panel.root.evaluate("panel => panel.getBoundingClientRect().height")
    sheet.page.evaluate(
        """() => {
            window.shifts = 0;
            new PerformanceObserver((list) => {
                for (const entry of list.getEntries()) window.shifts += entry.value;
            }).observe({ type: "layout-shift" });
        }"""
    )

    sheet.canvas.scroll_into_view_if_needed()
    sheet.draw(THREE)
    expect(panel.answer).to_contain_text("strongest evidence")

    assert panel.root.evaluate("panel => panel.getBoundingClientRect().height") == waiting
    assert sheet.page.evaluate("window.shifts") < 0.01
    assert sheet.page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]


def test_panel_opens_by_keyboard(sheet: DrawingPage, panel: Panel) -> None:
    sheet.draw(THREE)
    sheet.wait_until("stored")
    panel.toggle.focus()
    sheet.page.keyboard.press("Enter")

    expect(panel.answer).to_contain_text("strongest evidence for 3")
    expect(panel.toggle).to_be_focused()
    assert Submission.objects.count() == 1


def test_explanation_is_retried_when_site_is_back(sheet: DrawingPage, panel: Panel) -> None:
    sheet.draw(THREE)
    sheet.wait_until("stored")
    sheet.page.context.set_offline(True)
    panel.toggle.click()

    expect(sheet.alert).to_contain_text("cannot be reached")
    expect(panel.answer).to_contain_text("No explanation is available now")
    sheet.page.context.set_offline(False)
    expect(panel.answer).to_contain_text("strongest evidence for 3")
    expect(sheet.alert).to_be_hidden()


def test_throttled_explanation_is_retried(sheet: DrawingPage, panel: Panel) -> None:
    sheet.draw(THREE)
    sheet.wait_until("stored")
    sheet.page.route(EXPLANATION, lambda route: route.fulfill(status=429, headers={"Retry-After": "1"}, body="{}"))
    panel.toggle.click()
    expect(sheet.alert).to_contain_text("Retrying")
    sheet.page.unroute(EXPLANATION)

    expect(panel.answer).to_contain_text("strongest evidence for 3")
