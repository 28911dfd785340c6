"""Permissions: every address × every role, on an object with an owner. No address can be left out."""

import re
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import orjson
import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from recognizer.models import Correction, ModelVersion, Submission
from tests.conftest import Visitor
from tests.drawings import THREE
from training.models import TrainingRun

pytestmark = pytest.mark.django_db

EVERYBODY = {"nobody", "stranger", "account", "owner", "staff"}
OWNER = {"owner"}
OWNER_AND_STAFF = {"owner", "staff"}
ACCOUNTS = {"account", "staff"}
STAFF = {"staff"}

READ = {"GET": EVERYBODY}
RIGHTS: dict[str, dict[str, set[str]]] = {
    "": READ,
    "about": READ,
    "experiment": READ,
    "teach": READ,
    "statistics": READ,
    "mine": READ,  # one's own
    "mine/drawings.json": READ,
    "mine/deletion": {"GET": EVERYBODY, "POST": EVERYBODY},
    "mine/<int:pk>/correction": {"POST": OWNER},
    "mine/<int:pk>/deletion": {"POST": OWNER},
    "account": {"GET": ACCOUNTS},
    "account/login": {"GET": EVERYBODY, "POST": EVERYBODY},
    "account/logout": {"POST": EVERYBODY},
    "account/signup": {"GET": EVERYBODY, "POST": EVERYBODY},
    "account/email": {"GET": ACCOUNTS, "POST": ACCOUNTS},
    "account/password": {"GET": ACCOUNTS, "POST": ACCOUNTS},
    "account/reset": {"GET": EVERYBODY, "POST": EVERYBODY},
    "account/reset/sent": READ,
    "account/reset/<uidb64>/<token>": READ,  # says that the link is invalid
    "account/token": {"POST": ACCOUNTS},
    "account/token/revocation": {"POST": ACCOUNTS},
    "account/deletion": {"GET": ACCOUNTS, "POST": ACCOUNTS},
    "models": READ,
    "models/card": READ,
    "models/<int:version>": READ,
    "models/runs": {"POST": STAFF},
    "models/runs/<int:pk>/cancel": {"POST": STAFF},
    "models/<int:version>/activate": {"GET": STAFF, "POST": STAFF},
    "review": {"GET": STAFF},
    "review/decisions": {"POST": STAFF},
    "review/undo": {"POST": STAFF},
    "api/v1/previews": {"POST": EVERYBODY},
    "api/v1/submissions": {"GET": EVERYBODY, "POST": EVERYBODY},
    "api/v1/submissions/<int:pk>": {"GET": OWNER_AND_STAFF, "DELETE": OWNER_AND_STAFF},
    "api/v1/submissions/<int:pk>/correction": {"POST": OWNER_AND_STAFF, "DELETE": OWNER_AND_STAFF},
    "api/v1/submissions/<int:pk>/explanation": {"GET": OWNER_AND_STAFF},
    "api/v1/corrections": {"GET": STAFF},
    "api/v1/corrections/<int:pk>/accept": {"POST": STAFF},
    "api/v1/corrections/<int:pk>/reject": {"POST": STAFF},
    "api/v1/training-runs": {"GET": STAFF, "POST": STAFF},
    "api/v1/training-runs/<int:pk>": {"GET": STAFF},
    "api/v1/training-runs/<int:pk>/cancel": {"POST": STAFF},
    "api/v1/models": READ,
    "api/v1/models/active": READ,
    "api/v1/models/active/artifact": READ,
    "api/v1/models/active/checkpoint": READ,
    "api/v1/models/<int:version>": READ,
    "api/v1/models/<int:version>/artifact": READ,
    "api/v1/models/<int:version>/checkpoint": READ,
    "api/v1/models/<int:version>/activate": {"POST": STAFF},
    "api/v1/schema": READ,
    "api/v1/docs": READ,
    "api/v1/": {},  # answers 404, as every other address under /api/ does
    "^api/": {},
    "language": {"POST": EVERYBODY},
    "words.js": READ,
    "manifest.webmanifest": READ,
    "sw.js": READ,
    "offline": READ,
    "healthz": READ,
    "readyz": READ,
    "metrics": READ,
    "admin/data/": {"GET": STAFF, "POST": STAFF},
    "admin/data/<str:name>": {"GET": STAFF},
}
BODIES: dict[str, Any] = {
    "api/v1/previews": THREE,
    "api/v1/submissions": THREE,
    "api/v1/submissions/<int:pk>/correction": {"digit": 8},
}


def routes(patterns: list[Any], before: str = "") -> Iterator[str]:
    for pattern in patterns:
        route = before + str(pattern.pattern)
        if isinstance(pattern, URLPattern):
            yield route
        elif isinstance(pattern, URLResolver):
            yield from routes(pattern.url_patterns, route)


ROUTES = list(routes(get_resolver().url_patterns))
DJANGOS_ADMIN = [route for route in ROUTES if route.startswith("admin/") and route not in RIGHTS]


def test_every_address_has_permissions() -> None:
    assert set(ROUTES) - set(DJANGOS_ADMIN) == set(RIGHTS)


@pytest.fixture
def numbers(visitor: Visitor) -> dict[str, int]:
    """One row of each kind; the drawing and its correction belong to `owner`."""
    drawn = visitor.draw()["id"]
    visitor.say(drawn, 8)
    run = TrainingRun.objects.create(state=TrainingRun.State.QUEUED)
    return {"submissions": drawn, "mine": drawn, "corrections": Correction.objects.get().pk, "runs": run.pk}


@pytest.fixture
def clients(visitor: Visitor, stranger: Visitor, admin_user: User) -> dict[str, Client]:
    """Clients by role; the owner is anonymous, like most visitors."""
    account, staff = Client(), Client()
    account.force_login(User.objects.create(username="member"))
    staff.force_login(admin_user)
    return {"nobody": Client(), "stranger": stranger, "account": account, "owner": visitor, "staff": staff}


def address(route: str, numbers: dict[str, int]) -> str:
    """Fill in a route's parameters."""
    of_what = "runs" if "runs" in route else next((name for name in numbers if f"{name}/" in route), "submissions")
    filled = (
        route.replace("<str:name>", "ndjson").replace("<int:version>", "1").replace("<int:pk>", str(numbers[of_what]))
    )
    return "/" + re.sub(r"<(\w+:)?\w+>", "1", filled.lstrip("^"))


def denied(answer: Any) -> bool:
    return answer.status_code in (401, 403, 404) or (answer.status_code == 302 and "/login" in answer["Location"])


def ask(client: Client, method: str, route: str, numbers: dict[str, int]) -> Any:
    """Send a request and undo its effects."""
    cookies = deepcopy(client.cookies)
    with transaction.atomic():
        answer = client.generic(method, address(route, numbers), *_body(method, route))
        if hasattr(answer, "streaming_content"):
            list(answer.streaming_content)
        transaction.set_rollback(True)
    client.cookies = cookies
    return answer


def _body(method: str, route: str) -> tuple[Any, ...]:
    if method != "POST":
        return ()
    if route.startswith("api/"):
        return orjson.dumps(BODIES.get(route, {})), "application/json"
    return b"", "application/x-www-form-urlencoded"


@pytest.mark.parametrize("role", sorted(EVERYBODY))
def test_each_role_has_exactly_its_permissions(clients: dict[str, Client], numbers: dict[str, int], role: str) -> None:
    wrong = []
    for route, rights in RIGHTS.items():
        for method, roles in rights.items():
            answer = ask(clients[role], method, route, numbers)
            if denied(answer) is (role in roles) or answer.status_code >= 500:
                wrong.append(f"{role}: {method} /{route}: {answer.status_code}")
    assert wrong == []
    assert Submission.objects.count() == Correction.objects.count() == 1


@pytest.mark.parametrize("role", sorted(EVERYBODY - STAFF))
def test_django_admin_is_limited_to_staff(clients: dict[str, Client], numbers: dict[str, int], role: str) -> None:
    open_to_all = {"admin/login/", "admin/password_change/", "admin/logout/", "admin/jsi18n/"}  # the first two redirect
    for route in set(DJANGOS_ADMIN) - open_to_all:
        for method in ("GET", "POST"):
            assert denied(ask(clients[role], method, route, numbers)), (role, method, route)


def test_staff_cookie_without_csrf_token_changes_nothing(
    admin_user: User, numbers: dict[str, int], active_model: ModelVersion
) -> None:
    lured = Client(enforce_csrf_checks=True)
    lured.force_login(admin_user)
    for route, rights in RIGHTS.items():
        for method in {"POST", "DELETE"} & set(rights):
            assert ask(lured, method, route, numbers).status_code == 403, (method, route)
