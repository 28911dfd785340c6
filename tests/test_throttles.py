"""Clients are throttled, and told how long to wait."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import LazySettings
from django.test import Client

from recognizer.models import ModelVersion, Submission
from tests.conftest import Visitor, forget_counts
from tests.drawings import THREE
from tests.processes import until
from web.rates import Rate, parse_rates
from web.throttles import FileCounter, counter

DEFAULTS = {"previews": "600/min", "submissions": "120/min"}


@pytest.fixture(autouse=True)
def _new_counter(settings: LazySettings, tmp_path: Path) -> Iterator[None]:
    settings.DATA_DIR = tmp_path
    forget_counts()
    yield
    forget_counts()


def submit(client: Client, **options: str) -> int:
    return client.post("/api/v1/submissions", THREE, content_type="application/json", **options).status_code  # type: ignore[arg-type]


@pytest.mark.django_db
def test_call_over_the_limit_is_429_with_retry_after(visitor: Visitor, settings: LazySettings) -> None:
    settings.THROTTLES = {"submissions": Rate(3, 60)}

    assert [submit(visitor) for _ in range(4)] == [201, 201, 201, 429]
    response = visitor.post("/api/v1/submissions", THREE, content_type="application/json")
    assert 0 < int(response["Retry-After"]) <= 60
    assert "throttled" in response.json()["detail"]
    assert Submission.objects.count() == 3
    assert visitor.get("/api/v1/submissions").status_code == 200
    assert visitor.post("/api/v1/previews", THREE, content_type="application/json").status_code == 200


@pytest.mark.django_db
def test_clients_are_identified_by_address(active_model: ModelVersion, settings: LazySettings) -> None:
    settings.THROTTLES = {"submissions": Rate(1, 60)}

    assert submit(Client(), REMOTE_ADDR="192.0.2.1") == 201
    assert submit(Client(), REMOTE_ADDR="192.0.2.2") == 201
    assert submit(Client(), REMOTE_ADDR="192.0.2.1") == 429
    assert submit(Client(), REMOTE_ADDR="192.0.2.1", HTTP_X_FORWARDED_FOR="203.0.113.9") == 429
    assert submit(Client(), REMOTE_ADDR="2001:db8::1") == 201
    assert submit(Client(), REMOTE_ADDR="2001:db8::2") == 429


@pytest.mark.django_db
def test_all_clients_together_are_limited(active_model: ModelVersion, settings: LazySettings) -> None:
    settings.THROTTLES = {"submissions": Rate(2, 60), "all_submissions": Rate(3, 60)}

    answers = [submit(Client(), REMOTE_ADDR=f"192.0.2.{client}") for client in (1, 1, 1, 2, 3)]
    assert answers == [201, 201, 429, 201, 429]  # refused calls are not counted for the others


@pytest.mark.django_db
def test_address_seen_by_proxy_counts(active_model: ModelVersion, settings: LazySettings) -> None:
    settings.THROTTLES = {"submissions": Rate(1, 60)}
    settings.PROXIES = 1

    assert submit(Client(), HTTP_X_FORWARDED_FOR="1.1.1.1, 203.0.113.1") == 201
    assert submit(Client(), HTTP_X_FORWARDED_FOR="203.0.113.2") == 201
    assert submit(Client(), HTTP_X_FORWARDED_FOR="9.9.9.9, 203.0.113.1") == 429


def test_processes_on_one_host_count_together(tmp_path: Path) -> None:
    here, there = FileCounter(tmp_path / "t"), FileCounter(tmp_path / "t")

    assert [c.count("x", 60)[0] for c in (here, there, here, there)] == [1, 2, 3, 4]
    assert here.count("y", 60)[0] == 1


def test_window_expires(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts, start = FileCounter(tmp_path / "t"), time.time()
    counts.count("x", 60)

    monkeypatch.setattr(time, "time", lambda: start + 59)
    assert counts.count("x", 60)[0] == 2
    monkeypatch.setattr(time, "time", lambda: start + 61)
    assert counts.count("x", 60)[0] == 1


def test_full_table_forgets_oldest_clients(tmp_path: Path) -> None:
    counts = FileCounter(tmp_path / "t")
    for client in range(3000):
        counts.count(f"client {client}", 60)

    assert counts.count("client 2999", 60)[0] == 2


@pytest.mark.services
def test_redis_counts_for_all_hosts(settings: LazySettings) -> None:
    assert settings.REDIS_URL, "REDIS_URL names the Redis to test with"
    key = f"test {time.time()}"

    assert [counter().count(key, 1)[0] for _ in range(3)] == [1, 2, 3]
    assert 0 < counter().count(key, 1)[1] <= 1
    until(lambda: counter().count(key, 1)[0] == 1, 5)


def test_rates_are_read_from_the_environment() -> None:
    together = {"all_submissions": Rate(6000, 60)}
    assert parse_rates("", DEFAULTS) == {"previews": Rate(600, 60), "submissions": Rate(120, 60)} | together
    assert parse_rates("previews=5/s", DEFAULTS)["previews"] == Rate(5, 1)
    assert parse_rates("submissions=1000/s", DEFAULTS)["all_submissions"] == Rate(50_000, 1)
    assert parse_rates("submissions=1000/s,all_submissions=9/d", DEFAULTS)["all_submissions"] == Rate(9, 86400)
    assert parse_rates("off", DEFAULTS) == {}


@pytest.mark.parametrize(
    "text", ["previews", "previews=5", "previews=x/min", "previews=5/year", "nothing=5/min", "previews=0/s"]
)
def test_invalid_rate_stops_start_with_clear_error(text: str) -> None:
    with pytest.raises(SystemExit, match="HDR_THROTTLES"):
        parse_rates(text, DEFAULTS)
