"""What still works, and what the site answers, while the database or Redis is unavailable."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import psycopg
import pytest
from django.conf import LazySettings
from django.db import DatabaseError, OperationalError, close_old_connections, connection
from django.test import Client
from django_celery_beat.models import PeriodicTask

from hdr_site.beat import PatientScheduler
from hdr_site.celery import app as celery_app
from hdr_site.postgresql.base import CircuitBreaker, DatabaseWrapper
from hdr_site.schedule import ensure_schedule
from recognizer.models import ModelVersion
from tests.conftest import Visitor
from tests.drawings import THREE
from training.attempt import Progress
from training.loop import Clock
from training.models import TrainingRun
from web.throttles import counter

AWAY = OperationalError("connection timeout expired")
DAMAGED = DatabaseError("database disk image is malformed")


@contextmanager
def database_away(error: DatabaseError = AWAY) -> Iterator[None]:
    def refuse(*_: Any) -> None:
        raise error

    with connection.execute_wrapper(refuse):
        yield


@pytest.mark.django_db
@pytest.mark.parametrize("error", [AWAY, DAMAGED])
def test_page_without_database_is_503_with_retry_after(active_model: ModelVersion, error: DatabaseError) -> None:
    with database_away(error):
        answer = Client(raise_request_exception=False).get("/models")

    assert (answer.status_code, answer["Retry-After"]) == (503, "5")
    assert "Back in a moment" in answer.content.decode()


@pytest.mark.django_db
def test_logged_in_visitor_gets_503_page_too(admin_client: Client) -> None:
    admin_client.raise_request_exception = False
    with database_away():
        answer = admin_client.get("/mine")

    assert answer.status_code == 503
    assert "Back in a moment" in answer.content.decode()


@pytest.mark.django_db
def test_api_without_database_is_503_in_json(staff: Client) -> None:
    with database_away():
        answer = staff.get("/api/v1/submissions")

    assert (answer.status_code, answer["Retry-After"]) == (503, "5")
    assert list(answer.json()) == ["detail"]


@pytest.mark.django_db
def test_home_page_and_previews_work_without_database(visitor: Visitor) -> None:
    with database_away():
        page = visitor.get("/")
        preview = visitor.post("/api/v1/previews", THREE, content_type="application/json")

    assert page.status_code == 200
    assert preview.json()["digit"] == 3


@pytest.fixture
def beat() -> PatientScheduler:
    """The scheduler, before it has read anything."""
    ensure_schedule()
    return PatientScheduler(app=celery_app, lazy=True)


@pytest.mark.django_db(transaction=True)  # beat closes connections that no transaction needs
def test_beat_keeps_known_schedule_while_database_is_away(beat: PatientScheduler) -> None:
    known = set(beat.schedule)
    assert "look after training runs" in known

    beat._last_full_sync -= timedelta(minutes=6)  # after five minutes it reads everything again
    with database_away():
        assert set(beat.schedule) == known

    PeriodicTask.objects.filter(name="look after training runs").update(enabled=False)
    beat._last_full_sync -= timedelta(minutes=6)
    assert "look after training runs" not in beat.schedule


@pytest.mark.django_db(transaction=True)
def test_beat_without_schedule_ends_if_database_is_away(beat: PatientScheduler) -> None:
    with database_away(), pytest.raises(OperationalError):
        _ = beat.schedule


@pytest.mark.services
@pytest.mark.django_db(transaction=True)
def test_broken_connection_is_replaced_on_next_request(active_model: ModelVersion) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no connection that breaks")
    connection.ensure_connection()
    connection.connection.close()  # as if the server had hung up; Django does not know yet
    close_old_connections()  # as at the start of each request, except with the test client

    try:
        assert Client().get("/readyz").status_code == 200
    finally:
        connection.close()  # the next test has a connection of its own


def test_one_thread_at_a_time_retries_while_database_is_away(monkeypatch: Any) -> None:
    breaker = CircuitBreaker()
    assert breaker.allow()
    assert breaker.allow()  # no failure yet: nobody waits
    breaker.record(connected=False)
    assert not breaker.allow()

    monkeypatch.setattr("hdr_site.postgresql.base.PAUSE", 0.0)
    breaker.record(connected=False)  # the other thread failed too
    assert breaker.allow()
    assert not breaker.allow()  # one thread is trying
    breaker.record(connected=True)
    assert breaker.allow()
    assert breaker.allow()


@pytest.mark.services
@pytest.mark.django_db(transaction=True)
def test_connection_ended_by_server_is_detected_without_a_query(monkeypatch: Any) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no server")
    asking = Mock(return_value=False)
    monkeypatch.setattr("django.db.backends.postgresql.base.DatabaseWrapper.is_usable", asking)
    wrapper = DatabaseWrapper(connection.settings_dict)
    wrapper.connect()
    try:
        assert wrapper.is_usable() and not asking.called
        wrapper.errors_occurred = True
        assert not wrapper.is_usable() and asking.call_count == 1
        wrapper.errors_occurred = False
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [wrapper.connection.info.backend_pid])
            assert cursor.fetchone() == (True,)  # it waited for that, 5 s at most

        assert not wrapper.is_usable() and asking.call_count == 2
    finally:
        wrapper.close()


@pytest.mark.services
@pytest.mark.django_db(transaction=True)
def test_read_only_server_is_503_and_connection_is_dropped(visitor: Visitor) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no standby")
    with connection.cursor() as cursor:  # like a demoted primary
        cursor.execute("SET default_transaction_read_only = on")

    refused = visitor.post("/api/v1/submissions", THREE, content_type="application/json")
    assert (refused.status_code, refused["Retry-After"]) == (503, "5")

    close_old_connections()  # as at the start of each request, except with the test client
    assert visitor.draw()["digit"] == 3


@pytest.mark.services
@pytest.mark.django_db(transaction=True)
def test_working_connection_to_read_only_server_is_dropped() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no standby")
    with connection.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = on")
    before = connection.connection

    close_old_connections()
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")

    assert connection.connection is not before


@pytest.mark.services
@pytest.mark.django_db(transaction=True)
def test_run_replaces_connection_that_broke_while_fitting() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no server")
    run = TrainingRun.objects.create(trigger=TrainingRun.Trigger.API)
    with Clock(run, Progress()).phase(TrainingRun.Phase.FIT):
        connection.connection.close()  # as if the server had hung up; Django does not know yet

    run.refresh_from_db()
    assert list(run.timings) == ["fit"]


@pytest.mark.services
def test_unreachable_database_is_waited_for_once(monkeypatch: Any) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite is a file")
    monkeypatch.setattr("hdr_site.postgresql.base.circuit_breaker", CircuitBreaker())
    with socket.create_server(("127.0.0.1", 0), backlog=1) as silent:  # accepts a connection and never answers
        settings = connection.settings_dict | {"HOST": "127.0.0.1", "PORT": silent.getsockname()[1]}
        settings["OPTIONS"] = settings["OPTIONS"] | {"connect_timeout": 2}  # seconds, the least that libpq takes
        began = time.monotonic()
        for _ in range(20):
            with pytest.raises(psycopg.OperationalError):
                DatabaseWrapper(settings).connect()

    assert time.monotonic() - began < 5


@pytest.fixture
def silent_redis(settings: LazySettings, tmp_path: Path) -> Iterator[None]:
    """A Redis that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        settings.DATA_DIR = tmp_path
        settings.REDIS_URL = f"redis://127.0.0.1:{listening.getsockname()[1]}/0"
        settings.CACHES = {
            "default": {
                "BACKEND": "django.core.cache.backends.redis.RedisCache",
                "LOCATION": settings.REDIS_URL,
                "OPTIONS": {"socket_connect_timeout": 0.2, "socket_timeout": 0.2},
            }
        }
        counter.cache_clear()
        yield
        counter.cache_clear()


def test_host_counts_alone_and_waits_once_while_redis_is_away(silent_redis: None) -> None:
    began = time.monotonic()
    calls = [counter().count("x", 60)[0] for _ in range(100)]

    assert calls == list(range(1, 101))
    assert time.monotonic() - began < 1.5
