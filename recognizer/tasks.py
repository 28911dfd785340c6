"""Housekeeping that the worker does for the site."""

from celery import shared_task
from django.core.management import call_command


@shared_task
def clear_expired_sessions() -> None:
    """Forget logins that have run out; Django never does so by itself."""
    call_command("clearsessions")
