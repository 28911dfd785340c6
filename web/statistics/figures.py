"""The numbers of the statistics page, from the daily counts and a bounded number of newer rows, in a few queries."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import NamedTuple

from django.db.models import QuerySet, Sum

from recognizer import counting
from recognizer.counting import CONFIDENCE_EDGES, INK_EDGES, DayCounts
from recognizer.labels import LABELS, Label, position
from recognizer.models import CountedDay, DailyCount, ModelVersion
from web.statistics.measures import CHANGED, MOVED, Share, index_by_chance, stability_index

DAYS = 90  # days that the page covers, today included
WEEKS = 13
VERSIONS = 8  # the newest versions that people judged, at most
PAIRS = 8  # the most frequent pairs, at most

RECENT, REFERENCE = 7, 28  # days; the reference period ends where the recent one starts
MIN_DRAWINGS = 100  # drawings that each period needs for a comparison

Pair = tuple[Label, Label]


class VerdictCounts(NamedTuple):
    """One day's drawings of one version, verdict and kind."""

    day: date
    version: int  # primary key
    verdict: str
    kind: str
    drawings: int
    confirmed: int
    corrected: int


class AnswerCounts(NamedTuple):
    """One day's drawings that were read as the same digit."""

    day: date
    digit: int | None
    drawings: int
    confidence: float  # sum over the drawings
    ink: float  # sum over the drawings


@dataclass(slots=True)
class Counts:
    """Counts of the last `DAYS` days."""

    today: date
    counted: datetime | None = None  # start of the latest counting pass
    complete: bool = True  # whether rows newer than that pass are included
    lines: list[VerdictCounts] = field(default_factory=list)
    answers: list[AnswerCounts] = field(default_factory=list)  # of the recent and reference periods
    confidence: dict[date, list[int]] = field(default_factory=dict)
    ink: dict[date, list[int]] = field(default_factory=dict)
    pairs: Counter[Pair] = field(default_factory=Counter)
    numbers: dict[int, int] = field(default_factory=dict)  # version numbers by primary key

    @property
    def first(self) -> date:
        return self.today - timedelta(days=DAYS - 1)

    @property
    def drawings(self) -> int:
        return sum(line.drawings for line in self.lines)

    def add(self, day: date, tally: DayCounts) -> None:
        """Add newly counted rows of a day to the stored counts."""
        self.confidence[day] = _sum([self.confidence.get(day, []), tally.confidence], len(tally.confidence))
        self.ink[day] = _sum([self.ink.get(day, []), tally.ink], len(tally.ink))
        self.pairs.update(tally.pairs)
        for key, count in tally.counts.items():
            said = (count.confirmed, count.corrected)
            self.lines.append(VerdictCounts(day, key.version, key.verdict, key.kind, count.drawings, *said))
            self.answers.append(AnswerCounts(day, key.digit, count.drawings, count.confidence, count.ink))


@dataclass(frozen=True, slots=True)
class Feature:
    """Histograms of one property of drawings, in the recent and the reference period."""

    name: str
    recent: list[int]
    reference: list[int]
    means: tuple[float, float] | None = None  # recent, reference

    @property
    def index(self) -> float:
        return stability_index(self.recent, self.reference)

    @property
    def by_chance(self) -> float:
        return index_by_chance(self.recent, self.reference)

    @property
    def state(self) -> str:
        """Return "steady", "moved" or "changed"; a difference within chance is steady."""
        if self.index < max(MOVED, self.by_chance):
            return "steady"
        return "changed" if self.index >= CHANGED else "moved"


def read_counts(at: datetime) -> Counts:
    """Read the stored counts of the last days, and count newer rows if they are few."""
    counts = Counts(at.date())
    days = CountedDay.objects.filter(day__gte=counts.first, day__lte=counts.today)
    last = 0
    for row in days:
        counts.counted = max(counts.counted or row.counted, row.counted)
        counts.confidence[row.day], counts.ink[row.day] = row.confidence, row.ink
        counts.pairs.update({(answered, said): n for answered, said, n in row.pairs})
        last = max(last, row.last)
    counts.lines = [
        VerdictCounts(*row)
        for row in _counted(counts.first, counts.today)
        .values_list("day", "model_version", "verdict", "kind")
        .annotate(Sum("drawings"), Sum("confirmed"), Sum("corrected"))
    ]
    counts.answers = [
        AnswerCounts(*row)
        for row in _counted(counts.today - timedelta(days=RECENT + REFERENCE - 1), counts.today)
        .values_list("day", "digit")
        .annotate(Sum("drawings"), Sum("confidence"), Sum("ink"))
    ]
    newer = counting.remainder(last)
    counts.complete = newer is not None
    for day, tally in (newer or {}).items():
        if counts.first <= day <= counts.today:
            counts.add(day, tally)
    versions = ModelVersion.objects.filter(pk__in={line.version for line in counts.lines}).order_by()
    counts.numbers = dict(versions.values_list("pk", "version"))
    return counts


def _counted(first: date, last: date) -> QuerySet[DailyCount]:
    return DailyCount.objects.filter(day__gte=first, day__lte=last).order_by()


def by_day(counts: Counts) -> list[tuple[date, int, int]]:
    """Return each day with its number of ink drawings and pictures, oldest first."""
    found: Counter[tuple[date, str]] = Counter()
    for line in counts.lines:
        found[line.day, line.kind] += line.drawings
    days = [counts.first + timedelta(days=number) for number in range(DAYS)]
    return [(day, found[day, DailyCount.Kind.INK], found[day, DailyCount.Kind.PICTURE]) for day in days]


def accuracy(lines: Iterable[VerdictCounts]) -> Share | None:
    """Return the share of judged answers that people confirmed; None if nobody judged any."""
    confirmed, corrected = _judged_counts(lines)
    return Share(confirmed, confirmed + corrected) if confirmed + corrected else None


def by_week(counts: Counts) -> list[tuple[date, Share | None]]:
    """Return each week's Monday and accuracy, oldest first."""
    monday = counts.today - timedelta(days=counts.today.weekday())
    weeks: dict[date, list[VerdictCounts]] = {monday - timedelta(weeks=number): [] for number in reversed(range(WEEKS))}
    for line in counts.lines:
        weeks.get(line.day - timedelta(days=line.day.weekday()), []).append(line)
    return [(week, accuracy(lines)) for week, lines in weeks.items()]


def by_version(counts: Counts) -> list[tuple[int, Share]]:
    """Return the accuracy of the newest versions that people judged, oldest first."""
    versions: dict[int, list[VerdictCounts]] = {}
    for line in counts.lines:
        if number := counts.numbers.get(line.version):
            versions.setdefault(number, []).append(line)
    shares = [(number, accuracy(lines)) for number, lines in sorted(versions.items())]
    return [(number, share) for number, share in shares if share][-VERSIONS:]


def by_verdict(counts: Counts) -> Counter[str]:
    """Count the drawings by verdict."""
    found: Counter[str] = Counter()
    for line in counts.lines:
        found[line.verdict] += line.drawings
    return found


def confidence(counts: Counts) -> list[int]:
    """Count the drawings by confidence bin."""
    return _sum(counts.confidence.values(), len(CONFIDENCE_EDGES) + 1)


def confused(counts: Counts) -> list[tuple[Pair, int]]:
    """Return the most frequent pairs of answer and corrected label, most frequent first."""
    return sorted(counts.pairs.items(), key=lambda pair: (-pair[1], _pair_order(pair[0])))[:PAIRS]


def drift(counts: Counts) -> list[Feature] | None:
    """Compare the recent period with the reference period; None if either has fewer than `MIN_DRAWINGS` drawings."""
    start = counts.today - timedelta(days=RECENT - 1)
    before = start - timedelta(days=REFERENCE)
    recent = [answer for answer in counts.answers if answer.day >= start]
    reference = [answer for answer in counts.answers if before <= answer.day < start]
    if min(_drawings(recent), _drawings(reference)) < MIN_DRAWINGS:
        return None

    def both(bins: dict[date, list[int]], size: int) -> tuple[list[int], list[int]]:
        late = [row for day, row in bins.items() if day >= start]
        earlier = [row for day, row in bins.items() if before <= day < start]
        return _sum(late, size), _sum(earlier, size)

    confidences = _means(lambda answer: answer.confidence, recent, reference)
    inks = _means(lambda answer: answer.ink, recent, reference)
    return [
        Feature("confidence", *both(counts.confidence, len(CONFIDENCE_EDGES) + 1), confidences),
        Feature("ink", *both(counts.ink, len(INK_EDGES) + 1), inks),
        Feature("digit", _digits(recent), _digits(reference)),
    ]


def _judged_counts(lines: Iterable[VerdictCounts]) -> tuple[int, int]:
    confirmed = corrected = 0
    for line in lines:
        confirmed += line.confirmed
        corrected += line.corrected
    return confirmed, corrected


def _drawings(answers: Iterable[AnswerCounts]) -> int:
    return sum(answer.drawings for answer in answers)


def _means(
    sums: Callable[[AnswerCounts], float], recent: list[AnswerCounts], reference: list[AnswerCounts]
) -> tuple[float, float]:
    late, earlier = (sum(map(sums, answers)) / _drawings(answers) for answers in (recent, reference))
    return late, earlier


def _digits(answers: Iterable[AnswerCounts]) -> list[int]:
    """Count the answers by label."""
    found = [0] * len(LABELS)
    for answer in answers:
        found[position(answer.digit)] += answer.drawings
    return found


def _sum(rows: Iterable[list[int]], size: int) -> list[int]:
    """Add up histograms, leaving out those with another number of bins, which predate a change of the bins."""
    fitting = [row for row in rows if len(row) == size]
    return [sum(column) for column in zip(*fitting, strict=True)] if fitting else [0] * size


def _pair_order(pair: Pair) -> tuple[int, ...]:
    return tuple(map(position, pair))
