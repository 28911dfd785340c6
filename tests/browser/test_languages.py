"""The drawing page in another language, and from right to left."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import OpenPage
from tests.browser.sheet import THREE

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844)])
def test_digit_is_drawn_and_read_in_arabic(open_page: OpenPage, width: int, height: int) -> None:
    drawing = open_page(locale="ar-MA", viewport={"width": width, "height": height})
    page = drawing.page
    drawing.draw(THREE)

    expect(page.locator("[data-verdict-text]")).to_have_text("إنه 3")
    expect(page.locator("[data-state-text]")).to_have_text("قُرئ وحُفظ")
    expect(page.locator("[data-confidence]")).to_have_text(re.compile("9"))
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    brand, switch = page.locator(".brand").bounding_box(), page.locator("[data-theme-switch]").bounding_box()
    assert brand and switch and brand["x"] > switch["x"]


def test_language_can_be_changed_and_is_remembered(open_page: OpenPage) -> None:
    page = open_page(locale="en-GB").page
    page.get_by_role("button", name="Français").click()

    expect(page.get_by_role("heading", level=1)).to_have_text("Dessinez un chiffre")
    page.goto("/experiment")
    expect(page.get_by_role("link", name="Dessiner", exact=True)).to_be_visible()
