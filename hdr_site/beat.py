"""The scheduler: django-celery-beat's, whose schedule admins can edit, made robust against outages."""

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import Error
from django.utils.timezone import now
from django_celery_beat.schedulers import DatabaseScheduler

from training.queues import is_full

logger = logging.getLogger(__name__)

SET_BACK = timedelta(minutes=1)  # a clock that goes back by less only delays a task by as much


class PatientScheduler(DatabaseScheduler):
    """Keeps running while workers, the broker or the database are away, or when the clock is set back.

    It skips a task whose queue is full: without a worker, messages would pile up for weeks. While the database is away
    it uses the last schedule; django-celery-beat, which reads it every five minutes, would end. When the clock is set
    back it reads the schedule again; otherwise nothing would be sent until the clock reaches its earlier time.
    """

    _latest = datetime.fromtimestamp(0, UTC)  # the clock at the last tick

    def all_as_schedule(self) -> Any:
        """Read the schedule; if the database is away, return the last one. No last run lies in the future."""
        try:
            schedule = super().all_as_schedule()
        except Error as error:
            if self._schedule is None:  # it has just started, so there is no last schedule
                raise
            logger.warning("The schedule could not be read, so the last one goes on: %s", error)
            schedule = self._schedule
        for entry in schedule.values():
            entry.last_run_at = min(entry.last_run_at, now())
        return schedule

    def tick(self, *args: Any, **options: Any) -> Any:
        """Send due tasks; return the seconds until the next tick."""
        if now() < self._latest - SET_BACK:
            logger.warning("The clock was set back, so the schedule is read anew.")
            self._initial_read = self._heap_invalidated = True
        self._latest = now()
        return super().tick(*args, **options)

    def apply_async(self, entry: Any, producer: Any = None, advance: bool = True, **options: Any) -> Any:
        """Send an entry's message, unless its queue is full."""
        queue = self._queue_of(entry)
        if not is_full(self.connection.default_channel, queue):
            return super().apply_async(entry, producer=producer, advance=advance, **options)
        logger.warning("%s was left out: no worker takes messages from the queue %r.", entry.name, queue)
        return self.reserve(entry) if advance else None

    def _queue_of(self, entry: Any) -> str:
        queue = self.app.amqp.router.route(dict(entry.options), entry.task)["queue"]
        return str(getattr(queue, "name", queue))
