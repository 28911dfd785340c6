"""Faults of training runs, with real workers and a real broker: every run ends, and nothing is stuck.

The workers share the tests' database and data directory; a stand-in does the work.
"""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from hdr_site.celery import app as celery_app
from hdr_site.supervisor import PARTS
from tests.processes import lives, until
from training import queues, runs
from training.models import TrainingRun
from training.tasks import train

pytestmark = pytest.mark.django_db(transaction=True)

ROOT = Path(__file__).resolve().parent.parent
State, Trigger = TrainingRun.State, TrainingRun.Trigger
Start = Callable[..., "Part"]


class Part:
    """A part of the site as `runsite` starts it, in its own process group."""

    def __init__(self, name: str, log: Path, **environment: str) -> None:
        self.log = log
        with log.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *PARTS[name].split()],
                cwd=ROOT,
                env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.fault_settings", **environment},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_for(self, text: str, seconds: float = 40) -> None:
        until(lambda: text in self.log.read_text(), seconds, lambda: self.log.read_text()[-3000:])

    def end(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)


def database_url() -> str:
    """Return the URL of the tests' database, in the form of `DATABASE_URL`."""
    place = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{place['NAME']}"
    return f"postgres://{place['USER']}:{place['PASSWORD']}@{place['HOST']}:{place['PORT']}/{place['NAME']}"


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Start parts of the site. The tests supervise runs, with a shorter limit than the site."""
    monkeypatch.setattr(runs, "LIMITS", replace(runs.LIMITS, lost=timedelta(seconds=3)))
    with celery_app.connection_for_write() as broker:
        channel: Any = broker.default_channel
        for queue in ("site", "training"):
            channel.queue_purge(queue)
    parts: list[Part] = []

    def start_one(name: str, stand_in: str = "linger") -> Part:
        log = tmp_path / f"{len(parts)}-{name}.log"
        parts.append(part := Part(name, log, DATABASE_URL=database_url(), STAND_IN=stand_in))
        if name != "beat":
            part.wait_for(" ready.")
        return part

    yield start_one
    for part in parts:
        part.end()


def reached(run: TrainingRun, *states: str, phase: str | None = None, seconds: float = 40) -> TrainingRun:
    """Wait until a run is in one of the states and in the phase."""

    def there() -> bool:
        run.refresh_from_db()
        return run.state in states and phase in (None, run.phase)

    until(there, seconds, lambda: f"{run.state} {run.phase} {run.reason}")
    return run


def supervised_until(run: TrainingRun, *states: str, seconds: float = 40) -> TrainingRun:
    def there() -> bool:
        runs.supervise()
        run.refresh_from_db()
        return run.state in states

    until(there, seconds, lambda: f"{run.state} {run.phase} {run.reason}")
    return run


def asked_for(linger: str) -> TrainingRun:
    """Queue a run whose first attempt stays in a phase."""
    long_ago = timedelta(hours=1)
    run = TrainingRun.objects.create(trigger=Trigger.API, counts={"linger": linger})
    TrainingRun.objects.update(sent=run.created - long_ago)
    runs.supervise()
    return run


def child_of(run: TrainingRun) -> int:
    host, _, pid = run.worker.rpartition(":")
    assert host == socket.gethostname()
    return int(pid)


@pytest.mark.site
def test_run_is_retried_after_its_process_is_killed_in_any_phase(start: Start) -> None:
    start("training")
    for phase in TrainingRun.Phase.values:
        run = reached(asked_for(phase), State.RUNNING, phase=phase)  # the previous run blocks nothing
        os.kill(child_of(run), signal.SIGKILL)
        supervised_until(run, State.SUCCEEDED, State.FAILED)

        assert (run.state, run.attempt, run.reason) == (State.SUCCEEDED, 2, "Attempt 2 did it."), phase


@pytest.mark.site
def test_next_worker_retries_run_of_killed_worker(start: Start) -> None:
    worker = start("training")
    run = reached(asked_for("fit"), State.RUNNING, phase="fit")
    child = child_of(run)
    os.kill(worker.process.pid, signal.SIGKILL)
    until(lambda: not lives(child), 10)
    start("training")
    supervised_until(run, State.SUCCEEDED, State.FAILED)

    assert (run.state, run.attempt) == (State.SUCCEEDED, 2)


@pytest.mark.site
@pytest.mark.parametrize("kill", [os.kill, os.killpg])  # the worker alone, or with its processes as systemd does
def test_stopped_worker_returns_its_run(start: Start, kill: Callable[[int, int], None]) -> None:
    worker = start("training")
    run = reached(asked_for("fit"), State.RUNNING, phase="fit")
    kill(worker.process.pid, signal.SIGTERM)
    reached(run, State.QUEUED, seconds=10)
    assert run.attempt == 0  # the attempt does not count
    assert worker.process.wait(15) == 0
    TrainingRun.objects.update(counts={})
    start("training")

    assert reached(run, State.SUCCEEDED, State.FAILED).state == State.SUCCEEDED


@pytest.mark.site
@pytest.mark.parametrize("stand_in", ["linger", "ignore_signals"])
def test_run_is_cancelled_within_five_seconds(start: Start, stand_in: str) -> None:
    start("training", stand_in)
    run = reached(asked_for("fit"), State.RUNNING, phase="fit")
    child = child_of(run)
    assert runs.cancel(run)
    reached(run, State.CANCELLED, seconds=5)

    assert run.reason == "Cancelled."
    until(lambda: not lives(child), 5)
    following = asked_for("none")
    if stand_in == "linger":
        reached(following, State.SUCCEEDED)


@pytest.mark.tensorflow
@pytest.mark.parametrize("phase", ["start", "fit"])
def test_tensorflow_is_cancelled_within_five_seconds(start: Start, phase: str) -> None:
    start("training", "fit_forever")
    run = reached(asked_for("fit"), State.RUNNING, phase=phase)
    loaded = Path(f"/proc/{child_of(run)}/maps")
    until(lambda: "tensorflow" in loaded.read_text() if phase == "start" else reached(run, State.RUNNING).batch)
    assert runs.cancel(run)

    assert reached(run, State.CANCELLED, seconds=5).reason == "Cancelled."


@pytest.mark.site
def test_two_schedulers_create_one_run(start: Start) -> None:
    every_second = IntervalSchedule.objects.create(every=1, period=IntervalSchedule.SECONDS)
    PeriodicTask.objects.create(name="night", task="training.tasks.scheduled_run", interval=every_second)
    worker = start("worker")
    start("beat")
    start("beat")
    until(lambda: worker.log.read_text().count("No scheduled run") >= 3, 40, lambda: worker.log.read_text()[-3000:])

    assert TrainingRun.objects.count() == 1


@pytest.mark.site
def test_two_workers_and_repeated_messages_make_one_attempt(start: Start) -> None:
    start("training")
    start("training")
    run = asked_for("none")
    for _ in range(3):
        train.apply_async((run.pk,), queue=queues.TRAINING)
    reached(run, State.SUCCEEDED)
    reached(asked_for("none"), State.SUCCEEDED)  # its message came after all of those
    run.refresh_from_db()

    assert (run.state, run.attempt) == (State.SUCCEEDED, 1)


@pytest.mark.site
def test_missing_broker_only_delays_a_run(start: Start) -> None:
    if settings.REDIS_URL:
        pytest.skip("shown with the folder")
    start("training")
    folder = Path(settings.CELERY_BROKER_TRANSPORT_OPTIONS["data_folder_out"])
    away = folder.rename(folder.with_name("away"))
    try:
        run = asked_for("none")
    finally:
        away.rename(folder)
    run.refresh_from_db()
    assert run.state == State.QUEUED
    TrainingRun.objects.update(sent=run.created - timedelta(hours=1))
    runs.supervise()

    assert reached(run, State.SUCCEEDED, State.FAILED).state == State.SUCCEEDED
