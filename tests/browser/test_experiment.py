"""The page of the optimiser comparison, on a phone."""

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import OpenPage

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_table_and_plot_fit_a_phone(open_page: OpenPage, theme: str) -> None:
    page = open_page(viewport={"width": 390, "height": 844}, color_scheme=theme).page
    page.get_by_role("link", name="Experiment").click()

    expect(page.get_by_role("table")).to_be_visible()
    expect(page.locator(".plot svg").filter(visible=True)).to_have_count(1)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    for part in page.locator(".results, .plot svg:visible").all():
        box = part.bounding_box()
        assert box is not None and box["x"] >= 0 and box["x"] + box["width"] <= 390


@pytest.mark.parametrize("width", [320, 390, 540])
def test_the_header_stays_one_line_with_names_for_its_pictures(open_page: OpenPage, width: int) -> None:
    page = open_page(viewport={"width": width, "height": 700}, color_scheme="light").page
    parts = [page.get_by_role("link", name=name, exact=True) for name in ("Digits", "Draw", "Experiment", "API")]
    boxes = [part.bounding_box() for part in [*parts, page.get_by_role("button", name="Darkmode", exact=True)]]

    assert len({box["y"] for box in boxes if box}) == 1
    assert all(box and box["width"] >= 44 and box["height"] >= 44 for box in boxes)
