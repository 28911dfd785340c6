"""The scheduler: django-celery-beat's, so that admins edit the schedule, but it does not talk to nobody."""

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import Error
from django.utils.timezone import now
from django_celery_beat.schedulers import DatabaseScheduler

from training.queues import is_full

logger = logging.getLogger(__name__)

SET_BACK = timedelta(minutes=1)  # what the clock has to go back by; smaller corrections only delay a task as much


class PatientScheduler(DatabaseScheduler):
    """Goes on while others are away.

    It leaves a task out while its queue is full: no worker takes anything, and messages would pile up for weeks.
    It keeps the schedule that it knows while the database is away; by itself it would end, for it reads every five
    minutes. When the clock is set back it counts anew; by itself it would send nothing until it is as late as it was.
    """

    _latest = datetime.fromtimestamp(0, UTC)  # what the clock said last

    def all_as_schedule(self) -> Any:
        """Read the schedule, or return the one that was read last. Nothing has run later than now."""
        try:
            schedule = super().all_as_schedule()
        except Error as error:
            if self._schedule is None:  # it has just been started, and knows nothing
                raise
            logger.warning("The schedule could not be read, so the last one goes on: %s", error)
            schedule = self._schedule
        for entry in schedule.values():
            entry.last_run_at = min(entry.last_run_at, now())
        return schedule

    def tick(self, *args: Any, **options: Any) -> Any:
        """Send what is due; return the seconds until the next look."""
        if now() < self._latest - SET_BACK:
            logger.warning("The clock was set back, so the schedule is read anew.")
            self._initial_read = self._heap_invalidated = True
        self._latest = now()
        return super().tick(*args, **options)

    def apply_async(self, entry: Any, producer: Any = None, advance: bool = True, **options: Any) -> Any:
        """Send an entry's message, unless too many wait already."""
        queue = self._queue_of(entry)
        if not is_full(self.connection.default_channel, queue):
            return super().apply_async(entry, producer=producer, advance=advance, **options)
        logger.warning("%s was left out: no worker takes messages from the queue %r.", entry.name, queue)
        return self.reserve(entry) if advance else None

    def _queue_of(self, entry: Any) -> str:
        queue = self.app.amqp.router.route(dict(entry.options), entry.task)["queue"]
        return str(getattr(queue, "name", queue))
