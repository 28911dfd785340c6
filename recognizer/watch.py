"""Watches what the gates promoted, and goes back when people correct it clearly more often than the version before.

The rate is that of drawings which people said were read wrongly, among *all* drawings whose owner could have said so,
not among the labelled ones: how many confirm changes with the page and the mood, and an answer that nobody corrects
counts as right on both sides alike. Four things keep it from acting without need:

* Whoever has both artifacts, which are public, finds the drawings that only the earlier version reads right, and sends
  them under as many cookies as it takes. So only owners whom reviewers knew before the promotion move the pointer
  (`recognizer.voices`). If the others correct more, that is noted with the promotion, for staff to look at.
* Drawings of one owner resemble each other. An owner counts a bounded number of times, and the counts are divided by
  the design effect of owners (Rao and Scott, "A simple method for the analysis of clustered binary data", Biometrics
  48, 1992) before Fisher's exact test. Whoever corrects everything alone divides themselves away.
* It looks often. It judges only after a fixed number of drawings, then a quarter more, and so on, each time the first
  so many since the promotion; every look may err in an equal part of what the whole watch may (Bonferroni).
* People may have come whose digits no version reads. Going back must promise something: the version before reads the
  drawings in question, and must agree with people on at least half of those by which the rate rose.
"""

import logging
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
from django.db.models import FilteredRelation, Q, QuerySet
from django.utils.timezone import now

from recognizer import registry
from recognizer.engine import DigitModel, load_earlier_model
from recognizer.models import Correction, ModelVersion, Promotion, Submission
from recognizer.preprocessing import INPUT_SIDE
from recognizer.voices import known_accounts

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WatchLimits:
    """When the watch judges, and when it acts."""

    first_look: int = 100  # drawings of the new version; so many of the one before are needed, too
    growth: float = 1.25  # of the drawings, from look to look
    looks: int = 20  # after the last, at 7,000 drawings, the version has proved itself
    days: int = 30  # after which a version that few used has, too
    false_alarm: float = 0.01  # probability of going back although the rates are equal, all looks together
    per_owner: int = 10  # drawings of one owner that count, per version
    owners: int = 20  # at least, of each version
    correctors: int = 5  # owners at least who corrected the new version
    rise: float = 1.25  # at least, of the rate: a smaller one is not worth the way back
    mended: float = 0.5  # at least, of the corrections by which the rate rose: read as people say by the version before
    rows: int = 100_000  # at most, of each version, that are looked through for such a sample

    @property
    def sizes(self) -> list[int]:
        """The drawings at each look."""
        return [round(self.first_look * self.growth**look) for look in range(self.looks)]


LIMITS = WatchLimits()


class SampledDrawing(NamedTuple):
    """A drawing in the sample."""

    pk: int
    owner: int | UUID  # an account, or an anonymous owner
    wrong: bool  # somebody said it is something else, and no admin rejected that


@dataclass(frozen=True, slots=True)
class SampleCounts:
    """A version's sample, counted."""

    drawings: int
    corrected: tuple[int, ...]  # those read wrongly, by primary key
    owners: int
    correctors: int  # owners with a wrong one
    design_effect: float  # variance of the rate over owners, relative to independent drawings; at least 1

    @property
    def wrong(self) -> int:
        return len(self.corrected)

    @property
    def rate(self) -> float:
        return self.wrong / self.drawings

    def __str__(self) -> str:
        return f"{self.wrong} of {self.drawings} drawings by {self.owners} people ({self.rate:.1%})"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a look found."""

    before: SampleCounts
    after: SampleCounts
    p: float  # probability of such a rise by chance
    risen: bool  # too unlikely for that, and large enough

    @property
    def excess(self) -> float:
        """The corrections that there would not be at the rate before."""
        return self.after.wrong - self.after.drawings * self.before.rate

    def __str__(self) -> str:
        return f"People corrected {self.after}, before {self.before}; p = {self.p:.1g}"


def watch(limits: WatchLimits = LIMITS) -> bool:
    """Look at the newest promotion and go back if people correct its version clearly more often; return whether it did.

    What a person activated, and a rollback itself, are left alone.
    """
    promotion = Promotion.objects.select_related("version", "previous").first()
    if promotion is None or promotion.cause != Promotion.Cause.GATES or promotion.previous is None:
        return False
    if promotion.created < now() - timedelta(days=limits.days):
        return False
    known = Q(account__in=known_accounts(promotion.created))
    finding = compare(promotion, promotion.previous, known, limits)
    if finding is not None and finding.risen:
        return _go_back(promotion, finding, limits)
    _note_doubt(promotion, compare(promotion, promotion.previous, Q(), limits))
    return False


def compare(promotion: Promotion, previous: ModelVersion, owners: Q, limits: WatchLimits = LIMITS) -> Finding | None:
    """Compare a version since its promotion with the one before it until then; None while there is too little.

    Args:
        owners: a condition on submissions that says whose drawings count.
    """
    # Bounds by primary key, so that no database looks through what other versions read.
    until = Submission.objects.filter(created__lt=promotion.created).order_by("-created").values_list("pk", flat=True)
    last = until.first() or 0
    theirs = Submission.objects.filter(owners)
    drawings = sample(theirs.filter(model_version=promotion.version, pk__gt=last).order_by("pk"), limits)
    size = max((size for size in limits.sizes if size <= len(drawings)), default=0)
    if not size:
        return None
    earlier = sample(theirs.filter(model_version=previous, pk__lte=last).order_by("-pk"), limits)
    return judge(tally(earlier), tally(drawings[:size]), limits)


def judge(before: SampleCounts, after: SampleCounts, limits: WatchLimits = LIMITS) -> Finding | None:
    """Test whether people correct more than before; None while too few people drew."""
    if before.drawings < limits.first_look or min(before.owners, after.owners) < limits.owners:
        return None
    p = rise_p_value(before, after)
    risen = (
        p < limits.false_alarm / limits.looks
        and after.rate >= limits.rise * before.rate
        and after.correctors >= limits.correctors
    )
    return Finding(before, after, p, risen)


def sample(submissions: QuerySet[Submission], limits: WatchLimits) -> list[SampledDrawing]:
    """Return drawings in their order, of each owner the first few, up to the size of the last look."""
    standing = Q(corrections__superseded__isnull=True) & ~Q(corrections__state=Correction.State.REJECTED)
    rows = (
        submissions.exclude(account=None, session=None)  # nobody can correct these
        .annotate(said=FilteredRelation("corrections", condition=standing))
        .values_list("pk", "account", "session", "digit", "said__id", "said__digit")[: limits.rows]
    )
    return list(islice(_capped(rows.iterator(), limits.per_owner), limits.sizes[-1]))


def tally(drawings: Sequence[SampledDrawing]) -> SampleCounts:
    """Count a sample, and how much the drawings of one owner resemble each other."""
    counts: dict[int | UUID, list[int]] = defaultdict(lambda: [0, 0])  # drawings, wrong ones
    for drawing in drawings:
        counts[drawing.owner][0] += 1
        counts[drawing.owner][1] += drawing.wrong
    corrected = tuple(drawing.pk for drawing in drawings if drawing.wrong)
    correctors = sum(w > 0 for _, w in counts.values())
    return SampleCounts(len(drawings), corrected, len(counts), correctors, _design_effect(list(counts.values())))


def rise_p_value(before: SampleCounts, after: SampleCounts) -> float:
    """Return the probability of such a rise or a larger one if the rates are equal: Fisher's exact test, one-sided.

    Of the counts divided by their design effects, the wrong ones rounded so that a rise looks smaller.
    """
    return fisher_tail(
        math.floor(after.wrong / after.design_effect),
        math.ceil(after.drawings / after.design_effect),
        math.ceil(before.wrong / before.design_effect),
        math.ceil(before.drawings / before.design_effect),
    )


def fisher_tail(marked: int, drawn: int, other_marked: int, other_drawn: int) -> float:
    """Return the probability that of all marked ones at least `marked` fall among `drawn` (hypergeometric upper tail).

    Exact but for rounding, also for counts of 10^6: summed from logarithms.
    """
    both = marked + other_marked
    whole = _log_choose(drawn + other_drawn, both)
    terms = (
        math.exp(_log_choose(drawn, k) + _log_choose(other_drawn, both - k) - whole)
        for k in range(marked, min(both, drawn) + 1)
    )
    return min(1.0, math.fsum(terms))


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _design_effect(owners: list[list[int]]) -> float:
    """Return the variance of the rate over owners (drawings, wrong ones), relative to independent drawings."""
    drawings, wrong = (sum(column) for column in zip(*owners, strict=True)) if owners else (0, 0)
    if len(owners) < 2 or wrong in (0, drawings):
        return 1.0
    rate = wrong / drawings
    spread = sum((w - n * rate) ** 2 for n, w in owners) * len(owners) / (len(owners) - 1)
    return max(1.0, spread / (drawings * rate * (1 - rate)))


def _capped(rows: Iterable[tuple[Any, ...]], per_owner: int) -> Iterator[SampledDrawing]:
    """Take of each owner the first few, whatever was said of them."""
    seen: Counter[int | UUID] = Counter()
    for pk, account, session, digit, said, said_digit in rows:
        owner = account or session
        seen[owner] += 1
        if seen[owner] <= per_owner:
            yield SampledDrawing(pk, owner, said is not None and said_digit != digit)


def _note_doubt(promotion: Promotion, finding: Finding | None) -> None:
    """Note with a promotion that people correct more than before, where too few of them are known to go back for it."""
    doubt = str(finding) if finding is not None and finding.risen else ""
    if Promotion.objects.filter(pk=promotion.pk).exclude(doubt=doubt).update(doubt=doubt) and doubt:
        logger.warning("%s. Reviewers know too few of them, so %s stays until staff decide.", doubt, promotion.version)


def _go_back(promotion: Promotion, finding: Finding, limits: WatchLimits) -> bool:
    """Roll back to what served before, or to the bundled model, if that promises something."""
    model = load_earlier_model(promotion.version)
    if model is None:
        logger.error("%s, but no earlier version of %s may serve.", finding, promotion.version)
        return False
    mended = _mended(finding.after.corrected, model)
    if mended < limits.mended * finding.excess:
        logger.warning("%s, but version %s would read only %d of these right.", finding, model.version, mended)
        return False
    reason = f"{finding}; version {model.version} reads {mended} of these as people say."
    if not registry.roll_back(promotion, ModelVersion.objects.get(pk=model.pk), reason):
        return False
    logger.warning("Rolled back from %s to version %s. %s", promotion.version, model.version, reason)
    return True


def _mended(corrected: Sequence[int], model: DigitModel) -> int:
    """Count the corrected drawings that a model reads as people say."""
    rows = Correction.objects.standing().filter(submission__in=corrected).values_list("digit", "submission__input")
    return sum(
        model.read(np.frombuffer(image, np.uint8).reshape(INPUT_SIDE, INPUT_SIDE)).digit == digit
        for digit, image in rows
    )
