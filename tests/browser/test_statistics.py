"""The statistics in a browser: they fit every screen in both themes, and each chart has a table."""

import re

import pytest
from playwright.sync_api import expect

from recognizer.models import ModelVersion
from recognizer.tasks import recount_statistics
from tests.browser.conftest import OpenPage
from tests.test_statistics import drew

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def season(active_model: ModelVersion) -> None:
    """Five weeks in which people draw, confirm and correct."""
    for days_ago in range(35):
        drew(active_model, days_ago, count=12, said=3)
        drew(active_model, days_ago, count=4, said=8 if days_ago % 3 else None, confidence=0.7, verdict="unsure")
        drew(active_model, days_ago, count=4, ink=None, digit=None, verdict="not_a_digit")
    recount_statistics()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1280])
def test_page_fits_and_tables_open_by_keyboard(season: None, open_page: OpenPage, width: int, theme: str) -> None:
    page = open_page(viewport={"width": width, "height": 844}, color_scheme=theme).page
    page.get_by_role("link", name="Statistics", exact=True).click()
    expect(page.get_by_role("heading", name="Drawings per day")).to_be_visible()

    tables = page.locator("summary", has_text="As a table")
    expect(tables).to_have_count(7)
    for table in tables.all():
        table.focus()
        page.keyboard.press("Enter")
        box = table.bounding_box()
        assert box is not None and box["height"] >= 44 and box["width"] >= 44
    first = page.get_by_role("region", name="Drawings per day").get_by_role("row").nth(1)
    expect(first).to_have_text(re.compile(r"\d{4}-\d\d-\d\d\s*16\s*4\s*20"))

    assert page.evaluate("document.documentElement.scrollWidth") == width
    for part in page.locator("main :is(table, svg, img, .badge)").filter(visible=True).all():
        box = part.bounding_box()
        assert box is not None and box["x"] >= 0 and box["x"] + box["width"] <= width + 0.5


def test_empty_site_links_to_drawing(open_page: OpenPage) -> None:
    page = open_page().page
    page.goto("/statistics")

    page.get_by_role("link", name="Draw the first digit").click()
    expect(page.get_by_role("button", name="Clear")).to_be_visible()
