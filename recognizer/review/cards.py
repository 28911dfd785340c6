"""What a card says of a correction, and of its author without saying who that is."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Count, Q

from recognizer.api.presentation import png_data_url, stored_input
from recognizer.evidence import REMEMBERED
from recognizer.models import Correction
from recognizer.review.filters import REASONS
from recognizer.review.queue import Page

Author = int | UUID | None
Record = tuple[int, int]  # accepted and rejected, lately


def cards_of(page: Page, at: datetime) -> list[dict[str, Any]]:
    """Describe a page's corrections, in its order."""
    records = _records(page.rows, at)
    sizes: defaultdict[int, int] = defaultdict(int)
    for row in page.rows:
        sizes[page.group[row.pk]] += 1
    return [_card(row, records.get(_author(row), (0, 0)), page.group[row.pk], sizes) for row in page.rows]


def percent(share: float) -> str:
    """`0.987` → `98.7%`; what is not certain never reads as 100, as on the draw page."""
    return ">99.9%" if 0.9995 <= share < 1 else f"{share:.1%}"


def _card(row: Correction, record: Record, group: int, sizes: dict[int, int]) -> dict[str, Any]:
    return {
        "row": row,
        "drawing": row.submission,
        "picture": png_data_url(stored_input(row.submission)),
        "percent": percent(row.submission.confidence),
        "reason": REASONS.get(row.triage, ""),
        "accepted": record[0],
        "rejected": record[1],
        "group": group,
        "alike": sizes[group] - 1,
    }


def _author(row: Correction) -> Author:
    return row.account_id or row.session


def _records(rows: Sequence[Correction], at: datetime) -> dict[Author, Record]:
    """Count by author what was accepted and rejected within `REMEMBERED`: by triage's caps, some thousands at most."""
    accounts = {row.account_id for row in rows if row.account_id}
    sessions = {row.session for row in rows if row.session and not row.account_id}
    counted = (*_counts("account", accounts, at), *_counts("session", sessions, at))
    return {author: (accepted, rejected) for author, accepted, rejected in counted}


def _counts(column: str, authors: Iterable[Any], at: datetime) -> Iterable[tuple[Author, int, int]]:
    if not authors:
        return ()
    said = Correction.objects.standing().filter(**{f"{column}__in": authors}, decided__gte=at - REMEMBERED)
    accepted = Count("pk", filter=Q(state=Correction.State.ACCEPTED))
    rejected = Count("pk", filter=Q(state=Correction.State.REJECTED))
    return said.order_by().values_list(column).annotate(accepted=accepted, rejected=rejected)
