"""The numbers of the statistics' page, from the daily counts alone and a bounded remainder: a handful of queries."""

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

DAYS = 90  # that the page looks back, today included
WEEKS = 13
VERSIONS = 8  # at most, the newest of those of which people said something
PAIRS = 8  # at most, the most frequent

RECENT, REFERENCE = 7, 28  # days, the latter before the former
ENOUGH = 100  # drawings in each of them, below which nothing is compared

Pair = tuple[Label, Label]


class VerdictCounts(NamedTuple):
    """Drawings of a day of one version, verdict and kind."""

    day: date
    version: int  # primary key
    verdict: str
    kind: str
    drawings: int
    confirmed: int
    corrected: int


class AnswerCounts(NamedTuple):
    """Drawings of a day that were read as one digit."""

    day: date
    digit: int | None
    drawings: int
    confidence: float  # sums
    ink: float


@dataclass(slots=True)
class Counts:
    """What was counted, of the last days."""

    today: date
    counted: datetime | None = None  # when the last pass began
    complete: bool = True  # also what came since
    lines: list[VerdictCounts] = field(default_factory=list)
    answers: list[AnswerCounts] = field(default_factory=list)  # of the days that are compared
    confidence: dict[date, list[int]] = field(default_factory=dict)
    ink: dict[date, list[int]] = field(default_factory=dict)
    pairs: Counter[Pair] = field(default_factory=Counter)
    numbers: dict[int, int] = field(default_factory=dict)  # of the versions, by primary key

    @property
    def first(self) -> date:
        return self.today - timedelta(days=DAYS - 1)

    @property
    def drawings(self) -> int:
        return sum(line.drawings for line in self.lines)

    def add(self, day: date, tally: DayCounts) -> None:
        """Add what was counted just now to what was counted before."""
        self.confidence[day] = _sum([self.confidence.get(day, []), tally.confidence], len(tally.confidence))
        self.ink[day] = _sum([self.ink.get(day, []), tally.ink], len(tally.ink))
        self.pairs.update(tally.pairs)
        for key, count in tally.counts.items():
            said = (count.confirmed, count.corrected)
            self.lines.append(VerdictCounts(day, key.version, key.verdict, key.kind, count.drawings, *said))
            self.answers.append(AnswerCounts(day, key.digit, count.drawings, count.confidence, count.ink))


@dataclass(frozen=True, slots=True)
class Feature:
    """A property of drawings, counted by bins, of late and before."""

    name: str
    recent: list[int]
    reference: list[int]
    means: tuple[float, float] | None = None  # of late, before

    @property
    def index(self) -> float:
        return stability_index(self.recent, self.reference)

    @property
    def by_chance(self) -> float:
        return index_by_chance(self.recent, self.reference)

    @property
    def state(self) -> str:
        """Say whether it is steady, moved, or changed; beyond chance only."""
        if self.index < max(MOVED, self.by_chance):
            return "steady"
        return "changed" if self.index >= CHANGED else "moved"


def read_counts(at: datetime) -> Counts:
    """Read what the last pass counted of the last days, and count what came since if that is little."""
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
    """Return each day with its drawings in ink and its pictures, the oldest first."""
    found: Counter[tuple[date, str]] = Counter()
    for line in counts.lines:
        found[line.day, line.kind] += line.drawings
    days = [counts.first + timedelta(days=number) for number in range(DAYS)]
    return [(day, found[day, DailyCount.Kind.INK], found[day, DailyCount.Kind.PICTURE]) for day in days]


def accuracy(lines: Iterable[VerdictCounts]) -> Share | None:
    """Return of how many answers that people spoke of they said that they are right; None if nobody spoke."""
    confirmed, corrected = _said(lines)
    return Share(confirmed, confirmed + corrected) if confirmed + corrected else None


def by_week(counts: Counts) -> list[tuple[date, Share | None]]:
    """Return each week's accuracy by its Monday, the oldest first."""
    monday = counts.today - timedelta(days=counts.today.weekday())
    weeks: dict[date, list[VerdictCounts]] = {monday - timedelta(weeks=number): [] for number in reversed(range(WEEKS))}
    for line in counts.lines:
        weeks.get(line.day - timedelta(days=line.day.weekday()), []).append(line)
    return [(week, accuracy(lines)) for week, lines in weeks.items()]


def by_version(counts: Counts) -> list[tuple[int, Share]]:
    """Return the accuracy of the newest versions of which people said something, the oldest first."""
    versions: dict[int, list[VerdictCounts]] = {}
    for line in counts.lines:
        if number := counts.numbers.get(line.version):
            versions.setdefault(number, []).append(line)
    shares = [(number, accuracy(lines)) for number, lines in sorted(versions.items())]
    return [(number, share) for number, share in shares if share][-VERSIONS:]


def by_verdict(counts: Counts) -> Counter[str]:
    """Count the drawings by how the model stands by its answer."""
    found: Counter[str] = Counter()
    for line in counts.lines:
        found[line.verdict] += line.drawings
    return found


def confidence(counts: Counts) -> list[int]:
    """Count the drawings by bin of confidence."""
    return _sum(counts.confidence.values(), len(CONFIDENCE_EDGES) + 1)


def confused(counts: Counts) -> list[tuple[Pair, int]]:
    """Return what is most often corrected to what, the most frequent first."""
    return sorted(counts.pairs.items(), key=lambda pair: (-pair[1], _place(pair[0])))[:PAIRS]


def drift(counts: Counts) -> list[Feature] | None:
    """Compare the last days with those before them; None while there are too few drawings."""
    start = counts.today - timedelta(days=RECENT - 1)
    before = start - timedelta(days=REFERENCE)
    recent = [answer for answer in counts.answers if answer.day >= start]
    reference = [answer for answer in counts.answers if before <= answer.day < start]
    if min(_drawings(recent), _drawings(reference)) < ENOUGH:
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


def _said(lines: Iterable[VerdictCounts]) -> tuple[int, int]:
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
    """Count the answers, one number for each label."""
    found = [0] * len(LABELS)
    for answer in answers:
        found[position(answer.digit)] += answer.drawings
    return found


def _sum(rows: Iterable[list[int]], size: int) -> list[int]:
    """Add histograms up; one of another number of bins was counted before they were changed, and is left out."""
    fitting = [row for row in rows if len(row) == size]
    return [sum(column) for column in zip(*fitting, strict=True)] if fitting else [0] * size


def _place(pair: Pair) -> tuple[int, ...]:
    return tuple(map(position, pair))
