"""The queue: which corrections a reviewer is shown next, and nobody else meanwhile. Authors take turns."""

from datetime import datetime, timedelta

import numpy as np
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.db import transaction
from django.db.models import Q

from recognizer.models import Correction, CorrectionQuerySet
from recognizer.preprocessing import INPUT_SIDE
from recognizer.similarity import groups, signatures

Reviewer = AbstractBaseUser | AnonymousUser

PER_PAGE = 30  # cards: half a minute's work
COUNTED = 100  # corrections, at most, for the header to say how many wait
CLAIMED_FOR = timedelta(minutes=10)


def claim_page(wanted: CorrectionQuerySet, reviewer: Reviewer, at: datetime) -> list[Correction]:
    """Claim the first `PER_PAGE` of `wanted` that no other reviewer has; what the reviewer had before is free again."""
    over = Q(claimed_until__lte=at) | Q(claimed_until__gt=at + CLAIMED_FOR)  # or the clock was set back since
    free = Q(claimed_by=None) | over | Q(claimed_by=reviewer.pk)
    shown = wanted.filter(free).with_submissions().annotate(has_ink=Q(submission__ink__isnull=False))
    with transaction.atomic():
        rows: list[Correction] = list(shown.select_for_update(skip_locked=True, of=("self",))[:PER_PAGE])
        # Those that the same reviewer's other window is at stay: two windows that wait for each other are a deadlock.
        had = Correction.objects.filter(claimed_by=reviewer.pk).select_for_update(skip_locked=True)
        had_before = Correction.objects.filter(pk__in=list(had.values_list("pk", flat=True)))
        had_before.update(claimed_by=None, claimed_until=None)
        claimed = Correction.objects.filter(pk__in=[row.pk for row in rows])
        claimed.update(claimed_by=reviewer.pk, claimed_until=at + CLAIMED_FOR)
    return rows


def after(wanted: CorrectionQuerySet, number: int) -> CorrectionQuerySet:
    """Limit the queue to what comes after a correction that was in it; to nothing if that one is gone."""
    last = Correction.objects.filter(pk=number).first()
    return wanted.beyond(last.place) if last else wanted.none()


def alike(rows: list[Correction]) -> list[int]:
    """Number the groups of near-identical drawings: for each row, the place of its group's first one."""
    inputs = np.frombuffer(b"".join(bytes(row.submission.input) for row in rows), np.uint8)
    return [int(place) for place in groups(signatures(inputs.reshape(-1, INPUT_SIDE, INPUT_SIDE)))]


def count_waiting() -> int:
    """Count what waits, up to `COUNTED`."""
    return Correction.objects.waiting().order_by()[:COUNTED].count()
