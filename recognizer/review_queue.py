"""The review queue: claims the next corrections for one reviewer at a time. Authors alternate (round robin)."""

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
COUNTED = 100  # maximum number of waiting corrections that the header counts
CLAIMED_FOR = timedelta(minutes=10)


def claim_page(wanted: CorrectionQuerySet, reviewer: Reviewer, at: datetime) -> list[Correction]:
    """Claim the first `PER_PAGE` of `wanted` that no other reviewer holds; release the reviewer's earlier claims."""
    over = Q(claimed_until__lte=at) | Q(claimed_until__gt=at + CLAIMED_FOR)  # or the clock was set back since
    free = Q(claimed_by=None) | over | Q(claimed_by=reviewer.pk)
    shown = wanted.filter(free).with_submissions().annotate(has_ink=Q(submission__ink__isnull=False))
    with transaction.atomic():
        rows: list[Correction] = list(shown.select_for_update(skip_locked=True, of=("self",))[:PER_PAGE])
        # Skip rows that the reviewer's other window has locked: two windows waiting for each other would deadlock.
        had = Correction.objects.filter(claimed_by=reviewer.pk).select_for_update(skip_locked=True)
        had_before = Correction.objects.filter(pk__in=list(had.values_list("pk", flat=True)))
        had_before.update(claimed_by=None, claimed_until=None)
        claimed = Correction.objects.filter(pk__in=[row.pk for row in rows])
        claimed.update(claimed_by=reviewer.pk, claimed_until=at + CLAIMED_FOR)
    return rows


def after(wanted: CorrectionQuerySet, number: int) -> CorrectionQuerySet:
    """Return the part of the queue after a correction; an empty query if that correction is gone."""
    last = Correction.objects.filter(pk=number).first()
    return wanted.beyond(last.place) if last else wanted.none()


def alike(rows: list[Correction]) -> list[int]:
    """Group near-duplicate drawings: return for each row the index of the first row in its group."""
    inputs = np.frombuffer(b"".join(bytes(row.submission.input) for row in rows), np.uint8)
    return [int(place) for place in groups(signatures(inputs.reshape(-1, INPUT_SIDE, INPUT_SIDE)))]


def count_waiting() -> int:
    """Return the number of waiting corrections, at most `COUNTED`."""
    return Correction.objects.waiting().order_by()[:COUNTED].count()
