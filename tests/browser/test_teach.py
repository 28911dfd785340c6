"""Teaching: a digit is requested, drawn, saved with its label, and can be undone."""

import pytest
from playwright.sync_api import expect

from recognizer.models import Correction
from tests.browser.conftest import OpenPage

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.mark.parametrize("options", [{}, {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark"}])
def test_requested_digit_is_drawn_and_undone(open_page: OpenPage, options: dict[str, object]) -> None:
    drawing = open_page(**options)
    page = drawing.page
    page.goto("/teach")
    asked = page.locator("[data-asked]")
    wanted = (asked.text_content() or "")[-1]
    drawing.draw()

    expect(page.locator("[data-said]")).to_contain_text("Saved, thank you.")
    expect(asked).not_to_contain_text(wanted)
    assert list(Correction.objects.values_list("digit", flat=True)) == [int(wanted)]
    expect(page.locator(f'[data-digit="{wanted}"] [data-count]')).to_have_text("1")
    page.get_by_role("button", name="Undo the last one").click()
    expect(page.locator("[data-said]")).to_contain_text("The last drawing was removed")
    assert not Correction.objects.exists()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_ink_is_kept_and_sent_again_when_site_is_back(open_page: OpenPage) -> None:
    drawing = open_page()
    page = drawing.page
    page.goto("/teach")
    page.context.set_offline(True)
    drawing.draw()
    expect(drawing.alert).to_contain_text("Your ink is kept.")
    page.context.set_offline(False)

    expect(page.locator("[data-said]")).to_contain_text("Saved, thank you.")
