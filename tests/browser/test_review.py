"""The review in a browser: sixty decisions by keyboard, nothing lost, and two reviewers at once."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from playwright.sync_api import Page, Route, expect

from recognizer.models import Correction
from tests.browser.conftest import OpenPage
from tests.browser.sheet import requests_after
from tests.labels import labelled

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

State = Correction.State
OpenDesk = Callable[..., Page]

DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}


@pytest.fixture
def open_desk(open_page: OpenPage) -> OpenDesk:
    """Open the review in its own browser profile, as staff."""

    def open_one(name: str = "ann", address: str = "/review", **options: Any) -> Page:
        user, _ = User.objects.get_or_create(username=name, is_staff=True, is_superuser=True)
        client = Client()
        client.force_login(user)
        page = open_page(**({"viewport": DESKTOP} | options)).page
        page.context.add_cookies([{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": page.url}])
        page.goto(address)
        return page

    return open_one


def make_pending(count: int) -> list[int]:
    """Create pending corrections with rising confidence, and return their ids."""
    numbers = []
    for place in range(count):
        drawing = labelled(f"p{place % 7}", place % 10, answered=(place + 1) % 10, seed=place, state=State.PENDING)
        drawing.corrections.update(confidence=place / 1000)
        numbers.append(drawing.corrections.get().pk)
    return numbers


def shown(page: Page) -> int:
    """Return the id of the correction on the open card."""
    return int((page.locator("[data-card][aria-current]").get_attribute("id") or "card-0").removeprefix("card-"))


def waiting() -> int:
    return Correction.objects.waiting().count()


def until(page: Page, done: Callable[[], bool]) -> None:
    """Wait for the site: decisions are sent while the reviewer goes on."""
    for _ in range(200):
        if done():
            return
        page.wait_for_timeout(50)
    raise AssertionError("it never came to that")


def test_sixty_cards_are_decided_by_keyboard_within_a_minute(open_desk: OpenDesk) -> None:
    make_pending(90)
    page = open_desk()
    decided: set[int] = set()

    began = time.monotonic()
    for place in range(60):
        expect(page.locator("[data-card][aria-current]:focus")).to_have_count(1)  # after a page's last one, the next
        decided.add(shown(page))
        page.keyboard.press("ar5n"[place % 4])
    until(page, lambda: waiting() == 30)
    seconds = time.monotonic() - began

    print(f"60 decisions in {seconds:.1f} s: {3600 / seconds:.0f} a minute")
    assert len(decided) == 60
    assert not Correction.objects.waiting().filter(pk__in=decided).exists()
    assert Correction.objects.filter(state=State.ACCEPTED, superseded=None).count() == 45
    assert Correction.objects.filter(state=State.REJECTED).count() == 15
    assert seconds < 60


def test_last_card_leads_to_the_end_of_the_queue(open_desk: OpenDesk) -> None:
    make_pending(2)
    page = open_desk()

    page.keyboard.press("a")
    page.keyboard.press("r")

    expect(page.get_by_text("Nothing is waiting for review")).to_be_visible()
    assert waiting() == 0
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("[data-card]")).to_have_count(1)
    assert waiting() == 1


def test_undo_goes_back_decision_by_decision(open_desk: OpenDesk) -> None:
    first, second, third = make_pending(3)
    page = open_desk()
    for key in ("a", "5"):
        page.keyboard.press(key)
    assert shown(page) == third
    expect(page.locator("[data-tally]")).to_have_text("2 decided")

    page.keyboard.press("z")
    expect(page.locator("[data-card][aria-current]:focus")).to_have_id(f"card-{second}")
    page.keyboard.press("z")
    expect(page.locator("[data-card][aria-current]:focus")).to_have_id(f"card-{first}")

    assert waiting() == 3
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_role("status")).to_contain_text("nothing to undo")


def test_two_concurrent_reviewers_get_different_cards(open_desk: OpenDesk) -> None:
    make_pending(100)
    left, right = open_desk("ann"), open_desk("bea")
    seen: dict[str, set[int]] = {"left": set(), "right": set()}

    for _ in range(20):
        for name, page in (("left", left), ("right", right)):
            seen[name].add(shown(page))
            page.keyboard.press("a")

    until(left, lambda: waiting() == 60)
    assert len(seen["left"]) == len(seen["right"]) == 20
    assert not seen["left"] & seen["right"]
    assert "first" not in left.get_by_role("status").inner_text() + right.get_by_role("status").inner_text()


def test_second_reviewer_is_told_and_card_disappears(open_desk: OpenDesk) -> None:
    first, _second = make_pending(2)
    page = open_desk()
    Correction.objects.filter(pk=first).update(state=State.REJECTED)

    page.keyboard.press("a")

    expect(page.get_by_role("status")).to_contain_text("Another reviewer had already decided")
    expect(page.locator("[data-card]")).to_have_count(1)
    assert Correction.objects.get(pk=first).state == State.REJECTED


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        (lambda route: route.abort(), "the site cannot be reached"),
        (lambda route: route.fulfill(status=429, json={"detail": "Too much at once."}), "Too much at once."),
    ],
)
def test_unsaved_decision_returns_with_the_reason(
    open_desk: OpenDesk, trouble: Callable[[Route], None], reason: str
) -> None:
    first, second, _third = make_pending(3)
    page = open_desk()
    page.route("**/review/decisions", trouble)

    page.keyboard.press("a")

    expect(page.locator("[data-card]:visible")).to_have_count(3)
    assert shown(page) == second  # the open card stays: a key press may be meant for it
    page.keyboard.press("ArrowLeft")
    expect(page.locator(f"#card-{first}").get_by_role("alert")).to_contain_text(reason)
    assert waiting() == 3
    page.unroute("**/review/decisions")
    page.keyboard.press("a")
    until(page, lambda: not Correction.objects.waiting().filter(pk=first).exists())


def test_key_hides_the_opinion(open_desk: OpenDesk) -> None:
    make_pending(2)
    page = open_desk(address="/review?said=0")
    expect(page.locator("[aria-current] .opinion")).to_be_visible()

    page.keyboard.press("h")

    expect(page.locator(".opinion")).to_have_count(0)
    expect(page.locator("[data-card]")).to_have_count(1)
    page.keyboard.press("h")
    expect(page.locator("[aria-current] .opinion")).to_be_visible()


def test_near_identical_drawings_are_selected_and_decided_together(open_desk: OpenDesk) -> None:
    for owner in ("ann", "bob", "cem"):
        labelled(owner, 8, answered=3, state=State.PENDING)
    other = labelled("dan", 1, answered=7, state=State.PENDING)
    page = open_desk()

    page.keyboard.press("s")
    expect(page.locator(".card__select input:checked")).to_have_count(3)
    page.keyboard.press("Shift+R")

    until(page, lambda: Correction.objects.filter(state=State.REJECTED).count() == 3)
    expect(page.locator("[data-card]")).to_have_count(1)
    page.get_by_label(f"Select drawing {other.pk}").check()
    page.get_by_role("button", name="Accept all selected").click()
    until(page, lambda: waiting() == 0)


def test_ink_is_replayed(open_desk: OpenDesk) -> None:
    make_pending(2)
    page = open_desk()
    page.keyboard.press("p")
    canvas = page.locator("[aria-current] canvas")
    early = canvas.evaluate("(canvas) => canvas.toDataURL()")
    until(page, lambda: canvas.evaluate("(canvas) => canvas.toDataURL()") != early)
    page.keyboard.press("a")
    expect(page.locator("canvas")).to_have_count(0)


def test_reduced_motion_shows_ink_at_once(open_desk: OpenDesk) -> None:
    make_pending(1)
    page = open_desk(reduced_motion="reduce")

    page.clock.install()
    page.get_by_role("button", name="Replay").click()
    canvas = page.locator("[aria-current] canvas")
    whole = canvas.evaluate("(canvas) => canvas.toDataURL()")
    page.clock.fast_forward(10_000)

    assert canvas.evaluate("(canvas) => canvas.toDataURL()") == whole
    assert len(whole) > 5000  # an empty canvas is smaller


def test_shortcuts_are_ignored_in_fields_and_outside_the_review(open_desk: OpenDesk) -> None:
    make_pending(2)
    page = open_desk()

    page.locator(".sift summary").click()
    page.get_by_label("Person says", exact=True).focus()
    assert requests_after(page, lambda: page.keyboard.press("5")) == []
    page.get_by_label("Version", exact=True).fill("1")
    page.locator("header a").first.focus()
    assert requests_after(page, lambda: page.keyboard.press("a")) == []
    assert waiting() == 2


def test_review_works_without_scripts(open_desk: OpenDesk) -> None:
    first, second = make_pending(2)
    page = open_desk(java_script_enabled=False, viewport=PHONE)

    page.locator(f"#card-{second}").get_by_role("button", name="7", exact=True).click()
    expect(page.get_by_role("status")).to_contain_text("1 decision saved")
    expect(page.locator("[data-card]")).to_have_count(1)
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("[data-card]")).to_have_count(2)
    page.locator(f"#card-{first} input[type=checkbox]").check()
    page.get_by_role("button", name="Reject all selected").click()

    expect(page.locator("[data-card]")).to_have_count(1)
    assert Correction.objects.get(pk=first).state == State.REJECTED


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1280])
def test_page_fits_its_window_and_controls_are_large(open_desk: OpenDesk, width: int, theme: str) -> None:
    make_pending(30)
    page = open_desk(viewport={"width": width, "height": 844}, color_scheme=theme)

    for address in ("/review", "/review?said=8&age=day", "/review?said=none"):
        page.goto(address)
        page.locator("main summary").evaluate_all("all => all.forEach((one) => one.parentElement.open = true)")
        assert page.evaluate("document.documentElement.scrollWidth") == width, address
        presses = page.locator("main").locator("a, button, summary, select, .card__select")
        for part in presses.filter(visible=True).all():
            box = part.bounding_box()
            assert box is not None and box["height"] >= 43.9, (address, part.inner_text())


def test_decision_buttons_are_visible_on_a_phone_without_scrolling(open_desk: OpenDesk) -> None:
    make_pending(20)
    page = open_desk(viewport=PHONE, has_touch=True)

    for name in ("Accept", "Reject", "9", "Not a digit"):
        box = page.locator("[aria-current]").get_by_role("button", name=name, exact=name.isdigit()).bounding_box()
        assert box is not None and box["y"] + box["height"] <= PHONE["height"], name
    page.locator("[aria-current]").get_by_role("button", name="Reject").tap()
    until(page, lambda: waiting() == 19)
