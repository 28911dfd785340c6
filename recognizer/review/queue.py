"""The queue: which corrections a reviewer is shown next, most doubtful first, and nobody else meanwhile."""

from datetime import datetime, timedelta

import numpy as np
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.db import transaction
from django.db.models import Q, QuerySet, Subquery

from recognizer.models import Correction
from recognizer.preprocessing import INPUT_SIDE
from recognizer.similarity import groups, signatures

Reviewer = AbstractBaseUser | AnonymousUser

PER_PAGE = 30  # cards: half a minute's work
COUNTED = 100  # corrections, at most, for the header to say how many wait
CLAIMED_FOR = timedelta(minutes=10)


def claim_page(wanted: QuerySet[Correction], reviewer: Reviewer, at: datetime) -> list[Correction]:
    """Claim the first `PER_PAGE` of `wanted` that no other reviewer has; what the reviewer had before is free again."""
    over = Q(claimed_until__lte=at) | Q(claimed_until__gt=at + CLAIMED_FOR)  # or the clock was set back since
    free = Q(claimed_by=None) | over | Q(claimed_by=reviewer.pk)
    shown = wanted.filter(free).select_related("submission__model_version")
    shown = shown.annotate(has_ink=Q(submission__ink__isnull=False)).defer("submission__ink", "submission__picture")
    with transaction.atomic():
        rows: list[Correction] = list(shown.select_for_update(skip_locked=True, of=("self",))[:PER_PAGE])
        Correction.objects.filter(claimed_by=reviewer.pk).update(claimed_by=None, claimed_until=None)
        claimed = Correction.objects.filter(pk__in=[row.pk for row in rows])
        claimed.update(claimed_by=reviewer.pk, claimed_until=at + CLAIMED_FOR)
    return rows


def after(number: int) -> Q:
    """Limit the queue to what comes after a correction that was in it; to nothing if that one is gone."""
    last = Correction.objects.filter(pk=number).values_list("confidence", flat=True)[:1]
    return Q(confidence__gt=Subquery(last)) | Q(confidence=Subquery(last), pk__gt=number)


def alike(rows: list[Correction]) -> list[int]:
    """Number the groups of near-identical drawings: for each row, the place of its group's first one."""
    inputs = np.frombuffer(b"".join(bytes(row.submission.input) for row in rows), np.uint8)
    return [int(place) for place in groups(signatures(inputs.reshape(-1, INPUT_SIDE, INPUT_SIDE)))]


def count_waiting() -> int:
    """Count what waits, up to `COUNTED`."""
    return Correction.objects.waiting().order_by()[:COUNTED].count()
