"""Every page, in both themes, wide and on a phone: axe-core's rules for WCAG 2.2 AA, and our own checks."""

import re
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.contrib.auth.models import User
from django.test import Client
from playwright.sync_api import Page

from recognizer.models import Correction, ModelVersion
from recognizer.tasks import recount_statistics
from tests.browser.conftest import OpenPage
from tests.browser.test_models_page import LABELS
from tests.labels import labelled
from tests.test_statistics import drew
from tests.versions import learned, metrics

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

STRANGERS = (
    "/",
    "/teach",
    "/mine",
    "/models",
    "/models/1",
    "/models/2",
    "/models/card",
    "/statistics",
    "/experiment",
    "/about",
    "/account/login",
    "/account/signup",
    "/account/reset",
    "/nowhere",
)
STAFF = (
    "/review",
    "/review?said=none&version=0",
    "/mine",
    "/mine/deletion",
    "/account",
    "/models",
    "/models/1/activate",
)

RULES = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")

FAULTS = (Path(__file__).parent / "faults.js").read_text().rstrip().removesuffix(";")

SHIFT = """
() => new Promise((resolve) => {
  let sum = 0;
  new PerformanceObserver((list) => { for (const entry of list.getEntries()) sum += entry.value; })
    .observe({ type: "layout-shift", buffered: true });
  setTimeout(() => resolve(sum), 150);
})
"""


@pytest.fixture
def busy_site(active_model: ModelVersion) -> None:
    """A site in use: drawings, pending corrections, versions, statistics."""
    for days_ago in range(3):
        drew(active_model, days_ago, count=6, said=3)
        drew(active_model, days_ago, count=3, said=8, confidence=0.7, verdict="unsure")
    for seed, said in enumerate((8, 8, None, 3)):
        labelled(f"p{seed}", said, drawn=8, answered=3, seed=seed, state=Correction.State.PENDING)
    learned(active_model, metrics(LABELS, [3, 4, 5], [5, 6]))
    recount_statistics()


def violations(page: Page) -> list[str]:
    """Return the violations that axe-core finds."""
    found = Axe().run(page, options={"runOnly": list(RULES), "resultTypes": ["violations"]}).response["violations"]
    return [f"{one['id']}: {node['html'][:120]} {node['failureSummary']}" for one in found for node in one["nodes"]]


@pytest.mark.parametrize(
    ("role", "locale", "width", "theme"),
    [
        *(("stranger", "en", width, theme) for width in (390, 1440) for theme in ("light", "dark")),
        *(("staff", "en", width, theme) for width in (390, 1440) for theme in ("light", "dark")),
        ("stranger", "ar", 390, "light"),
        ("stranger", "ar", 1440, "dark"),
    ],
)
def test_pages_have_no_faults(
    busy_site: None, open_page: OpenPage, admin_user: User, width: int, theme: str, role: str, locale: str
) -> None:
    page = open_page(viewport={"width": width, "height": 900}, color_scheme=theme, locale=locale).page
    if role == "staff":
        client = Client()
        client.force_login(admin_user)
        page.context.add_cookies([{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": page.url}])
    origin = re.sub(r"(?<=\d)/.*", "", page.url)
    requested: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    faults = []
    for address in STRANGERS if role == "stranger" else STAFF:
        page.goto(address)
        shift = page.evaluate(SHIFT)
        found = [*page.evaluate(FAULTS), *violations(page)]
        found += [url for url in requested if not url.startswith((origin, "data:", "blob:"))]
        if shift > 0.001:
            found.append(f"layout shift {shift:.4f}")
        faults += [f"{address}: {fault}" for fault in found]
    print("\n".join(faults))
    assert faults == []
