"""A real Chromium, and pages that fail their test on console errors or policy violations."""

import os
import shutil
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from pytest_django.live_server_helper import LiveServer

from recognizer.models import ModelVersion
from tests.browser.sheet import DrawingPage

# Playwright's synchronous interface runs an event loop in the tests' thread, where Django then refuses its database.
os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"

EXPECTED_NOISE = (
    "Failed to load resource",  # Chromium's own note on any 4xx answer; tests look at the answers themselves
    "Service Worker registration blocked by Playwright",  # otherwise Playwright could not change answers
)

OpenPage = Callable[..., DrawingPage]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("There is no Chromium here; name one in CHROMIUM.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser, live_server: LiveServer, active_model: ModelVersion) -> Iterator[OpenPage]:
    """Open the drawing page in a fresh browser profile; options are those of a Playwright context."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def listen(page: Page) -> None:
        page.on(
            "console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None
        )
        page.on("pageerror", lambda error: complaints.append(str(error)))

    def open_one(**options: object) -> DrawingPage:
        context = browser.new_context(**({"base_url": live_server.url, "service_workers": "block"} | options))  # type: ignore[arg-type]
        context.set_default_timeout(10_000)
        context.on("page", listen)
        contexts.append(context)
        page = context.new_page()
        page.goto("/")
        return DrawingPage(page)

    yield open_one
    for context in contexts:
        context.close()
    assert [complaint for complaint in complaints if not any(noise in complaint for noise in EXPECTED_NOISE)] == []


@pytest.fixture
def sheet(open_page: OpenPage) -> DrawingPage:
    """The drawing page on a desktop."""
    return open_page(viewport={"width": 1280, "height": 900})
