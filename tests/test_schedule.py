"""The schedule: the site works by itself, and admins can edit when."""

import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from django.utils.timezone import now
from django_celery_beat.models import IntervalSchedule, PeriodicTask, PeriodicTasks
from django_celery_beat.tzcrontab import TzAwareCrontab

from hdr_site.beat import PatientScheduler
from hdr_site.celery import app as celery_app
from hdr_site.schedule import NAMES, ensure_schedule
from training import queues, runs, tasks
from training.models import TrainingRun
from training.queues import MOST_WAITING

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin_browser(admin_user: User) -> Client:
    client = Client()
    client.force_login(admin_user)
    return client


def test_prepare_creates_schedule_and_keeps_changes_of_admins() -> None:
    call_command("prepare")
    nightly = PeriodicTask.objects.get(name="retrain every night")
    nightly.enabled, nightly.description = False, "not in summer"
    nightly.save()
    call_command("prepare")

    assert set(PeriodicTask.objects.values_list("name", flat=True)) == NAMES
    nightly.refresh_from_db()
    assert (nightly.enabled, nightly.description) == (False, "not in summer")


def test_schedule_retrains_at_night_and_checks_corrections_every_minute() -> None:
    ensure_schedule()
    scheduler = PatientScheduler(app=celery_app, lazy=True)
    entries = scheduler.all_as_schedule()

    enough = entries["retrain when there is enough"]
    assert enough.schedule.run_every == timedelta(minutes=1)
    assert enough.kwargs == {"corrections": 50, "hours": 1}
    nightly = PeriodicTask.objects.get(name="retrain every night").crontab
    assert (nightly.hour, nightly.minute, str(nightly.timezone)) == ("2", "30", "UTC")
    assert "celery.backend_cleanup" not in entries


def test_messages_of_schedule_expire() -> None:
    ensure_schedule()

    for task in PeriodicTask.objects.all():
        assert task.expire_seconds and task.expire_seconds <= 3600, task.name


def test_broker_does_not_deliver_a_run_twice() -> None:
    if settings.REDIS_URL:
        longest = runs.LIMITS.longest.total_seconds()
        assert settings.CELERY_BROKER_TRANSPORT_OPTIONS["visibility_timeout"] > 2 * longest
    assert tasks.train.acks_late and tasks.train.reject_on_worker_lost


@pytest.fixture
def line() -> Iterator[PeriodicTask]:
    """An entry of the schedule that sends to a queue without workers."""
    interval = IntervalSchedule.objects.create(every=1, period=IntervalSchedule.SECONDS)
    queue = f"nobody-{uuid.uuid4().hex}"
    yield PeriodicTask.objects.create(name="chatter", task="training.tasks.supervise", interval=interval, queue=queue)
    with celery_app.connection_for_write() as broker:
        channel: Any = broker.default_channel
        channel.queue_purge(queue)


def test_messages_do_not_pile_up_without_workers(line: PeriodicTask) -> None:
    scheduler = PatientScheduler(app=celery_app, lazy=True)
    entry = scheduler.all_as_schedule()[line.name]
    for _ in range(MOST_WAITING + 20):
        scheduler.apply_async(entry, producer=scheduler.producer, advance=False)

    with celery_app.connection_for_write() as broker:
        channel: Any = broker.default_channel
        assert channel.queue_declare(line.queue, passive=True).message_count == MOST_WAITING
    scheduler.connection.release()


@pytest.mark.django_db(transaction=True)  # messages are sent once a transaction is over
def test_run_messages_do_not_pile_up_without_training_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    queue = f"nobody-{uuid.uuid4().hex}"
    monkeypatch.setattr(queues, "TRAINING", queue)
    run = TrainingRun.objects.create(trigger=TrainingRun.Trigger.API)
    for _ in range(MOST_WAITING + 20):
        TrainingRun.objects.update(sent=run.created - timedelta(minutes=2))
        runs.supervise()

    with celery_app.connection_for_write() as broker:
        channel: Any = broker.default_channel
        assert channel.queue_purge(queue) == MOST_WAITING


@pytest.mark.django_db(transaction=True)  # beat closes connections that no transaction needs
def test_clock_set_back_does_not_stop_schedule(line: PeriodicTask) -> None:
    tomorrow = now() + timedelta(days=1)
    PeriodicTask.objects.update(last_run_at=tomorrow)  # as an earlier beat left it
    scheduler = PatientScheduler(app=celery_app, lazy=True)
    scheduler.tick()
    assert scheduler.schedule[line.name].is_due().next <= 1

    scheduler.schedule[line.name].last_run_at = scheduler._latest = tomorrow  # as if the clock changed while it runs
    scheduler.tick()
    assert scheduler.schedule[line.name].is_due().next <= 1


@pytest.mark.slow
@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/New_York"])
@pytest.mark.parametrize("month", [3, 10, 11])
def test_nightly_task_runs_once_a_night_when_clocks_change(
    zone: str, month: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At 2:30, which some nights skip and others repeat."""
    clock = datetime(2027, month, 1, 12, tzinfo=UTC)
    monkeypatch.setattr(TzAwareCrontab, "nowfunc", lambda self: clock.astimezone(self.tz))
    nightly = TzAwareCrontab(minute="30", hour="2", tz=ZoneInfo(zone))
    last, nights = clock, []
    while clock.month == month:
        if nightly.is_due(last).is_due:
            last = clock
            nights.append(clock.astimezone(nightly.tz).day)
        clock += timedelta(minutes=30)

    assert nights == list(range(2, last.astimezone(nightly.tz).day + 1))
    assert len(nights) >= 29


def test_nightly_run_is_skipped_while_one_is_live() -> None:
    tasks.scheduled_run()
    tasks.scheduled_run()

    assert [run.trigger for run in TrainingRun.objects.all()] == [TrainingRun.Trigger.SCHEDULE]


def test_admin_can_edit_parameters_of_a_task(admin_browser: Client) -> None:
    ensure_schedule()
    task = PeriodicTask.objects.get(name="retrain when there is enough")
    page = f"/admin/django_celery_beat/periodictask/{task.pk}/change/"
    assert "<script>" not in admin_browser.get(page).content.decode()
    form: dict[str, Any] = {
        "task": task.task,
        "enabled": "on",
        "interval": task.interval_id,
        "args": "[]",
        "kwargs": json.dumps({"corrections": 10, "hours": 0.5}),
        "headers": "{}",
        "expire_seconds": 120,
    }
    before = PeriodicTasks.last_change()
    assert admin_browser.post(page, form).status_code == 302

    task.refresh_from_db()
    assert (task.name, json.loads(task.kwargs)) == ("retrain when there is enough", {"corrections": 10, "hours": 0.5})
    assert PeriodicTasks.last_change() != before  # beat reads it within seconds


def test_own_entries_can_be_disabled_but_not_deleted(admin_browser: Client, line: PeriodicTask) -> None:
    ensure_schedule()
    own = PeriodicTask.objects.get(name="retrain every night")
    confirm = {"post": "yes"}

    assert admin_browser.post(f"/admin/django_celery_beat/periodictask/{own.pk}/delete/", confirm).status_code == 403
    body = {"action": "delete_selected", "_selected_action": [own.pk], **confirm}
    admin_browser.post("/admin/django_celery_beat/periodictask/", body)
    assert PeriodicTask.objects.filter(pk=own.pk).exists()
    assert admin_browser.post(f"/admin/django_celery_beat/periodictask/{line.pk}/delete/", confirm).status_code == 302
    admin_browser.post(
        "/admin/django_celery_beat/periodictask/", {"action": "disable_tasks", "_selected_action": [own.pk]}
    )
    own.refresh_from_db()
    assert not own.enabled


def test_admin_list_recognizes_the_scheduler(admin_browser: Client) -> None:
    page = admin_browser.get("/admin/django_celery_beat/periodictask/").content.decode()

    assert "be dispatched unless" not in page
