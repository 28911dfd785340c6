"""Daily storage quotas per client, and warnings before the disk is full."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.test import Client
from django.utils.timezone import now
from rest_framework.authtoken.models import Token

from recognizer.models import ModelVersion, Submission
from tests.conftest import Visitor, forget_counts
from tests.drawings import THREE
from web import disk
from web.rates import parse_quotas
from web.throttles import FileCounter, ledger

pytestmark = pytest.mark.django_db
DEFAULTS = {"owner": "100MB", "anonymous": "2GB"}
ONE = 3_000  # bytes: more than a THREE takes, less than two of them


@pytest.fixture(autouse=True)
def _new_ledger(settings: LazySettings, tmp_path: Path) -> Iterator[None]:
    settings.DATA_DIR = tmp_path
    forget_counts()
    yield
    forget_counts()


def submit(client: Client, address: str = "192.0.2.1") -> int:
    answer = client.post("/api/v1/submissions", THREE, content_type="application/json", REMOTE_ADDR=address)
    return answer.status_code


def program(name: str, days: int) -> Client:
    """A program with the token of an account of this age."""
    user = User.objects.create(username=name, date_joined=now() - timedelta(days=days))
    return Client(headers={"Authorization": f"Token {Token.objects.create(user=user).key}"})


def test_drawing_over_daily_quota_is_429_with_retry_after(visitor: Visitor, settings: LazySettings) -> None:
    settings.QUOTAS = {"owner": ONE}

    assert [submit(visitor) for _ in range(2)] == [201, 429]
    refused = visitor.post("/api/v1/submissions", THREE, content_type="application/json", REMOTE_ADDR="192.0.2.1")
    assert 86_000 < int(refused["Retry-After"]) <= 86_400
    assert refused.json() == {
        "detail": "You have reached your daily storage limit. This drawing was not stored. Try again in 24 hours."
    }
    assert Submission.objects.count() == 1
    assert visitor.get("/api/v1/submissions").status_code == 200
    preview = visitor.post("/api/v1/previews", THREE, content_type="application/json", REMOTE_ADDR="192.0.2.1")
    assert preview.status_code == 200


@pytest.mark.slow
def test_large_drawings_do_not_exceed_quota(visitor: Visitor, settings: LazySettings) -> None:
    settings.QUOTAS = {"owner": 300_000}
    rng = np.random.default_rng(1)
    body = {"strokes": [rng.uniform(0, 20_000, (10_000, 4)).tolist()], "width": 20_000, "height": 20_000}

    answers = [visitor.post("/api/v1/submissions", body, content_type="application/json") for _ in range(8)]

    stored = sum(len(json.dumps(row.ink)) + len(row.input) for row in Submission.objects.all())
    assert 200_000 < stored <= 300_000
    assert {answer.status_code for answer in answers} == {201, 429}


def test_quota_is_per_address_not_per_cookie(active_model: ModelVersion, settings: LazySettings) -> None:
    settings.QUOTAS = {"owner": ONE}

    assert [submit(Visitor()), submit(Visitor()), submit(Client())] == [201, 429, 429]
    assert submit(Visitor(), "192.0.2.2") == 201


def test_anonymous_clients_share_a_quota(active_model: ModelVersion, settings: LazySettings) -> None:
    settings.QUOTAS = {"owner": 10 * ONE, "anonymous": ONE}

    assert [submit(Client(), f"192.0.2.{number}") for number in (1, 2)] == [201, 429]
    assert submit(program("new", days=1), "192.0.2.3") == 429
    assert submit(program("old", days=8), "192.0.2.4") == 201


def test_new_accounts_at_one_address_share_a_quota(active_model: ModelVersion, settings: LazySettings) -> None:
    settings.QUOTAS = {"owner": ONE}

    assert [submit(program(f"new {number}", days=0)) for number in range(2)] == [201, 429]
    assert [submit(program(f"old {number}", days=8)) for number in range(2)] == [201, 201]


def test_bytes_are_counted_across_processes(tmp_path: Path) -> None:
    here, there = FileCounter(tmp_path / "q"), FileCounter(tmp_path / "q")

    assert [counter.count("x", 60, 500)[0] for counter in (here, there, here)] == [500, 1000, 1500]


@pytest.mark.services
def test_redis_counts_bytes_for_all_hosts(settings: LazySettings) -> None:
    assert [ledger().count("bytes test", 60, 500)[0] for _ in range(2)] == [500, 1000]


def test_quotas_are_read_from_the_environment() -> None:
    assert parse_quotas("", DEFAULTS) == {"owner": 100_000_000, "anonymous": 2_000_000_000}
    assert parse_quotas("owner=5kB", DEFAULTS) == {"owner": 5000, "anonymous": 2_000_000_000}
    assert parse_quotas("off", DEFAULTS) == {}


@pytest.mark.parametrize(
    "text", ["owner", "owner=5", "owner=MB", "owner=0MB", "nobody=5MB", "owner=-1MB", "owner=5MiB"]
)
def test_invalid_quota_stops_start_with_clear_error(text: str) -> None:
    with pytest.raises(SystemExit, match="HDR_QUOTAS"):
        parse_quotas(text, DEFAULTS)


def test_nearly_full_disk_is_a_warning(visitor: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "LIMITS", replace(disk.LIMITS, free_share=0, free_bytes=0))
    assert visitor.get("/readyz").json()["warning"] is None

    monkeypatch.setattr(disk, "LIMITS", replace(disk.LIMITS, free_share=1.0))
    answer = visitor.get("/readyz")

    assert answer.status_code == 200
    assert "GB are free" in answer.json()["warning"]


def test_metrics_show_disk_and_database_size(visitor: Visitor, settings: LazySettings) -> None:
    settings.QUOTAS = {"owner": ONE}
    answers = [submit(visitor) for _ in range(2)]
    lines = visitor.get("/metrics").content.decode().splitlines()
    gauges = {line.split(" ")[0]: float(line.split(" ")[1]) for line in lines if not line.startswith("#")}

    assert answers == [201, 429]
    assert 0 < gauges["digits_disk_free_bytes"] < gauges["digits_disk_bytes"]
    assert gauges["digits_database_bytes"] > 100_000
    assert gauges['digits_quota_refusals_total{quota="owner"}'] >= 1
