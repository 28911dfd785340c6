"""Whole journeys by keyboard alone and by touch alone: drawing, correcting, teaching, looking back, deleting."""

import pytest
from playwright.sync_api import Locator, Page, expect

from recognizer.models import Correction, Submission
from recognizer.tasks import recount_statistics
from tests.browser.conftest import OpenPage
from tests.browser.sheet import SEVEN, THREE, DrawingPage
from tests.browser.test_ways_in import PHONE, finger

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

FOCUS_IS_SEEN = """
(part) => {
  const { outlineStyle, outlineWidth, boxShadow } = getComputedStyle(part);
  const box = part.getBoundingClientRect();
  const there = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
  const marked = (outlineStyle !== "none" && parseFloat(outlineWidth) >= 2) || boxShadow !== "none";
  return marked && (part.contains(there) || there?.contains(part));
}
"""


def tab_to(page: Page, target: Locator) -> None:
    """Press Tab until the target has focus, and check that the focus is visible and not covered."""
    for _ in range(80):
        if target.count() and target.first.evaluate("(part) => part === document.activeElement"):
            assert target.first.evaluate(FOCUS_IS_SEEN), target
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"Tab never came to {target}")


def open_by_key(page: Page, link: str) -> None:
    tab_to(page, page.get_by_role("navigation").get_by_role("link", name=link, exact=True))
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_be_visible()


def draw_a_one(page: Page) -> None:
    tab_to(page, page.locator("[data-canvas]"))
    page.keyboard.press("Space")
    for _ in range(28):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    page.keyboard.press("Enter")


def test_journey_by_keyboard_alone(open_page: OpenPage) -> None:
    sheet = open_page(viewport={"width": 1280, "height": 900})
    page = sheet.page

    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # the first link skips the header
    draw_a_one(page)
    sheet.wait_until("stored")
    tab_to(page, sheet.button("7"))
    page.keyboard.press("Enter")
    expect(sheet.saved).to_contain_text("You said: 7")

    page.reload()
    open_by_key(page, "Teach")
    draw_a_one(page)
    expect(page.locator("[data-said]")).to_contain_text("Saved, thank you.")
    tab_to(page, page.get_by_role("button", name="Undo the last one"))
    page.keyboard.press("Enter")
    expect(page.locator("[data-said]")).to_contain_text("The last drawing was removed")

    page.reload()
    open_by_key(page, "My digits")
    card = page.locator(".card").first
    tab_to(page, card.locator("summary"))
    page.keyboard.press("Enter")
    tab_to(page, card.get_by_role("button", name="4", exact=True))
    page.keyboard.press("Enter")
    expect(page.locator(".card").first).to_contain_text("You said: 4")
    assert Correction.objects.standing().get().digit == 4

    recount_statistics()
    open_by_key(page, "Statistics")
    tab_to(page, page.locator("summary", has_text="As a table").first)
    page.keyboard.press("Enter")
    expect(page.locator("table").first).to_be_visible()

    page.reload()
    open_by_key(page, "Models")
    tab_to(page, page.get_by_role("link", name="Version 1", exact=True).first)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Version 1")

    open_by_key(page, "My digits")
    tab_to(page, page.get_by_role("link", name="Delete all"))
    page.keyboard.press("Enter")
    tab_to(page, page.get_by_role("button", name="Delete 1 drawing", exact=True))
    page.keyboard.press("Enter")
    expect(page.get_by_text("Nothing here yet")).to_be_visible()
    assert not Submission.objects.exists()


def test_journey_by_touch_alone(open_page: OpenPage) -> None:
    sheet = open_page(**PHONE)
    page = sheet.page
    session = page.context.new_cdp_session(page)

    finger(sheet, SEVEN[0], session)
    sheet.wait_until("stored")
    sheet.button("1").tap()
    expect(sheet.saved).to_contain_text("You said: 1")

    page.get_by_role("link", name="Teach", exact=True).tap()
    page.wait_for_url("**/teach")
    finger(DrawingPage(page), THREE[0], session)
    expect(page.locator("[data-said]")).to_contain_text("Saved, thank you.")

    page.get_by_role("link", name="My digits", exact=True).tap()
    expect(page.locator(".card")).to_have_count(2)
    page.locator(".card summary").last.tap()
    page.locator(".card").last.get_by_role("button", name="Withdraw").tap()
    expect(page.locator(".card").last).to_contain_text("No answer from you yet")
    assert Correction.objects.standing().count() == 1

    page.get_by_role("link", name="Models", exact=True).tap()
    page.get_by_role("link", name="Version 1", exact=True).first.tap()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Version 1")
    page.get_by_role("link", name="About", exact=True).tap()
    expect(page.get_by_text("The first layer")).to_be_visible()
    page.wait_for_load_state()
    assert page.evaluate("document.documentElement.scrollWidth") == 390
