"""Counts submissions and corrections per day, so that the statistics never query drawings.

A pass recounts the days that changed: today, days whose number of submissions changed (some were deleted or arrived
late), and days whose corrections changed. A day is always counted from scratch, so a pass can be repeated, and deleted
drawings are in no count after it.

Imported drawings are left out: they came with their labels, all on one day.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, NamedTuple

from django.db import transaction
from django.db.models import F, FilteredRelation, Max, Min, Q, QuerySet
from django.utils.timezone import now

from recognizer.models import IMPORTED, Correction, CountedDay, DailyCount, Submission
from recognizer.preprocessing import INPUT_SIDE

# Bin edges of the histograms. After changing one, recount everything (`recount_statistics --all`).
CONFIDENCE_EDGES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.999)
INK_EDGES = (0.05, 0.075, 0.1, 0.125, 0.15, 0.175, 0.2, 0.25, 0.3)  # mean of the 28×28 pixels, 0…1

LATE = timedelta(minutes=10)  # a transaction may commit this long after the times that it wrote
REMAINDER = 300  # maximum number of drawings since the last pass that a page counts itself

Kind = DailyCount.Kind


class Key(NamedTuple):
    """Group key: drawings of a day with the same key are counted together."""

    version: int  # primary key
    digit: int | None
    verdict: str
    kind: Kind


@dataclass(slots=True)
class Count:
    """Counts of one group of drawings and their corrections."""

    drawings: int = 0
    confidence: float = 0.0
    ink: float = 0.0
    confirmed: int = 0
    corrected: int = 0
    rejected: int = 0


@dataclass(slots=True)
class DayCounts:
    """Counts and histograms of one day."""

    stored: int = 0
    last: int = 0
    counts: dict[Key, Count] = field(default_factory=dict)
    confidence: list[int] = field(default_factory=lambda: [0] * (len(CONFIDENCE_EDGES) + 1))
    ink: list[int] = field(default_factory=lambda: [0] * (len(INK_EDGES) + 1))
    pairs: Counter[tuple[int | None, int | None]] = field(default_factory=Counter)  # (answer, label)

    def add(self, row: "Row") -> None:
        """Count one submission."""
        self.stored += 1
        self.last = max(self.last, row.pk)
        if row.triage == IMPORTED:
            return
        kind = Kind.PICTURE if row.inkless else Kind.INK
        count = self.counts.setdefault(Key(row.version, row.digit, row.verdict, kind), Count())
        ink = sum(row.input) / (255 * INPUT_SIDE * INPUT_SIDE)
        count.drawings += 1
        count.confidence += row.confidence
        count.ink += ink
        self.confidence[bisect_right(CONFIDENCE_EDGES, row.confidence)] += 1
        self.ink[bisect_right(INK_EDGES, ink)] += 1
        if row.said is None:
            return
        if row.state == Correction.State.REJECTED:
            count.rejected += 1
        elif row.label == row.digit:
            count.confirmed += 1
        else:
            count.corrected += 1
            self.pairs[row.digit, row.label] += 1


class Row(NamedTuple):
    """A submission's columns, with its standing correction."""

    pk: int
    version: int
    digit: int | None
    verdict: str
    inkless: bool
    confidence: float
    input: bytes
    said: int | None
    label: int | None
    state: str | None
    triage: str | None


def rows(submissions: QuerySet[Submission]) -> Iterator[tuple[date, Row]]:
    """Yield submissions in no particular order, each with its day in UTC."""
    columns = (
        "pk",
        "model_version",
        "digit",
        "verdict",
        "inkless",
        "confidence",
        "input",
        "said__id",
        "said__digit",
        "said__state",
        "said__triage",
    )
    found = submissions.annotate(
        said=FilteredRelation("corrections", condition=Q(corrections__superseded__isnull=True)),
        inkless=Q(ink__isnull=True),
    ).values_list("created", *columns)
    for created, *values in found.iterator(chunk_size=1000):
        yield created.astimezone(UTC).date(), Row(*values)


def tally(found: Iterable[tuple[date, Row]]) -> dict[date, DayCounts]:
    """Count submissions by day."""
    tallies: dict[date, DayCounts] = {}
    for day, row in found:
        tallies.setdefault(day, DayCounts()).add(row)
    return tallies


def recount(whole: bool = False, progress: Callable[[date], None] | None = None) -> int:
    """Recount the days that changed, or all days, oldest first; return the number of recounted days."""
    at = now()
    done = 0
    for day in _sizes(at) if whole else _changed_days(at):
        done += _recount_day(day, at)
        if progress:
            progress(day)
    return done


def _recount_day(day: date, at: datetime) -> bool:
    """Recount one day; return False if a pass that started later has already done so."""
    counted = tally(rows(_of(day))).get(day, DayCounts())
    with transaction.atomic():
        fresh = {"counted": at, "stored": counted.stored, "last": counted.last} | _lists(counted)
        counted_day, is_new = CountedDay.objects.get_or_create(day=day, defaults=fresh)
        if not is_new and not CountedDay.objects.filter(day=day, counted__lt=at).update(**fresh):
            return False
        DailyCount.objects.filter(day=counted_day).delete()
        DailyCount.objects.bulk_create(
            DailyCount(
                day=counted_day,
                model_version_id=key.version,
                digit=key.digit,
                verdict=key.verdict,
                kind=key.kind,
                **{name: getattr(count, name) for name in Count.__slots__},
            )
            for key, count in counted.counts.items()
        )
    return True


def remainder(last: int) -> dict[date, DayCounts] | None:
    """Count the submissions after primary key `last`; return None if there are more than `REMAINDER`."""
    newer = Submission.objects.filter(pk__gt=last).order_by("pk")
    if newer.values_list("pk", flat=True)[REMAINDER : REMAINDER + 1].first() is not None:
        return None
    return tally(rows(newer[:REMAINDER]))


def _changed_days(at: datetime) -> list[date]:
    known = dict(CountedDay.objects.values_list("day", "stored"))
    changed = {day for day, stored in _sizes(at).items() if stored != known.get(day, 0)}
    return sorted(changed | _days_with_new_corrections(_last_pass(at)) | {at.date()})


def _sizes(at: datetime) -> dict[date, int]:
    """Return the current number of submissions of today, of days with submissions, and of days counted before."""
    ends = Submission.objects.aggregate(Min("created"), Max("created"))
    first, newest = ((created or at).date() for created in ends.values())
    span = {first + timedelta(days=number) for number in range((newest - first).days + 1)}
    known = {at.date(), *CountedDay.objects.values_list("day", flat=True)}
    sizes = {day: _of(day).count() for day in sorted(span | known)}
    return {day: stored for day, stored in sizes.items() if stored or day in known}


def _last_pass(at: datetime) -> datetime | None:
    """Return the start of the last completed pass: a pass counts today last."""
    past = CountedDay.objects.filter(day__lte=at.date()).order_by("-day")
    return past.values_list("counted", flat=True).first()


def _days_with_new_corrections(since: datetime | None) -> set[date]:
    """Return the days of drawings whose corrections were created, superseded or decided since."""
    if since is None:
        return set()
    bound = since - LATE
    moved = Q(created__gte=bound) | Q(superseded__gte=bound) | Q(decided__gte=bound)
    drawn = Correction.objects.filter(moved).order_by().values_list(F("submission__created"), flat=True)
    return {created.astimezone(UTC).date() for created in drawn.iterator()}


def _of(day: date) -> QuerySet[Submission]:
    start = datetime.combine(day, time.min, UTC)
    return Submission.objects.filter(created__gte=start, created__lt=start + timedelta(days=1)).order_by()


def _lists(counted: DayCounts) -> dict[str, Any]:
    pairs = [[answered, said, count] for (answered, said), count in counted.pairs.most_common()]
    return {"confidence": counted.confidence, "ink": counted.ink, "pairs": pairs}
