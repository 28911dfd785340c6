"""Celery tasks for housekeeping."""

from celery import shared_task
from django.core.management import call_command
from django.utils.timezone import now

from recognizer import counting, registry, submissions, triage, watch


@shared_task
def clear_expired_sessions() -> None:
    """Delete expired sessions; Django does not do this by itself."""
    call_command("clearsessions")


@shared_task
def watch_promotion() -> None:
    """Roll back if people correct the newest version significantly more often than the previous one."""
    watch.watch()


@shared_task
def prune_models() -> None:
    """Delete the bytes of old versions."""
    registry.prune()


@shared_task
def delete_old_drawings() -> None:
    """Delete drawings older than the retention time, if one is set."""
    submissions.delete_old(now())


@shared_task
def triage_corrections() -> None:
    """Let rules accept plausible corrections and hold suspicious ones."""
    triage.triage()


@shared_task
def recount_statistics() -> None:
    """Recount the days that changed, for the statistics."""
    counting.recount()
