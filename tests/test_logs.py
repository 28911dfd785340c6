"""Logs: each line names its request, staff actions are recorded, and no drawing or secret is logged."""

import json
import logging
from typing import Any

import orjson
import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.db import OperationalError
from django.test import Client

from recognizer.models import AuditEntry, Correction
from tests.conftest import Visitor
from tests.drawings import THREE
from web.logs import JsonFormatter, RequestIdFilter, request_id
from web.middleware import identify

pytestmark = pytest.mark.django_db


def test_every_response_has_its_own_request_id(client: Client) -> None:
    first, second = (client.get("/healthz", headers={"X-Request-ID": "made-up-by-a-stranger"}) for _ in range(2))

    assert len(first["X-Request-ID"]) == 32
    assert first["X-Request-ID"] != second["X-Request-ID"]


@pytest.mark.parametrize(
    ("given", "kept"), [("a1b2c3d4-e5", True), ("short", False), ("x" * 65, False), ("new\u2028line-and-more", False)]
)
def test_trusted_proxy_may_set_request_id(settings: Any, rf: Any, given: str, kept: bool) -> None:
    settings.PROXIES = 1
    seen: list[str] = []

    def view(request: Any) -> Any:
        from django.http import HttpResponse

        seen.append(request_id.get())
        return HttpResponse()

    response = identify(view)(rf.get("/", headers={"X-Request-ID": given}))

    assert response["X-Request-ID"] == seen[0]
    assert (seen[0] == given) is kept
    assert request_id.get() == "-"


def test_json_log_line_names_request_and_version(active_model: Any) -> None:
    record = logging.LogRecord("digits", logging.ERROR, __file__, 1, "It %s\nbroke.", ("“really”",), None)
    token = request_id.set("abc12345")
    try:
        RequestIdFilter().filter(record)
    finally:
        request_id.reset(token)

    line = JsonFormatter().format(record)

    assert "\n" not in line
    told = json.loads(line)
    assert (told["level"], told["message"]) == ("ERROR", "It “really”\nbroke.")
    assert (told["request_id"], told["model_version"]) == ("abc12345", 1)


def test_staff_actions_are_logged_and_stored(visitor: Visitor, staff: Client, caplog: Any) -> None:
    caplog.set_level(logging.INFO, "digits.audit")
    drawn = visitor.draw()["id"]
    visitor.say(drawn, 8)
    pk = Correction.objects.get().pk

    staff.post(f"/api/v1/corrections/{pk}/accept")
    staff.post(f"/api/v1/corrections/{pk}/accept")
    staff.delete(f"/api/v1/submissions/{drawn}")
    staff.get("/api/v1/corrections")
    admin_browser = Client()
    admin_browser.force_login(User.objects.get(username="boss"))
    admin_browser.post("/nowhere%0A2026-01-01 INFO forged")

    lines = [record.getMessage() for record in caplog.records if record.name == "digits.audit"]
    told = [line.split(": ", 1)[1] for line in lines]
    assert told == [
        f"POST /api/v1/corrections/{pk}/accept: 200",
        f"POST /api/v1/corrections/{pk}/accept: 409",
        f"DELETE /api/v1/submissions/{drawn}: 204",
        "POST /nowhere%0A2026-01-01%20INFO%20forged: 404",
    ]
    assert all(line.startswith("boss (") for line in lines)
    kept = AuditEntry.objects.order_by("pk")
    assert [f"{entry.method} {entry.path}: {entry.status}" for entry in kept] == told
    assert {entry.name for entry in kept} == {"boss"}


def test_audit_entry_has_ids_but_no_text(visitor: Visitor, staff: Client) -> None:
    pk = visitor.say(visitor.draw()["id"], 8).json()["id"]
    admin_browser = Client()
    admin_browser.force_login(User.objects.get(username="boss"))

    typed = {"csrfmiddlewaretoken": "secret", "x": "typed"}
    admin_browser.post("/review/decisions", {"correction": [pk, "typed \0 in"], "act": "3"} | typed)
    admin_browser.post("/admin/recognizer/correction/", {"action": "reject", "_selected_action": [pk]} | typed)
    admin_browser.post("/account/logout")

    decided, rejected, left = AuditEntry.objects.order_by("pk")
    assert decided.fields == {"correction": [str(pk)], "act": ["3"]}
    assert rejected.fields == {"action": ["reject"], "_selected_action": [str(pk)]}
    assert (left.name, left.path) == ("boss", "/account/logout")


def test_previews_and_visitor_actions_are_not_audited(visitor: Visitor, staff: Client) -> None:
    visitor.say(visitor.draw()["id"], 8)
    staff.post("/api/v1/previews", orjson.dumps(THREE), content_type="application/json")
    assert not AuditEntry.objects.exists()


def test_action_succeeds_when_audit_cannot_be_stored(staff: Client, monkeypatch: Any, caplog: Any) -> None:
    def away(**_: Any) -> None:
        raise OperationalError

    monkeypatch.setattr(AuditEntry.objects, "create", away)
    assert staff.post("/api/v1/corrections/1/accept").status_code == 404
    assert "That was not kept in the database." in caplog.text


def test_drawings_and_secrets_are_not_logged(visitor: Visitor, caplog: Any) -> None:
    caplog.set_level(logging.DEBUG)
    visitor.draw({"strokes": [[[123.25, 40], [180, 40], [120, 240]]], "width": 280, "height": 280})
    visitor.post(
        "/account/login", {"username": "ada", "password": "ruled paper 28", "csrfmiddlewaretoken": visitor.csrf}
    )

    for record in caplog.records:
        if record.name.startswith(("django.db", "hypothesis")):
            continue
        for secret in ("123.25", "ruled paper 28", visitor.csrf, django_settings.SECRET_KEY):
            assert secret not in record.getMessage()
