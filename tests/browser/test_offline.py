"""The site without a network: the drawing page opens, says so, and reads once the network is back."""

import pytest
from django.contrib.auth.models import User
from django.test import Client
from playwright.sync_api import expect

from tests.browser.conftest import OpenPage

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def test_drawing_page_opens_offline_and_reads_when_online_again(open_page: OpenPage) -> None:
    drawing = open_page(service_workers="allow")
    page = drawing.page
    page.evaluate("navigator.serviceWorker.ready.then(() => true)")
    page.context.set_offline(True)
    page.reload()
    drawing.draw()

    expect(drawing.alert).to_contain_text("cannot be reached")
    expect(drawing.alert).to_contain_text("Your ink is kept.")
    page.context.set_offline(False)
    drawing.wait_until("stored")
    assert drawing.digit() == "3"


def test_other_pages_say_offline(open_page: OpenPage) -> None:
    page = open_page(service_workers="allow").page
    page.evaluate("navigator.serviceWorker.ready.then(() => true)")
    page.context.set_offline(True)
    page.goto("/experiment")

    expect(page.get_by_role("heading", level=1)).to_have_text("You are offline")


def test_cached_drawing_page_has_no_personal_data(open_page: OpenPage, admin_user: User) -> None:
    page = open_page(service_workers="allow").page
    page.evaluate("navigator.serviceWorker.ready.then(() => true)")
    client = Client()
    client.force_login(admin_user)
    session = {"name": "sessionid", "value": client.cookies["sessionid"].value, "url": page.url}
    page.context.add_cookies([session])  # type: ignore[list-item]
    page.goto("/")
    expect(page.locator(".who__name")).to_have_text("boss")

    page.context.set_offline(True)
    page.reload()
    expect(page.get_by_role("heading", level=1)).to_have_text("Draw a digit")
    expect(page.get_by_text("boss")).to_have_count(0)
    page.goto("/experiment")
    expect(page.get_by_role("heading", level=1)).to_have_text("You are offline")
    expect(page.get_by_text("boss")).to_have_count(0)


def test_api_answers_are_not_cached(open_page: OpenPage) -> None:
    page = open_page(service_workers="allow").page
    page.evaluate("navigator.serviceWorker.ready.then(() => true)")
    page.reload()
    kept = page.evaluate(
        "caches.keys().then((names) => Promise.all(names.map((name) => caches.open(name).then((one) => one.keys()))))"
        ".then((lists) => lists.flat().map((request) => new URL(request.url).pathname))"
    )

    assert "/" in kept
    assert not [path for path in kept if path.startswith("/api")]
