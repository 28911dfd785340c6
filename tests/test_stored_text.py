"""Script injection: no page runs script from stored text or from its address."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import User
from django.db.models import CharField, EmailField, JSONField, Model
from django.test import Client
from django.urls import reverse

from recognizer.models import AuditEntry, Correction, Submission
from tests.conftest import Visitor
from tests.test_permissions import RIGHTS, address
from training.models import TrainingRun

pytestmark = pytest.mark.django_db

SCRIPT = """'"><script>alert(28)</script>"""
RUNS = "<script>alert(28)"
FIRST = dict.fromkeys(("submissions", "runs", "corrections", "mine"), 1)
PARAMETERS = (
    "after",
    "before",
    "show",
    "said",
    "read",
    "confidence",
    "reason",
    "version",
    "next",
    "q",
    "o",
    "days",
    "x",
)


@pytest.fixture
def admin_browser(visitor: Visitor, admin_user: User) -> Client:
    """Staff, on a site where every stored text is a script."""
    boss = Client()
    boss.force_login(admin_user)
    drawn = visitor.draw()["id"]
    visitor.say(drawn, 8)
    Submission.objects.filter(pk=drawn).update(account=admin_user, session=None)
    Correction.objects.update(account=admin_user, session=None, decided_by=None)
    TrainingRun.objects.create(state=TrainingRun.State.FAILED, requested_by=admin_user)
    AuditEntry.objects.create(name="boss", method="POST", path="/x", status=200, request_id="x")
    for model in models_of_ours():
        for name, text in texts_of(model):
            model._default_manager.update(**{name: text})
    return boss


def models_of_ours() -> Iterator[type[Model]]:
    return (
        model for model in apps.get_models() if model._meta.app_label in ("recognizer", "training") or model is User
    )


def texts_of(model: type[Model]) -> Iterator[tuple[str, Any]]:
    """Yield every free-text field with a script that fits."""
    for field in model._meta.get_fields():
        if field.name == "password":
            continue  # shown nowhere, and changing it ends the session
        if isinstance(field, EmailField):
            yield field.name, f'"{RUNS}</script>"@example.org'
        elif isinstance(field, CharField) and not field.choices and (field.max_length or 0) >= len(SCRIPT):
            yield field.name, SCRIPT
        elif isinstance(field, JSONField) and field.name in ("lineage", "counts", "fields"):
            yield field.name, {SCRIPT: [SCRIPT]}


@pytest.mark.slow
def test_no_page_runs_stored_script(admin_browser: Client, visitor: Visitor) -> None:
    pages = [address(route, FIRST) for route, rights in RIGHTS.items() if "GET" in rights and "api/v1" not in route]
    for model in admin.site._registry:
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        pages.append(reverse(f"{name}_changelist"))
        pages += [reverse(f"{name}_change", args=[row.pk]) for row in model._default_manager.all()[:3]]
        pages += [reverse(f"{name}_history", args=[row.pk]) for row in model._default_manager.all()[:3]]

    shown = 0
    for page in pages:
        answer = admin_browser.get(page)
        assert answer.status_code < 500, page
        if answer["Content-Type"].startswith("text/html"):
            text = answer.content.decode()
            assert RUNS not in text, page
            shown += "alert(28)" in text
    assert shown > 10  # they do show it, as text


@pytest.mark.slow
def test_no_page_runs_script_from_its_address(admin_browser: Client, visitor: Visitor) -> None:
    query = urlencode(dict.fromkeys(PARAMETERS, SCRIPT))
    for route, rights in RIGHTS.items():
        for client in (admin_browser, visitor):
            if "GET" in rights:
                answer = client.get(address(route, FIRST) + "?" + query, follow=True)
                assert answer.status_code < 500, route
                if answer["Content-Type"].startswith("text/html"):
                    assert RUNS not in answer.content.decode(), route


def test_file_name_is_not_shown_or_stored(visitor: Visitor) -> None:
    from django.core.files.uploadedfile import SimpleUploadedFile

    from tests.drawings import canary, encoded, picture_of

    for name in (SCRIPT, "../../etc/passwd", "a\r\nSet-Cookie: x=1", "x" * 300):
        file = SimpleUploadedFile(name, encoded(picture_of(canary(3))), "image/png")
        file.name = name
        answer = visitor.post("/api/v1/submissions", {"image": file})
        assert answer.status_code == 201
        assert RUNS not in answer.content.decode() and "x" not in answer.cookies
    assert RUNS not in visitor.get("/mine").content.decode()
