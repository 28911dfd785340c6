"""Fixtures that tests share: the bundled model, a small MNIST, and clients of every kind."""

import copy
import gzip
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.conf import LazySettings, settings
from django.contrib.auth.models import User
from django.core.cache import caches
from django.db import transaction
from django.db.models import Model
from django.test import Client
from django.test.utils import override_settings
from hypothesis import settings as hypothesis_settings
from pytest_django.plugin import DjangoDbBlocker
from rest_framework.authtoken.models import Token

from recognizer import registry
from recognizer.engine import DigitModel, Engine, engine
from recognizer.metrics import SERVING_VERSION
from recognizer.models import ModelFile, ModelVersion, Promotion
from tests.drawings import THREE
from web.throttles import counter, ledger

hypothesis_settings.register_profile("patient", deadline=None)  # tests may be slow
hypothesis_settings.load_profile("patient")


@pytest.fixture(autouse=True, scope="session")
def _quick_settings() -> Iterator[None]:
    plain = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    with override_settings(
        # Nothing is collected in tests, so pages link static files by their own names.
        STORAGES=settings.STORAGES | {"staticfiles": plain},
        WHITENOISE_AUTOREFRESH=True,  # otherwise every client lists the files that tests of `prepare` collected
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
    ):
        yield


@pytest.fixture(autouse=True)
def _fresh_engine() -> Iterator[None]:
    """The engine belongs to the process; each test starts without a model."""
    engine.__dict__.update(Engine().__dict__)
    yield


@pytest.fixture(scope="session")
def _bundled(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> tuple[list[Model], DigitModel]:
    """Return the rows of the registered bundled model, with a short checkpoint, and the loaded model.

    Writing its three megabytes and reading its canaries takes 30 ms, which each of 700 tests would pay.
    """
    with django_db_blocker.unblock(), transaction.atomic():
        registry.ensure_bundled()
        ModelFile.objects.filter(kind=ModelFile.Kind.CHECKPOINT).update(
            content=b"checkpoint", size=10, sha256=hashlib.sha256(b"checkpoint").hexdigest()
        )
        rows: list[Model] = [row for kind in (ModelVersion, ModelFile, Promotion) for row in kind.objects.all()]
        engine.refresh()
        transaction.set_rollback(True)
    return rows, engine.model


@pytest.fixture
def active_model(db: None, _bundled: tuple[list[Model], DigitModel]) -> ModelVersion:
    rows, engine._model = copy.deepcopy(_bundled[0]), _bundled[1]
    for row in rows:
        row.save_base(raw=True, force_insert=True)
    version = rows[0]
    assert isinstance(version, ModelVersion)
    SERVING_VERSION.set(version.version)
    return version


@pytest.fixture
def visitor(active_model: ModelVersion) -> "Visitor":
    """A visitor who opened the page: with an owner cookie and a CSRF token."""
    return Visitor()


@pytest.fixture
def stranger(active_model: ModelVersion) -> "Visitor":
    """Another visitor."""
    return Visitor()


@pytest.fixture
def admin_user(db: None) -> User:
    return User.objects.create(username="boss", is_staff=True, is_superuser=True)  # without a password: hashing is slow


@pytest.fixture
def staff(admin_user: User, active_model: ModelVersion) -> Client:
    """A program with a staff token."""
    token = Token.objects.create(user=admin_user)
    return Client(headers={"Authorization": f"Token {token.key}"})


@pytest.fixture
def small_mnist(tmp_path: Path, settings: LazySettings) -> Path:
    """Four small files in MNIST's format; the settings name their folder and digests."""
    rng = np.random.default_rng(0)
    digests = {}
    for part, count in (("train", 30), ("t10k", 10)):
        files = {
            "images-idx3": rng.integers(0, 256, (count, 28, 28), np.uint8),
            "labels-idx1": rng.integers(0, 10, count, np.uint8),
        }
        for kind, array in files.items():
            name = f"{part}-{kind}-ubyte.gz"
            (tmp_path / name).write_bytes(_idx(array))
            digests[name] = hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
    settings.MNIST_FILES = digests
    settings.MNIST_DIR = str(tmp_path)
    return tmp_path


def _idx(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return gzip.compress(header + array.tobytes())


def forget_counts() -> None:
    """Clear all counters; those in Redis outlive a test."""
    counter.cache_clear()
    ledger.cache_clear()
    if settings.REDIS_URL:
        redis = caches["default"]._cache.get_client(write=True)  # type: ignore[attr-defined]
        redis.delete("throttle:", *redis.scan_iter("throttle:*"))


class Visitor(Client):
    """A client like a browser: it keeps cookies and sends the CSRF token of the page."""

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


def main_of(page: Any) -> str:
    """Return the content of a page between its header and its footer."""
    return str(page.content.decode()).partition("<main")[2].partition("</main>")[0]
