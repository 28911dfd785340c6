"""Housekeeping that the worker does for the site."""

from celery import shared_task
from django.core.management import call_command
from django.utils.timezone import now

from recognizer import counting, registry, submissions, triage, watch


@shared_task
def clear_expired_sessions() -> None:
    """Forget logins that have run out; Django never does so by itself."""
    call_command("clearsessions")


@shared_task
def watch_promotion() -> None:
    """Go back to the version before if people correct the newest one clearly more often."""
    watch.watch()


@shared_task
def prune_models() -> None:
    """Drop the bytes of versions that nobody is likely to want again."""
    registry.prune()


@shared_task
def delete_old_drawings() -> None:
    """Delete what is older than the site keeps drawings, if that has an end."""
    submissions.delete_old(now())


@shared_task
def triage_corrections() -> None:
    """Accept what is plausible, hold what is suspicious."""
    triage.triage()


@shared_task
def recount_statistics() -> None:
    """Count the days that changed for the statistics."""
    counting.recount()
