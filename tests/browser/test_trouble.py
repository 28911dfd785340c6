"""The drawing page when the site refuses or does not answer."""

from typing import Any

import pytest
from playwright.sync_api import expect

from recognizer.models import Submission
from tests.browser.sheet import SEVEN, THREE, DrawingPage
from web.rates import Rate

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

SUBMISSIONS = "**/api/v1/submissions"


def test_throttled_drawing_is_retried_after_the_wait(sheet: DrawingPage, settings: Any) -> None:
    settings.THROTTLES = {"submissions": Rate(calls=1, period=4)}
    sheet.draw(THREE)
    sheet.wait_until("stored")
    sheet.draw(SEVEN)

    expect(sheet.alert).to_contain_text("Retrying in")
    sheet.wait_until("stored")

    expect(sheet.alert).to_be_hidden()
    assert Submission.objects.count() == 1


def test_ink_is_kept_and_sent_when_site_is_back(sheet: DrawingPage) -> None:
    sheet.page.context.set_offline(True)
    sheet.draw(THREE)

    expect(sheet.alert).to_contain_text("Your ink is kept")
    assert sheet.inked_pixels() > 0
    sheet.page.context.set_offline(False)
    sheet.wait_until("stored")

    assert sheet.digit() == "3"


def test_server_error_is_reported_without_its_page(sheet: DrawingPage) -> None:
    sheet.page.route(SUBMISSIONS, lambda route: route.fulfill(status=502, body="<h1>Bad gateway</h1>"))
    sheet.draw(THREE)

    expect(sheet.alert).to_contain_text("Something went wrong on the site")
    sheet.page.unroute(SUBMISSIONS)
    sheet.button("Try again").click()
    sheet.wait_until("stored")


def test_correction_decided_meanwhile_cannot_be_withdrawn(sheet: DrawingPage) -> None:
    sheet.draw(THREE)
    sheet.wait_until("stored")
    sheet.button("3").click()
    expect(sheet.saved).to_contain_text("Saved")
    Submission.objects.get().corrections.update(state="accepted", decided=Submission.objects.get().created)

    sheet.page.locator("[data-withdraw]").click()

    expect(sheet.alert).to_contain_text("reviewed in the meantime")
    expect(sheet.saved).to_contain_text("You said: 3")


def test_daily_quota_is_reported_and_ink_is_kept(sheet: DrawingPage, settings: Any) -> None:
    settings.QUOTAS = {"owner": 1}
    sheet.draw(THREE)

    expect(sheet.alert).to_contain_text("The daily storage limit is reached. Your ink is kept.")
    assert sheet.inked_pixels() > 0
    assert sheet.digit() == "3"  # it is still read, live
    settings.QUOTAS = {}
    sheet.button("Try again").click()
    sheet.wait_until("stored")
