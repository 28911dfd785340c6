"""My digits: drawings are found again, corrected later, moved into an account, and deleted."""

import re

import pytest
from playwright.sync_api import Page, expect

from recognizer.models import Correction, Submission
from tests.browser.conftest import OpenPage
from tests.browser.sheet import SEVEN, THREE, DrawingPage

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

PHONE = {"width": 390, "height": 844}


def draw(sheet: DrawingPage, *digits: str) -> None:
    strokes = {"3": THREE, "7": SEVEN}
    for digit in digits:
        sheet.draw(strokes[digit])
        sheet.page.wait_for_selector(f'[data-state="stored"][data-digit="{digit}"]')
        sheet.button("Clear").click()


def open_mine(page: Page) -> None:
    page.get_by_role("link", name="My digits").click()
    expect(page.get_by_role("heading", name="My digits")).to_be_visible()
    page.wait_for_load_state()  # its script listens by then


def test_journey_from_first_drawing_to_deletion(open_page: OpenPage) -> None:
    sheet = open_page(viewport=PHONE)
    page = sheet.page
    draw(sheet, "3", "7")

    open_mine(page)
    cards = page.get_by_role("listitem").filter(has=page.get_by_role("heading", level=2))
    expect(cards).to_have_count(2)
    seven = cards.first
    expect(seven).to_contain_text("It is 7")
    seven.get_by_text("Say what it is").click()
    seven.get_by_role("button", name="1", exact=True).click()
    expect(cards.first).to_contain_text("You said: 1")
    expect(page.get_by_role("status")).to_contain_text("Saved, thank you")
    expect(cards.first.locator("summary")).to_be_focused()
    assert Correction.objects.standing().get().digit == 1

    page.get_by_role("link", name="Log in", exact=True).click()
    page.get_by_role("link", name="Create an account").click()
    page.get_by_label("Username").fill("ada")
    page.get_by_label("Password", exact=True).fill("ruled paper 28")
    page.get_by_label("Password confirmation").fill("ruled paper 28")
    page.get_by_role("button", name="Create an account").click()
    expect(page.get_by_role("status")).to_contain_text("2 earlier drawings were added to your account")
    expect(page.get_by_role("link", name="Account of ada")).to_be_visible()
    expect(cards.first).to_contain_text("You said: 1")

    page.get_by_role("link", name="Draw", exact=True).click()
    draw(sheet, "3")
    open_mine(page)
    expect(cards).to_have_count(3)

    page.get_by_role("link", name="Delete all").click()
    page.get_by_role("button", name="Delete 3 drawings").click()
    expect(page.get_by_text("Nothing here yet")).to_be_visible()
    assert not Submission.objects.exists()


def test_drawing_is_confirmed_withdrawn_and_deleted_without_reload(open_page: OpenPage) -> None:
    sheet = open_page(viewport={"width": 1280, "height": 900})
    draw(sheet, "3", "7")
    page = sheet.page
    open_mine(page)
    page.evaluate("window.stayed = true")
    card = page.locator(".card").first

    card.locator("summary").click()
    card.get_by_role("button", name="Yes, correct").click()
    expect(card).to_contain_text("You said: 7")
    card.locator("summary").click()
    expect(card.get_by_role("button", name="7", exact=True)).to_have_attribute("aria-pressed", "true")
    card.get_by_role("button", name="Withdraw").click()
    expect(card).to_contain_text("No answer from you yet")
    card.locator("summary").click()
    card.get_by_role("button", name="Delete this drawing").click()

    expect(page.locator(".card")).to_have_count(1)
    expect(page.locator(".card")).to_contain_text("It is 3")
    expect(page.locator(".card")).to_be_focused()
    assert page.evaluate("window.stayed")
    assert [stored.digit for stored in Submission.objects.all()] == [3]


def test_choosing_a_digit_filters_at_once(open_page: OpenPage) -> None:
    sheet = open_page(viewport={"width": 1280, "height": 900})
    draw(sheet, "3", "7")
    open_mine(sheet.page)

    sheet.page.get_by_label("Read as").select_option("3")

    sheet.page.wait_for_url(re.compile("digit=3"))
    expect(sheet.page.locator(".card")).to_have_count(1)


def test_page_works_without_scripts(open_page: OpenPage) -> None:
    sheet = open_page(viewport=PHONE)
    draw(sheet, "3")
    plain = open_page(viewport=PHONE, java_script_enabled=False, storage_state=sheet.page.context.storage_state()).page
    plain.goto("/mine")

    plain.locator("summary").filter(has_text="Say what it is").click()
    plain.get_by_role("button", name="8", exact=True).click()

    expect(plain.get_by_role("status")).to_contain_text("Saved, thank you")
    expect(plain.locator(".card")).to_contain_text("You said: 8")


def test_unreachable_site_is_reported_and_nothing_is_lost(open_page: OpenPage) -> None:
    sheet = open_page(viewport=PHONE)
    draw(sheet, "3")
    page = sheet.page
    open_mine(page)
    page.route("**/correction*", lambda route: route.abort())

    page.locator(".card summary").click()
    page.locator(".card").get_by_role("button", name="8", exact=True).click()
    expect(page.get_by_role("status")).to_contain_text("cannot be reached")

    page.unroute("**/correction*")
    page.locator(".card").get_by_role("button", name="8", exact=True).click()
    expect(page.locator(".card")).to_contain_text("You said: 8")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1280])
def test_pages_fit_their_window_and_controls_are_large(open_page: OpenPage, width: int, theme: str) -> None:
    sheet = open_page(viewport={"width": width, "height": 844}, color_scheme=theme)
    draw(sheet, "3")
    page = sheet.page
    for address in ("/mine", "/mine/deletion", "/account/login", "/account/signup", "/account/reset"):
        page.goto(address)
        assert page.evaluate("document.documentElement.scrollWidth") == width, address
        presses = page.locator("main").locator("a.link, button, summary, input:not([type=hidden]), select")
        for part in presses.filter(visible=True).all():
            box = part.bounding_box()
            assert box is not None and box["height"] >= 43.9, (address, part.inner_text())
