"""The schedule of background tasks. Admins can change it under *Periodic tasks* in the admin."""

import json
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from celery import Task
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

from recognizer import tasks as housekeeping
from training import tasks as training


@dataclass(frozen=True, slots=True)
class ScheduledTask:
    """One entry of the schedule: a daily time (hour, minute in UTC) or an interval."""

    name: str
    task: "Task[Any, Any]"
    when: tuple[int, int] | timedelta
    description: str
    kwargs: dict[str, Any] = field(default_factory=dict)

    @property
    def expires(self) -> timedelta:
        """Return how long an unclaimed message stays valid; generous, because hosts' clocks differ."""
        return timedelta(hours=1) if isinstance(self.when, tuple) else max(2 * self.when, timedelta(minutes=2))


SCHEDULE = [
    ScheduledTask("retrain every night", training.scheduled_run, (2, 30), "Skipped when nothing changed."),
    ScheduledTask(
        "retrain when there is enough",
        training.run_when_enough,
        timedelta(minutes=1),
        "Looks every minute; runs with that many newly accepted corrections, that many hours after the last run.",
        {"corrections": 50, "hours": 1},
    ),
    ScheduledTask(
        "look after training runs",
        training.supervise,
        timedelta(seconds=15),
        "Notices dead workers and lost messages. Do not disable it.",
    ),
    ScheduledTask(
        "triage corrections",
        housekeeping.triage_corrections,
        timedelta(minutes=1),
        "Accepts plausible corrections by rule, holds the others for review.",
    ),
    ScheduledTask(
        "watch the last promotion",
        housekeeping.watch_promotion,
        timedelta(minutes=1),
        "Rolls a new version back when people correct it more than the one before.",
    ),
    ScheduledTask(
        "measure models",
        training.measure_models,
        timedelta(minutes=5),
        "Reads MNIST's test set with a version that came without what its page shows; nothing to do mostly.",
    ),
    ScheduledTask(
        "count for the statistics",
        housekeeping.recount_statistics,
        timedelta(minutes=30),
        "Counts the days on which something was drawn, said, decided or deleted since.",
    ),
    ScheduledTask(
        "forget old models",
        housekeeping.prune_models,
        (3, 47),
        "Drops the bytes of versions that nobody is likely to want again; their rows and reports stay.",
    ),
    ScheduledTask(
        "delete old drawings",
        housekeeping.delete_old_drawings,
        (4, 7),
        "With HDR_KEEP_DAYS those older than that, unless their label was accepted; and what deleted ones left behind.",
    ),
    ScheduledTask(
        "forget expired sessions",
        housekeeping.clear_expired_sessions,
        (3, 17),
        "Django never does so by itself.",
    ),
]
NAMES = frozenset(entry.name for entry in SCHEDULE)


def ensure_schedule() -> None:
    """Add missing entries by name; entries that an admin changed or disabled stay as they are."""
    known = set(PeriodicTask.objects.values_list("name", flat=True))
    for entry in SCHEDULE:
        if entry.name not in known:
            PeriodicTask.objects.get_or_create(name=entry.name, defaults=_columns(entry))


def _columns(entry: ScheduledTask) -> dict[str, Any]:
    when: dict[str, Any]
    if isinstance(entry.when, tuple):
        hour, minute = entry.when
        when = {"crontab": CrontabSchedule.objects.get_or_create(hour=str(hour), minute=str(minute), timezone="UTC")[0]}
    else:
        seconds = int(entry.when.total_seconds())
        unit, period = (1, IntervalSchedule.SECONDS) if seconds % 60 else (60, IntervalSchedule.MINUTES)
        when = {"interval": IntervalSchedule.objects.get_or_create(every=seconds // unit, period=period)[0]}
    return when | {
        "task": entry.task.name,
        "kwargs": json.dumps(entry.kwargs),
        "expire_seconds": int(entry.expires.total_seconds()),
        "description": entry.description,
    }
