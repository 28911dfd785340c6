"""The queue: which corrections a reviewer is handed next, and that nobody else is handed the same ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from recognizer.models import Claim, Correction
from recognizer.preprocessing import INPUT_SIDE
from recognizer.review.filters import Wish
from recognizer.similarity import NEAR_DUPLICATE, signatures

PER_PAGE = 30  # cards: half a minute's work
ALIKE = 12  # near-identical ones, at most, that come along from further back
COMPARED = 240  # corrections that are looked through for them
LOOKED_THROUGH = 2_000  # corrections, to fill one page with those that filters let through
COUNTED = 100  # corrections, at most, for the header to say how many wait
CLAIMED_FOR = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Page:
    """Some corrections in the order in which they are to be decided; near-identical drawings together."""

    rows: list[Correction]
    group: dict[int, int]  # by a correction's number: that of the first near-identical one, on this page
    after: int | None  # where the next page starts, if there is more


def page_of(wish: Wish, reviewer: int, at: datetime) -> Page:
    """Hand a reviewer the most urgent corrections that nobody else has before them, and claim them.

    With filters, `LOOKED_THROUGH` corrections are looked at; there may then be none here, and still a next page.
    """
    looked, last = _window(wish)
    free = looked.filter(wish.condition(at)).filter(~Exists(_claims_of_others(reviewer, at)))
    found = list(free.values_list("pk", "submission__input")[: COMPARED + 1])
    order, leaders = _together(found[:COMPARED])
    claimed = _claim(order, reviewer, at)
    rows = Correction.objects.filter(pk__in=claimed).select_related("submission__model_version")
    by_pk = {row.pk: row for row in _shown(rows)}
    after = found[PER_PAGE - 1][0] if len(found) > PER_PAGE else last
    return Page([by_pk[pk] for pk in order if pk in by_pk], leaders, after)


def count_waiting() -> int:
    """Count what waits, up to `COUNTED`."""
    return Correction.objects.waiting().order_by()[:COUNTED].count()


def _window(wish: Wish) -> tuple[QuerySet[Correction], int | None]:
    """The part of the queue that a page is taken from, and its last correction where more follow."""
    queue = Correction.objects.waiting().most_urgent_first()
    place = Correction.objects.filter(pk=wish.after).values_list("urgency", "pk").first() if wish.after else None
    if place:
        queue = queue.filter(Q(urgency__lt=place[0]) | Q(urgency=place[0], pk__gt=place[1]), urgency__lte=place[0])
    if not wish.chosen:
        return queue, None
    last = queue.values_list("urgency", "pk")[LOOKED_THROUGH - 1 : LOOKED_THROUGH].first()
    if last is None:
        return queue, None
    queue = queue.filter(Q(urgency__gt=last[0]) | Q(urgency=last[0], pk__lte=last[1]), urgency__gte=last[0])
    return queue, last[1]


def _claims_of_others(reviewer: int, at: datetime) -> QuerySet[Claim]:
    return Claim.objects.filter(correction=OuterRef("pk"), until__gt=at).exclude(reviewer=reviewer)


def _together(found: Sequence[tuple[int, Any]]) -> tuple[list[int], dict[int, int]]:
    """Take the first `PER_PAGE`, and behind each what is near-identical to it, from further back too."""
    inputs = np.frombuffer(b"".join(bytes(image) for _, image in found), np.uint8).reshape(-1, INPUT_SIDE, INPUT_SIDE)
    signed = signatures(inputs)
    near = signed[:PER_PAGE] @ signed.T >= NEAR_DUPLICATE  # (≤ PER_PAGE, ≤ COMPARED)
    order: list[int] = []
    leaders: dict[int, int] = {}
    room = ALIKE
    for place, (leader, _) in enumerate(found[:PER_PAGE]):
        if leader in leaders:
            continue
        for other in [place, *np.flatnonzero(near[place])]:
            pk = found[other][0]
            if pk in leaders or (other >= PER_PAGE and not room):
                continue
            room -= other >= PER_PAGE
            leaders[pk] = leader
            order.append(pk)
    return order, leaders


def _claim(pks: Sequence[int], reviewer: int, at: datetime) -> list[int]:
    """Claim what nobody else has; return what is the reviewer's for `CLAIMED_FOR`."""
    until = at + CLAIMED_FOR
    with transaction.atomic():
        Claim.objects.filter(until__lte=at).delete()
        Claim.objects.bulk_create(
            [Claim(correction_id=pk, reviewer_id=reviewer, until=until) for pk in pks], ignore_conflicts=True
        )
        own = Claim.objects.filter(reviewer=reviewer, correction__in=pks)
        own.update(until=until)
        return list(own.values_list("correction_id", flat=True))


def _shown(rows: QuerySet[Correction]) -> QuerySet[Correction]:
    return rows.annotate(has_ink=Q(submission__ink__isnull=False)).only(
        "digit",
        "triage",
        "created",
        "session",
        "account",
        "submission__input",
        "submission__digit",
        "submission__confidence",
        "submission__verdict",
        "submission__model_version__version",
    )
