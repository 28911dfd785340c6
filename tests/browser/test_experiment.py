"""The page of the optimiser comparison, on a phone."""

import pytest
from playwright.sync_api import FloatRect, Locator, expect

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


@pytest.mark.parametrize("width", [320, 390, 540, 800])
def test_header_fits_all_widths_with_labels(open_page: OpenPage, width: int) -> None:
    page = open_page(viewport={"width": width, "height": 700}, color_scheme="light").page

    def boxes(*parts: Locator) -> list[FloatRect]:
        return [box for part in parts if (box := part.bounding_box())]

    pages = boxes(*[page.get_by_role("link", name=n, exact=True) for n in ("Draw", "Teach", "My digits", "About")])
    corners = boxes(
        page.get_by_role("link", name="Digits", exact=True),
        page.get_by_role("link", name="Log in", exact=True),
        page.get_by_role("button", name="Dark mode", exact=True),
    )

    assert len({box["y"] for box in pages}) == 1 == len({box["y"] for box in corners})
    assert (pages[0]["y"] > corners[0]["y"]) == (width < 768)  # on phones the pages have a line of their own
    assert all(box["width"] >= 44 and box["height"] >= 44 for box in pages + corners)
    assert all(box["x"] >= 0 and box["x"] + box["width"] <= width for box in corners)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for name in ("About", "Draw"):  # a line that is too long scrolls
        link = page.get_by_role("link", name=name, exact=True)
        link.focus()
        (box,) = boxes(link)
        assert box["x"] >= 0 and box["x"] + box["width"] <= width
