"""The pages of the models: they fit phones in both themes, and staff watch a run without reloading."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils.timezone import now
from playwright.sync_api import Page, expect

from recognizer.models import ModelVersion
from tests.browser.conftest import OpenPage
from tests.versions import learned, metrics
from training.models import TrainingRun

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

LABELS = np.arange(600) % 10


@pytest.fixture
def history(active_model: ModelVersion) -> ModelVersion:
    """Three versions, the last one rejected."""
    second = learned(active_model, metrics(LABELS, [3, 4, 5], [5, 6]))
    learned(second, metrics(LABELS, [7, 8], [3, 4, 5], 2), failed=["holdout", "learned"])
    return second


@pytest.fixture
def open_as_admin(open_page: OpenPage, admin_user: User) -> Callable[..., Page]:
    """Open a browser profile in which an admin is logged in."""

    def open_one(**options: Any) -> Page:
        page = open_page(**options).page
        client = Client()
        client.force_login(admin_user)
        page.context.add_cookies([{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": page.url}])
        return page

    return open_one


def set_run(run: TrainingRun, **columns: Any) -> None:
    TrainingRun.objects.filter(pk=run.pk).update(**columns)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1280])
def test_nothing_is_wider_than_the_screen(
    history: ModelVersion, open_as_admin: Callable[..., Page], width: int, theme: str
) -> None:
    page = open_as_admin(viewport={"width": width, "height": 844}, color_scheme=theme)

    for address in ("/models", "/models/2", "/models/3", "/models/1/activate"):
        page.goto(address)
        assert page.evaluate("document.documentElement.scrollWidth") == width
        for part in page.locator("main :is(table, svg, .button)").filter(visible=True).all():
            box = part.bounding_box()
            assert box is not None and box["x"] >= 0 and box["x"] + box["width"] <= width + 0.5


def test_controls_are_large_enough_and_usable_by_keyboard(
    history: ModelVersion, open_as_admin: Callable[..., Page]
) -> None:
    page = open_as_admin(viewport={"width": 390, "height": 844})
    page.goto("/models")

    for part in page.locator("main :is(button, .button, .entry__title a, .run__links a)").filter(visible=True).all():
        box = part.bounding_box()
        assert box is not None and box["height"] >= 44 and box["width"] >= 44
    page.get_by_role("link", name="Version 3", exact=True).focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Version 3")).to_be_visible()
    expect(page.get_by_role("row").filter(has_text="People it never learns from")).to_contain_text("failed")


def test_run_is_watched_from_start_to_end_without_reloading(
    history: ModelVersion, open_as_admin: Callable[..., Page]
) -> None:
    page = open_as_admin(viewport={"width": 1280, "height": 900})
    page.goto("/models")
    panel = page.get_by_role("region", name="Training")
    panel.get_by_role("button", name="Start a training run").click()
    expect(page.get_by_text("is queued.")).to_be_visible()
    expect(panel).to_contain_text("Waiting for a worker")
    page.evaluate("window.stayed = true")

    run = TrainingRun.objects.get(state="queued")
    set_run(run, state="running", phase="fit", progress=0.31, started=now(), eta=150)
    set_run(run, epoch=2, epochs=6, batch=17, loss=0.25, losses=[0.5])
    expect(panel).to_contain_text("Running")
    expect(panel).to_contain_text("31%")
    expect(panel).to_contain_text("about 3 min left")
    expect(panel).to_contain_text("learning: epoch 2 of 6, batch 17, loss 0.2500")
    expect(panel.get_by_role("progressbar")).to_have_attribute("value", "0.31")
    expect(panel.locator('[aria-current="step"]')).to_have_text("learning")
    expect(panel.locator("[data-loss-marks] circle")).to_have_count(2)
    expect(panel.get_by_role("button", name="Start a training run")).to_be_hidden()

    made = learned(history, metrics(LABELS, [7, 8], [3, 4, 5], 2), failed=["learned"])
    TrainingRun.objects.filter(version=made).delete()
    set_run(
        run, state="succeeded", progress=1, version=made, eta=None, reason="Version 4 was rejected: <b>learned</b>."
    )
    expect(panel).to_contain_text("Version 4 was rejected: <b>learned</b>.")
    expect(panel.get_by_role("button", name="Start a training run")).to_be_visible()
    expect(page.get_by_role("region", name="All versions")).to_contain_text("Version 4")
    assert page.evaluate("window.stayed")
    panel.get_by_role("link", name="See version 4").click()
    expect(page).to_have_url(re.compile("/models/4$"))


def test_run_can_be_cancelled_and_scheduled_run_appears(
    active_model: ModelVersion, open_as_admin: Callable[..., Page]
) -> None:
    page = open_as_admin(viewport={"width": 390, "height": 844}, color_scheme="dark")
    page.clock.install()
    page.goto("/models", wait_until="networkidle")
    panel = page.get_by_role("region", name="Training")
    expect(panel.get_by_role("progressbar")).to_be_hidden()

    run = TrainingRun.objects.create(trigger="schedule", state="running", phase="gates", progress=0.93, started=now())
    page.clock.run_for(16_000)
    expect(panel.get_by_role("progressbar")).to_be_visible()
    panel.get_by_role("button", name="Cancel this run").click()
    expect(page.get_by_text("stops within seconds")).to_be_visible()
    expect(panel).to_contain_text("Stopping")
    run.refresh_from_db()
    assert run.cancel_requested


def test_panel_reports_unreachable_site_and_recovers(
    active_model: ModelVersion, open_as_admin: Callable[..., Page]
) -> None:
    page = open_as_admin(viewport={"width": 1280, "height": 900})
    TrainingRun.objects.create(trigger="schedule", state="running", phase="fit", progress=0.5, started=now())
    page.clock.install()
    page.goto("/models", wait_until="networkidle")
    panel = page.get_by_role("region", name="Training")
    page.context.set_offline(True)
    page.clock.run_for(3000)
    expect(panel).to_contain_text("The site is not responding. Retrying.")

    page.context.set_offline(False)
    page.clock.run_for(10_000)
    expect(panel).not_to_contain_text("The site is not responding")


def test_logged_out_staff_are_told(active_model: ModelVersion, open_as_admin: Callable[..., Page]) -> None:
    page = open_as_admin(viewport={"width": 1280, "height": 900})
    TrainingRun.objects.create(trigger="schedule", state="running", phase="fit", progress=0.5, started=now())
    page.goto("/models")
    page.context.clear_cookies(name="sessionid")

    expect(page.get_by_role("region", name="Training")).to_contain_text("You are no longer logged in.")


def test_going_back_to_a_version_is_confirmed_first(history: ModelVersion, open_as_admin: Callable[..., Page]) -> None:
    page = open_as_admin(viewport={"width": 1280, "height": 900})
    page.goto("/models/1")
    page.get_by_role("link", name="Go back to this version").click()
    expect(page.get_by_text("Within two seconds, every web process uses version 1")).to_be_visible()
    page.get_by_role("button", name="Make version 1 active").click()

    expect(page.get_by_text("Version 1 is active.")).to_be_visible()
    assert ModelVersion.objects.get(state="active").version == 1
