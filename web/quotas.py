"""Daily quotas of stored bytes, per client and for all strangers together, counted like calls in `web.throttles`.

An account has its own quota once it is a week old. New accounts are as easy to get as new addresses, so a younger
account counts under its address and among the strangers.
"""

from django.conf import settings
from django.http import HttpRequest
from django.utils.timezone import now
from rest_framework.request import Request

from recognizer.evidence import NEWCOMER
from recognizer.metrics import QUOTA_REFUSALS
from recognizer.submissions import Drawing
from web.throttles import address_of, client_of, ledger

DAY = 86_400  # seconds


class QuotaExceededError(Exception):
    """A daily quota is used up; `wait` is the number of seconds until the next day begins."""

    def __init__(self, sentence: str, wait: float) -> None:
        super().__init__(sentence)
        self.wait = wait


SENTENCES = {
    "owner": "You have reached your daily storage limit.",
    "anonymous": "Visitors together have reached the daily storage limit.",
}


def charge_quota(request: Request | HttpRequest, drawing: Drawing) -> None:
    """Count the bytes of a drawing before it is stored.

    Raises:
        QuotaExceededError: the quota of its owner, or of all strangers together, is used up.
    """
    known = request.user.is_authenticated and request.user.date_joined <= now() - NEWCOMER
    _count("owner", client_of(request) if known else address_of(request), drawing.stored_bytes)
    if not known:
        _count("anonymous", "all", drawing.stored_bytes)


def _count(quota: str, who: str, size: int) -> None:
    most: int | None = settings.QUOTAS.get(quota)
    if most is None:
        return
    total, left = ledger().count(f"bytes {quota} {who}", DAY, size)
    if total > most:
        QUOTA_REFUSALS.labels(quota).inc()
        raise QuotaExceededError(SENTENCES[quota], max(left, 1.0))
