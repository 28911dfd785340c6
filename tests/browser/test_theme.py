"""Dark and light mode: the system's preference, until the visitor chooses."""

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import OpenPage
from tests.browser.sheet import SURFACE, THREE, DrawingPage
from tests.processes import until

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def ground(sheet: DrawingPage) -> int:
    """Return the lightness of the page, 0 to 255."""
    lightness = sheet.page.evaluate("Number(getComputedStyle(document.body).backgroundColor.match(/[0-9]+/)[0])")
    assert isinstance(lightness, int)
    return lightness


def test_theme_follows_the_system(open_page: OpenPage) -> None:
    sheet = open_page(color_scheme="dark")
    assert ground(sheet) < 60
    expect(sheet.button("Light mode")).to_be_visible()

    sheet.page.emulate_media(color_scheme="light")

    assert ground(sheet) > 200
    expect(sheet.button("Dark mode")).to_be_visible()


def test_chosen_theme_is_remembered(open_page: OpenPage) -> None:
    sheet = open_page(color_scheme="light")
    sheet.button("Dark mode").click()
    assert ground(sheet) < 60

    sheet.page.reload()

    assert ground(sheet) < 60
    expect(sheet.button("Light mode")).to_be_visible()


def test_ink_has_the_colour_of_the_theme(open_page: OpenPage) -> None:
    sheet = open_page(color_scheme="light")
    sheet.draw(THREE)
    sheet.wait_until("stored")
    inked = sheet.inked_pixels()

    sheet.button("Dark mode").click()

    x, y = THREE[0][0]
    red = """(canvas, [x, y]) => {
        const copy = new OffscreenCanvas(1, 1).getContext("2d");
        copy.drawImage(canvas, -Math.round(x * canvas.width), -Math.round(y * canvas.height));
        return copy.getImageData(0, 0, 1, 1).data[0];
    }"""
    until(lambda: sheet.canvas.evaluate(red, [x / SURFACE, y / SURFACE]) > 200)
    assert sheet.inked_pixels() == inked


def test_reduced_motion_stops_animations(open_page: OpenPage) -> None:
    sheet = open_page(reduced_motion="reduce")
    sheet.draw(THREE)
    sheet.wait_until("stored")

    assert sheet.page.evaluate("document.getAnimations().length") == 0
