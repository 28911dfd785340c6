"""How many bytes one client may store in a day, and all strangers together: counted as calls are, never summed up.

An account counts as itself once it is a week old. Until then another one costs its owner as little as another address:
it counts by its address, and among the strangers.
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


class NoRoomError(Exception):
    """So many bytes were stored lately that no more may be; `wait` is for how many seconds."""

    def __init__(self, sentence: str, wait: float) -> None:
        super().__init__(sentence)
        self.wait = wait


SENTENCES = {
    "owner": "You have reached your daily storage limit.",
    "anonymous": "Visitors together have reached the daily storage limit.",
}


def make_room(request: Request | HttpRequest, drawing: Drawing) -> None:
    """Count what a drawing takes, before it is stored.

    Raises:
        NoRoomError: its owner's quota is used up, or that of all strangers together.
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
        raise NoRoomError(SENTENCES[quota], max(left, 1.0))
