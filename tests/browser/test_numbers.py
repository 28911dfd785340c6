"""Numbers are written the same by the server and by the pages' scripts, in each language."""

from collections.abc import Callable

import pytest
from django.conf import settings
from django.templatetags.static import static
from django.utils import translation

from tests.browser.conftest import OpenPage
from web import numbers

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

SHARES = (0, 0.0004, 0.0049, 0.005, 0.0625, 0.285, 0.5, 0.9977, 0.9949, 0.9994, 0.9995, 0.99951, 0.99999, 1, 1.1)
VALUES = (0, 0.0005, 0.12345, 0.125, 1, 2.5, 12.345, 999.995, 1000, 1234.5, 70_000, 1_234_567.891)
PLACES = (0, 1, 2, 3, 4)

BY_SCRIPTS = """
async ([module, shares, values, places]) => {
  const { decimal, percent } = await import(module);
  const written = (write, numbers) => numbers.flatMap((number) => places.map((count) => write(number, count)));
  return { percent: written(percent, shares), decimal: written(decimal, values) };
}
"""


def by_server(write: Callable[[float, int], str], values: tuple[float, ...]) -> list[str]:
    return [write(value, places) for value in values for places in PLACES]


@pytest.mark.parametrize("language", [code for code, _ in settings.LANGUAGES])
def test_scripts_and_server_write_numbers_alike(open_page: OpenPage, language: str) -> None:
    page = open_page(locale=language).page
    assert page.locator("html").get_attribute("lang") == language

    scripts = page.evaluate(BY_SCRIPTS, [static("js/words.js"), SHARES, VALUES, PLACES])

    with translation.override(language):
        assert scripts["percent"] == by_server(numbers.percent, SHARES)
        assert scripts["decimal"] == by_server(numbers.decimal, VALUES)
