"""What the log says: which request a line belongs to, what staff did, and nothing that was drawn."""

import json
import logging
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.test import Client

from hdr_site.logs import JsonFormatter, OfRequest, request_id
from hdr_site.middleware import identify
from recognizer.models import Correction
from tests.conftest import Visitor

pytestmark = pytest.mark.django_db


def test_every_answer_carries_its_id(client: Client) -> None:
    first, second = (client.get("/healthz", headers={"X-Request-ID": "made-up-by-a-stranger"}) for _ in range(2))

    assert len(first["X-Request-ID"]) == 32
    assert first["X-Request-ID"] != second["X-Request-ID"]


@pytest.mark.parametrize(
    ("given", "kept"), [("a1b2c3d4-e5", True), ("short", False), ("x" * 65, False), ("new\u2028line-and-more", False)]
)
def test_a_trusted_proxy_may_give_it(settings: Any, rf: Any, given: str, kept: bool) -> None:
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


def test_a_line_of_json_says_which_request_and_version(active_model: Any) -> None:
    record = logging.LogRecord("digits", logging.ERROR, __file__, 1, "It %s\nbroke.", ("“really”",), None)
    token = request_id.set("abc12345")
    try:
        OfRequest().filter(record)
    finally:
        request_id.reset(token)

    line = JsonFormatter().format(record)

    assert "\n" not in line
    told = json.loads(line)
    assert (told["level"], told["message"]) == ("ERROR", "It “really”\nbroke.")
    assert (told["request_id"], told["model_version"]) == ("abc12345", 1)


def test_what_staff_do_is_noted(visitor: Visitor, staff: Client, caplog: Any) -> None:
    caplog.set_level(logging.INFO, "digits.audit")
    drawn = visitor.draw()["id"]
    visitor.say(drawn, 8)
    pk = Correction.objects.get().pk

    staff.post(f"/api/v1/corrections/{pk}/accept")
    staff.post(f"/api/v1/corrections/{pk}/accept")
    staff.delete(f"/api/v1/submissions/{drawn}")
    staff.get("/api/v1/corrections")
    office = Client()
    office.force_login(User.objects.get(username="boss"))
    office.post("/nowhere%0A2026-01-01 INFO forged")

    lines = [record.getMessage() for record in caplog.records if record.name == "digits.audit"]
    assert [line.split(": ", 1)[1] for line in lines] == [
        f"POST /api/v1/corrections/{pk}/accept: 200",
        f"POST /api/v1/corrections/{pk}/accept: 409",
        f"DELETE /api/v1/submissions/{drawn}: 204",
        "POST /nowhere%0A2026-01-01%20INFO%20forged: 404",
    ]
    assert all(line.startswith("boss (") for line in lines)


def test_nothing_drawn_and_no_secret_is_logged(visitor: Visitor, caplog: Any) -> None:
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
