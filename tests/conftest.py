"""What the tests share: a data directory of their own, the bundled model, drawings, and clients of every kind."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from rest_framework.authtoken.models import Token

from recognizer import registry
from recognizer.engine import Engine, engine
from recognizer.models import ModelVersion
from tests.drawings import THREE


@pytest.fixture(autouse=True)
def _plain_static_files(settings: Any) -> None:
    """Nothing is collected in tests, so pages link static files by their own names."""
    plain = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    settings.STORAGES = settings.STORAGES | {"staticfiles": plain}


@pytest.fixture(autouse=True)
def _fresh_engine() -> Iterator[None]:
    """The engine belongs to the process; each test starts without a model."""
    engine.__dict__.update(Engine().__dict__)
    yield


@pytest.fixture
def active_model(db: None) -> ModelVersion:
    version = registry.ensure_bundled()
    assert version is not None
    engine.refresh()
    return version


@pytest.fixture
def visitor(active_model: ModelVersion) -> "Visitor":
    """Somebody who opened the page: with an owner cookie and a CSRF token."""
    return Visitor()


@pytest.fixture
def stranger(active_model: ModelVersion) -> "Visitor":
    """Somebody else."""
    return Visitor()


@pytest.fixture
def admin_user(db: None) -> User:
    return User.objects.create(username="boss", is_staff=True, is_superuser=True)  # hashing a password takes long


@pytest.fixture
def staff(admin_user: User, active_model: ModelVersion) -> Client:
    """A program with a staff token."""
    token = Token.objects.create(user=admin_user)
    return Client(headers={"Authorization": f"Token {token.key}"})


class Visitor(Client):
    """A browser's behaviour: keeps cookies, sends the CSRF token that the page gave it."""

    def __init__(self, **options: Any) -> None:
        super().__init__(enforce_csrf_checks=True, **options)
        page = self.get("/").content.decode()
        self.csrf = page.split('name="csrfmiddlewaretoken" value="')[1].split('"')[0]

    def generic(self, *args: Any, **options: Any) -> Any:
        options["headers"] = {"X-CSRFToken": getattr(self, "csrf", "")} | (options.get("headers") or {})
        return super().generic(*args, **options)

    def draw(self, body: Any = THREE) -> dict[str, Any]:
        """Submit a drawing and return the answer."""
        response = self.post("/api/v1/submissions", body, content_type="application/json")
        assert response.status_code == 201, response.content
        answer: dict[str, Any] = response.json()
        return answer

    def say(self, submission: int, digit: int | None) -> Any:
        return self.post(
            f"/api/v1/submissions/{submission}/correction", {"digit": digit}, content_type="application/json"
        )
