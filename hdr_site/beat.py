"""The scheduler: django-celery-beat's, so that admins edit the schedule, but it does not talk to nobody."""

import logging
from typing import Any

from django.db import Error
from django_celery_beat.schedulers import DatabaseScheduler

from hdr_site.broker import is_full

logger = logging.getLogger(__name__)


class PatientScheduler(DatabaseScheduler):
    """Goes on while others are away.

    It leaves a task out while its queue is full: no worker takes anything, and messages would pile up for weeks.
    It keeps the schedule that it knows while the database is away; by itself it would end, for it reads every five
    minutes.
    """

    def all_as_schedule(self) -> Any:
        """Read the schedule, or return the one that was read last."""
        try:
            return super().all_as_schedule()
        except Error as error:
            if self._schedule is None:  # it has just been started, and knows nothing
                raise
            logger.warning("The schedule could not be read, so the last one goes on: %s", error)
            return self._schedule

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
