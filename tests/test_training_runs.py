"""Training runs are requested, followed and cancelled; every run ends with a reason."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.db.utils import IntegrityError
from django.test import Client
from django.utils.timezone import now

from hdr_site.celery import app as celery_app
from recognizer.models import Correction, ModelVersion
from tests import stand_in as stand_ins
from tests.conftest import Visitor
from tests.drawings import SEVEN, THREE
from training import attempt, runs
from training.models import TrainingRun

pytestmark = pytest.mark.django_db
for_real = pytest.mark.django_db(transaction=True)  # two threads write

State, Trigger = TrainingRun.State, TrainingRun.Trigger
LONG_AGO = timedelta(hours=5)


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Create a run and execute it here, with a stand-in for the work and a short heartbeat."""
    monkeypatch.setattr(runs, "LIMITS", replace(runs.LIMITS, beat=0.05))

    def execute(stand_in: str, **columns: Any) -> TrainingRun:
        run = TrainingRun.objects.create(trigger=Trigger.API, **columns)
        attempt.execute(run.pk, getattr(stand_ins, stand_in))
        run.refresh_from_db()
        return run

    return execute


# --- Asking -----------------------------------------------------------------------------------------------------------


def test_staff_can_queue_and_read_a_run(staff: Client, admin_user: User) -> None:
    answer = staff.post("/api/v1/training-runs", {"force": True}, content_type="application/json")

    assert answer.status_code == 202
    run = answer.json()
    assert (run["state"], run["trigger"], run["force"], run["progress"]) == ("queued", "api", True, 0)
    assert TrainingRun.objects.get().requested_by == admin_user
    assert staff.get(f"/api/v1/training-runs/{run['id']}").json() == run
    assert staff.get("/api/v1/training-runs").json() == {"next": None, "previous": None, "results": [run]}
    assert staff.get("/api/v1/training-runs/999").status_code == 404


def test_run_request_needs_no_body(staff: Client) -> None:
    assert staff.generic("POST", "/api/v1/training-runs").status_code == 202


@pytest.mark.parametrize("body", ["[1]", '"force"', '{"force": 1}', '{"force": null}', "{", "null"])
def test_invalid_body_is_refused(staff: Client, body: str) -> None:
    assert staff.post("/api/v1/training-runs", body, content_type="application/json").status_code == 400
    assert not TrainingRun.objects.exists()


def test_second_request_names_the_live_run(staff: Client) -> None:
    run = runs.request(Trigger.SCHEDULE)
    answer = staff.generic("POST", "/api/v1/training-runs")

    assert answer.status_code == 409
    assert answer.json() == {"detail": f"Training run {run.pk} is queued.", "run": run.pk}
    with pytest.raises(IntegrityError), transaction.atomic():
        TrainingRun.objects.create(trigger=Trigger.API, state=State.RUNNING)


def test_visitors_cannot_access_runs(visitor: Visitor) -> None:
    run = runs.request(Trigger.SCHEDULE)

    one = f"/api/v1/training-runs/{run.pk}"
    for method, call in [("GET", "/api/v1/training-runs"), ("POST", "/api/v1/training-runs"), ("GET", one)]:
        assert visitor.generic(method, call).status_code == 403
    assert visitor.generic("POST", f"{one}/cancel").status_code == 403


def test_listing_runs_uses_one_query(staff: Client, active_model: ModelVersion) -> None:
    for _ in range(3):
        TrainingRun.objects.create(trigger=Trigger.API, state=State.FAILED, parent=active_model)
    with connection.execute_wrapper(counter := _Counter()):
        assert [run["parent"] for run in staff.get("/api/v1/training-runs").json()["results"]] == [1, 1, 1]

    assert counter.of("training_trainingrun") == 1


class _Counter:
    def __init__(self) -> None:
        self.seen: list[str] = []

    def __call__(self, execute: Any, sql: str, *rest: Any) -> Any:
        self.seen.append(sql)
        return execute(sql, *rest)

    def of(self, table: str) -> int:
        return sum(table in sql for sql in self.seen)


# --- Cancelling -------------------------------------------------------------------------------------------------------


def test_queued_run_is_cancelled_at_once(staff: Client) -> None:
    run = runs.request(Trigger.API)
    first = staff.post(f"/api/v1/training-runs/{run.pk}/cancel")
    second = staff.post(f"/api/v1/training-runs/{run.pk}/cancel")

    assert (first.status_code, first.json()["state"]) == (202, "cancelled")
    assert first.json()["finished"] and first.json()["cancel_requested"]
    assert second.status_code == 409
    assert second.json() == {"detail": f"Training run {run.pk} is over: it was cancelled."}


def test_running_run_is_asked_to_stop(staff: Client) -> None:
    run = TrainingRun.objects.create(trigger=Trigger.API, state=State.RUNNING, heartbeat=now(), attempt=1)
    answer = staff.post(f"/api/v1/training-runs/{run.pk}/cancel")

    assert answer.status_code == 202
    assert answer.json()["state"] == "running"
    assert answer.json()["cancel_requested"]


@for_real
@pytest.mark.parametrize("stand_in", ["linger", "swallow_exception"])
def test_cancelled_work_stops_within_seconds(executed: Any, stand_in: str) -> None:
    started = time.monotonic()
    with _in_half_a_second(lambda: TrainingRun.objects.update(cancel_requested=now())):
        run = executed(stand_in, counts={"linger": "fit"})

    assert (run.state, run.reason, run.phase) == (State.CANCELLED, "Cancelled.", "fit")
    assert time.monotonic() - started < 5


@contextmanager
def _in_half_a_second(act: Callable[[], object]) -> Iterator[None]:
    """Do something half a second later, while the main thread works."""
    before = signal.signal(signal.SIGALRM, lambda number, frame: act())
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)  # it may have ended sooner
        signal.signal(signal.SIGALRM, before)


@for_real
def test_run_cancelled_before_promotion_promotes_nothing(executed: Any) -> None:
    assert executed("promote_after_cancel").state == State.CANCELLED


# --- Executing --------------------------------------------------------------------------------------------------------


@for_real
def test_finished_run_reports_its_result(executed: Any, staff: Client) -> None:
    run = staff.get(f"/api/v1/training-runs/{executed('succeed').pk}").json()

    assert (run["state"], run["reason"], run["progress"]) == ("succeeded", "Version 2 serves.", 1)
    assert (run["attempt"], run["phase"], run["losses"], run["loss"]) == (1, "promote", [0.5, None], None)
    assert run["started"] and run["finished"]


@for_real
@pytest.mark.parametrize(
    ("stand_in", "state", "reason"),
    [
        ("skip", State.SKIPPED, "Nothing changed."),
        ("fail", State.FAILED, "MNIST is missing: run `manage.py fetch_mnist`."),
        ("crash", State.FAILED, "ZeroDivisionError: no drawings"),
    ],
)
def test_each_end_has_its_reason(executed: Any, stand_in: str, state: str, reason: str) -> None:
    run = executed(stand_in)

    assert (run.state, run.reason) == (state, reason)


@for_real
def test_run_fails_after_three_database_errors(executed: Any) -> None:
    run = executed("fail_on_database")
    assert (run.state, run.attempt) == (State.QUEUED, 1)
    for _ in range(2):
        attempt.execute(run.pk, stand_ins.fail_on_database)
    run.refresh_from_db()

    assert (run.state, run.attempt) == (State.FAILED, 3)
    assert run.reason == "The database failed 3 times, last while exporting: disk full."


@for_real
@pytest.mark.parametrize(
    ("limit", "reason"),
    [
        ({"longest": timedelta(seconds=0.2)}, "It took longer than"),
        ({"memory": 0.001}, "It used more than 0.001 GB"),
    ],
)
def test_time_and_memory_are_limited(
    executed: Any, monkeypatch: pytest.MonkeyPatch, limit: dict[str, Any], reason: str
) -> None:
    monkeypatch.setattr(runs, "LIMITS", replace(runs.LIMITS, **limit))
    run = executed("linger", counts={"linger": "data"})

    assert run.state == State.FAILED
    assert run.reason.startswith(reason)


@for_real
@pytest.mark.parametrize("state", [State.RUNNING, State.CANCELLED, State.SUCCEEDED])
def test_message_for_a_run_that_is_not_queued_does_nothing(executed: Any, state: str) -> None:
    run = executed("fail", state=state)

    assert (run.state, run.attempt, run.reason) == (state, 0, "")
    attempt.execute(4711, stand_ins.succeed)


@for_real
def test_worker_that_lost_its_run_overwrites_nothing(executed: Any) -> None:
    with _in_half_a_second(lambda: TrainingRun.objects.update(attempt=2, worker="another:1", phase="gates")):
        run = executed("linger", counts={"linger": "fit"})

    assert (run.state, run.attempt, run.worker, run.phase) == (State.RUNNING, 2, "another:1", "gates")


# --- Supervising ------------------------------------------------------------------------------------------------------


def dead_run(**columns: Any) -> TrainingRun:
    """A run whose worker has been silent for hours."""
    columns = {"state": State.RUNNING, "attempt": 1, "worker": "gone:1", "phase": "fit"} | columns
    return TrainingRun.objects.create(trigger=Trigger.API, heartbeat=now() - LONG_AGO, **columns)


def supervised(run: TrainingRun) -> TrainingRun:
    runs.supervise()
    run.refresh_from_db()
    return run


def test_run_of_dead_worker_is_queued_again() -> None:
    run = supervised(dead_run())

    assert (run.state, run.attempt) == (State.QUEUED, 1)
    assert now() - run.sent < timedelta(seconds=5)


def test_heartbeat_in_the_future_counts_as_none() -> None:
    run = dead_run()
    TrainingRun.objects.update(heartbeat=now() + timedelta(days=1))

    assert supervised(run).state == State.QUEUED


def test_run_fails_after_three_dead_workers() -> None:
    run = supervised(dead_run(attempt=3))

    assert (run.state, run.reason) == (State.FAILED, "Its worker died 3 times, last while learning.")


def test_dead_run_with_cancel_request_is_cancelled() -> None:
    run = supervised(dead_run(cancel_requested=now()))

    assert (run.state, run.reason) == (State.CANCELLED, "Cancelled. Its worker died.")


def test_live_run_is_left_alone() -> None:
    run = TrainingRun.objects.create(trigger=Trigger.API, state=State.RUNNING, heartbeat=now(), attempt=1)

    assert supervised(run).state == State.RUNNING


def test_dead_run_does_not_block_a_new_one(staff: Client) -> None:
    run = dead_run(attempt=3)

    assert staff.generic("POST", "/api/v1/training-runs").status_code == 202
    run.refresh_from_db()
    assert run.state == State.FAILED


@for_real
def test_lost_message_is_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[int] = []
    monkeypatch.setattr(celery_app, "send_task", lambda name, args, **options: sent.append(args[0]))
    run = runs.request(Trigger.API)
    runs.supervise()
    assert sent == [run.pk]

    TrainingRun.objects.update(sent=now() - timedelta(seconds=61))
    runs.supervise()
    runs.supervise()
    assert sent == [run.pk, run.pk]

    TrainingRun.objects.update(sent=now() + timedelta(days=1))  # before the clock was set back
    runs.supervise()
    runs.supervise()
    assert sent == [run.pk, run.pk, run.pk]


def test_run_without_worker_fails_with_reason() -> None:
    run = TrainingRun.objects.create(
        trigger=Trigger.API, created=now() - timedelta(minutes=31), sent=now() - timedelta(seconds=61)
    )

    assert supervised(run).state == State.FAILED
    assert run.reason == "No training worker took it in 30 minutes; is one running?"


def test_run_queued_during_downtime_gets_its_chance() -> None:
    run = TrainingRun.objects.create(trigger=Trigger.API, created=now() - LONG_AGO, sent=now() - LONG_AGO)

    assert supervised(run).state == State.QUEUED


# --- Triggers ---------------------------------------------------------------------------------------------------------


def accepted(visitor: Visitor, digit: int, drawing: Any = THREE) -> Correction:
    """Draw a digit, correct it, and accept the correction."""
    submission = visitor.draw(drawing)
    visitor.say(submission["id"], digit)
    correction = Correction.objects.get(submission=submission["id"])
    Correction.objects.filter(pk=correction.pk).update(state=Correction.State.ACCEPTED, decided=now())
    return correction


def test_enough_new_corrections_start_a_run(visitor: Visitor) -> None:
    accepted(visitor, 8)
    assert runs.request_when_enough(corrections=2, hours=1) is None
    accepted(visitor, 3)  # a confirmation: nothing new
    assert runs.request_when_enough(corrections=2, hours=1) is None
    accepted(visitor, 2, SEVEN)
    run = runs.request_when_enough(corrections=2, hours=1)

    assert run is not None
    assert run.trigger == Trigger.CORRECTIONS


def test_corrections_count_since_last_run_and_runs_are_spaced(visitor: Visitor) -> None:
    accepted(visitor, 8)
    run = TrainingRun.objects.create(
        trigger=Trigger.API, state=State.FAILED, created=now() - timedelta(minutes=30), started=now()
    )
    assert runs.request_when_enough(corrections=1, hours=1) is None  # the last one is half an hour ago
    TrainingRun.objects.update(created=now() - timedelta(minutes=61), state=State.SUCCEEDED)
    assert runs.request_when_enough(corrections=1, hours=1) is None  # it has learned them
    TrainingRun.objects.filter(pk=run.pk).update(state=State.FAILED)

    assert runs.request_when_enough(corrections=1, hours=1) is not None


# --- The command ------------------------------------------------------------------------------------------------------


def test_command_queues_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("retrain", force=True)

    run = TrainingRun.objects.get()
    assert (run.trigger, run.force) == (Trigger.COMMAND, True)
    assert capsys.readouterr().out == f"Training run {run.pk} is queued.\n"
    with pytest.raises(CommandError, match=f"Training run {run.pk} is queued"):
        call_command("retrain", wait=True)


@for_real
@pytest.mark.parametrize(
    ("stand_in", "ending"), [("succeed", "succeeded. Version 2"), ("skip", "was skipped. Nothing")]
)
def test_waiting_command_ends_with_the_run(capsys: pytest.CaptureFixture[str], stand_in: str, ending: str) -> None:
    with _taken_soon(stand_in):
        call_command("retrain", wait=True)

    assert ending in capsys.readouterr().out


@for_real
def test_waiting_command_fails_with_the_run() -> None:
    with _taken_soon("fail"), pytest.raises(CommandError, match=r"failed\. MNIST is missing"):
        call_command("retrain", wait=True)


def test_ctrl_c_leaves_the_run_alone(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", interrupt)
    with pytest.raises(SystemExit):
        call_command("retrain", wait=True)

    run = TrainingRun.objects.get()
    assert run.state == State.QUEUED
    assert f"Training run {run.pk} continues" in capsys.readouterr().out


@contextmanager
def _taken_soon(stand_in: str) -> Iterator[None]:
    """A worker takes the run while the command waits: here in a signal handler of the main thread."""
    learn = getattr(stand_ins, stand_in)
    with _in_half_a_second(lambda: attempt.execute(TrainingRun.objects.get().pk, learn)):
        yield


# --- The admin --------------------------------------------------------------------------------------------------------


@pytest.fixture
def admin_browser(admin_user: User, active_model: ModelVersion) -> Client:
    client = Client()
    client.force_login(admin_user)
    return client


def test_button_starts_a_run_or_names_the_live_one(admin_browser: Client, admin_user: User) -> None:
    assert "Start a training run" in admin_browser.get("/admin/training/trainingrun/").content.decode()
    first = admin_browser.post("/admin/training/trainingrun/start/", follow=True).content.decode()
    second = admin_browser.post("/admin/training/trainingrun/start/", follow=True).content.decode()

    run = TrainingRun.objects.get()
    assert (run.trigger, run.requested_by) == (Trigger.BUTTON, admin_user)
    assert f"Training run {run.pk} is queued." in first
    assert f"Training run {run.pk} is queued." in second and 'class="error"' in second
    assert "<progress" in first


def test_starting_a_run_requires_post_and_csrf_token(admin_user: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(admin_user)

    assert client.get("/admin/training/trainingrun/start/").status_code == 405
    assert client.post("/admin/training/trainingrun/start/").status_code == 403
    assert not TrainingRun.objects.exists()


def test_live_run_can_be_cancelled_on_its_page(admin_browser: Client) -> None:
    run = runs.request(Trigger.API)
    page = f"/admin/training/trainingrun/{run.pk}/change/"
    assert "Cancel this run" in admin_browser.get(page).content.decode()
    after = admin_browser.post(f"/admin/training/trainingrun/{run.pk}/cancel/", follow=True).content.decode()
    again = admin_browser.post(f"/admin/training/trainingrun/{run.pk}/cancel/", follow=True).content.decode()

    assert f"Training run {run.pk} was cancelled." in after
    assert "Cancel this run" not in after
    assert f"Training run {run.pk} is over" in again


def test_run_page_shows_gates_counts_and_timings(admin_browser: Client, active_model: ModelVersion) -> None:
    report = [
        {"gate": "floor", "value": 0.99, "threshold": 0.98, "passed": True, "n": 10_000, "explanation": "On MNIST."},
        {"gate": "size", "value": 2, "threshold": 1, "passed": False, "n": 1, "explanation": "<b>Too large.</b>"},
    ]
    ModelVersion.objects.filter(pk=active_model.pk).update(gate_report=report)
    run = TrainingRun.objects.create(
        trigger=Trigger.API,
        state=State.SUCCEEDED,
        version=active_model,
        counts={"train": 400, "holdout": 100, "left_out": {"a duplicate": 7}},
        timings={"fit": {"seconds": 31.5, "memory_gb": 0.9}, "data": {"seconds": 2}},
    )
    for page in (f"training/trainingrun/{run.pk}", f"recognizer/modelversion/{active_model.pk}"):
        text = admin_browser.get(f"/admin/{page}/change/").content.decode()
        assert "<td>floor</td>" in text and "<strong>FAILED</strong>" in text
        assert "&lt;b&gt;Too large." in text

    page_of_run = admin_browser.get(f"/admin/training/trainingrun/{run.pk}/change/").content.decode()
    assert "<td>left out: a duplicate</td><td>7</td>" in page_of_run
    assert "<td>400</td>" in page_of_run and "<td>31.5</td>" in page_of_run
    assert 'name="_save"' not in page_of_run
