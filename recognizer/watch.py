"""Automatic rollback: goes back to the previous version if people correct a promoted one significantly more often.

The correction rate is the share of corrected drawings among *all* drawings whose owner could correct them, not among
the labelled ones: the number of confirmations depends on the page and on mood, and answers that nobody corrects count
as right for both versions alike. Four measures prevent needless rollbacks:

* Both artifacts are public. An attacker can find drawings that only the earlier version reads right, and send them
  under many cookies. So only owners whom reviewers knew before the promotion can cause a rollback
  (`recognizer.voices`). If the others correct more, that is noted with the promotion for staff.
* Drawings of one owner are correlated. The number of drawings per owner is capped, and the counts are divided by the
  design effect of owners (Rao and Scott, "A simple method for the analysis of clustered binary data", Biometrics 48,
  1992) before Fisher's exact test. A single owner who corrects everything gets a large design effect and little weight.
* The watch tests repeatedly. It does so at fixed sample sizes, each a quarter larger, always with the first drawings
  since the promotion. The significance level is divided equally among these looks (Bonferroni).
* New people may come whose digits no version can read. The previous version must help: it reads the corrected drawings
  again, and must agree with people on at least half of the excess corrections.
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
    """When the watch tests, and when it rolls back."""

    first_look: int = 100  # drawings of the new version at the first test; the previous one needs as many
    growth: float = 1.25  # factor of the drawings from look to look
    looks: int = 20  # the last one is at 7,000 drawings
    days: int = 30  # after which the watch ends
    false_alarm: float = 0.01  # significance level, all looks together
    per_owner: int = 10  # maximum drawings of one owner per version
    owners: int = 20  # minimum, for each version
    correctors: int = 5  # minimum number of owners who corrected the new version
    rise: float = 1.25  # minimum ratio of the rates: a smaller one is not worth a rollback
    fixed: float = 0.5  # minimum share of the excess corrections that the previous version reads as people say
    rows: int = 100_000  # maximum rows scanned for the sample of each version

    @property
    def sizes(self) -> list[int]:
        """The number of drawings at each look."""
        return [round(self.first_look * self.growth**look) for look in range(self.looks)]


LIMITS = WatchLimits()


class SampledDrawing(NamedTuple):
    """A drawing in the sample."""

    pk: int
    owner: int | UUID  # account or session
    wrong: bool  # it has a standing correction with another label that no admin rejected


@dataclass(frozen=True, slots=True)
class SampleCounts:
    """Counts of a version's sample."""

    drawings: int
    corrected: tuple[int, ...]  # primary keys of the wrong drawings
    owners: int
    correctors: int  # owners of wrong drawings
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
    """The result of one look."""

    before: SampleCounts
    after: SampleCounts
    p: float  # p-value of the rise
    risen: bool  # the rise is significant and large enough

    @property
    def excess(self) -> float:
        """The number of corrections above what the rate before would give."""
        return self.after.wrong - self.after.drawings * self.before.rate

    def __str__(self) -> str:
        return f"People corrected {self.after}, before {self.before}; p = {self.p:.1g}"


def watch(limits: WatchLimits = LIMITS) -> bool:
    """Test the newest promotion, and roll back if people correct its version significantly more often.

    Manual activations and rollbacks are never undone.

    Returns:
        Whether it rolled back.
    """
    promotion = Promotion.objects.select_related("version", "previous").first()
    if promotion is None or promotion.cause != Promotion.Cause.GATES or promotion.previous is None:
        return False
    if promotion.created < now() - timedelta(days=limits.days):
        return False
    known = Q(account__in=known_accounts(promotion.created))
    finding = compare(promotion, promotion.previous, known, limits)
    if finding is not None and finding.risen:
        return _roll_back(promotion, finding, limits)
    _save_doubt(promotion, compare(promotion, promotion.previous, Q(), limits))
    return False


def compare(promotion: Promotion, previous: ModelVersion, owners: Q, limits: WatchLimits = LIMITS) -> Finding | None:
    """Compare a version since its promotion with the previous one before it; return None with too little data.

    Args:
        owners: condition on submissions that selects the owners.
    """
    # Bounded by primary key, so that the database does not scan other versions' submissions.
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
    """Test whether people correct more than before; return None while there are too few owners or drawings."""
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
    """Return the first drawings in the query's order, at most `per_owner` of each, up to the size of the last look."""
    standing = Q(corrections__superseded__isnull=True) & ~Q(corrections__state=Correction.State.REJECTED)
    rows = (
        submissions.exclude(account=None, session=None)  # nobody can correct these
        .annotate(said=FilteredRelation("corrections", condition=standing))
        .values_list("pk", "account", "session", "digit", "said__id", "said__digit")[: limits.rows]
    )
    return list(islice(_cap_per_owner(rows.iterator(), limits.per_owner), limits.sizes[-1]))


def tally(drawings: Sequence[SampledDrawing]) -> SampleCounts:
    """Return the counts of a sample with its design effect."""
    counts: dict[int | UUID, list[int]] = defaultdict(lambda: [0, 0])  # drawings, wrong ones
    for drawing in drawings:
        counts[drawing.owner][0] += 1
        counts[drawing.owner][1] += drawing.wrong
    corrected = tuple(drawing.pk for drawing in drawings if drawing.wrong)
    correctors = sum(w > 0 for _, w in counts.values())
    return SampleCounts(len(drawings), corrected, len(counts), correctors, _design_effect(list(counts.values())))


def rise_p_value(before: SampleCounts, after: SampleCounts) -> float:
    """Return the one-sided p-value of Fisher's exact test for a higher rate after than before.

    The counts are divided by their design effects and rounded conservatively, so that the rise looks smaller.
    """
    return fisher_tail(
        math.floor(after.wrong / after.design_effect),
        math.ceil(after.drawings / after.design_effect),
        math.ceil(before.wrong / before.design_effect),
        math.ceil(before.drawings / before.design_effect),
    )


def fisher_tail(marked: int, drawn: int, other_marked: int, other_drawn: int) -> float:
    """Return the hypergeometric upper tail: the probability of at least `marked` marked ones among `drawn`.

    Computed with logarithms, so it is exact up to rounding even for counts of 10^6.
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
    """Return the design effect of owners `[drawings, wrong]`: the rate's variance relative to independent drawings."""
    drawings, wrong = (sum(column) for column in zip(*owners, strict=True)) if owners else (0, 0)
    if len(owners) < 2 or wrong in (0, drawings):
        return 1.0
    rate = wrong / drawings
    spread = sum((w - n * rate) ** 2 for n, w in owners) * len(owners) / (len(owners) - 1)
    return max(1.0, spread / (drawings * rate * (1 - rate)))


def _cap_per_owner(rows: Iterable[tuple[Any, ...]], per_owner: int) -> Iterator[SampledDrawing]:
    """Yield at most `per_owner` drawings of each owner, corrected or not."""
    seen: Counter[int | UUID] = Counter()
    for pk, account, session, digit, said, said_digit in rows:
        owner = account or session
        seen[owner] += 1
        if seen[owner] <= per_owner:
            yield SampledDrawing(pk, owner, said is not None and said_digit != digit)


def _save_doubt(promotion: Promotion, finding: Finding | None) -> None:
    """Save a finding with the promotion as a doubt, when too few of its owners are known for a rollback."""
    doubt = str(finding) if finding is not None and finding.risen else ""
    if Promotion.objects.filter(pk=promotion.pk).exclude(doubt=doubt).update(doubt=doubt) and doubt:
        logger.warning("%s. Reviewers know too few of them, so %s stays until staff decide.", doubt, promotion.version)


def _roll_back(promotion: Promotion, finding: Finding, limits: WatchLimits) -> bool:
    """Roll back to the previous version or the bundled model, if that reads enough of the corrected drawings right."""
    model = load_earlier_model(promotion.version)
    if model is None:
        logger.error("%s, but no earlier version of %s may serve.", finding, promotion.version)
        return False
    fixed = _count_fixed(finding.after.corrected, model)
    if fixed < limits.fixed * finding.excess:
        logger.warning("%s, but version %s would read only %d of these right.", finding, model.version, fixed)
        return False
    reason = f"{finding}; version {model.version} reads {fixed} of these as people say."
    if not registry.roll_back(promotion, ModelVersion.objects.get(pk=model.pk), reason):
        return False
    logger.warning("Rolled back from %s to version %s. %s", promotion.version, model.version, reason)
    return True


def _count_fixed(corrected: Sequence[int], model: DigitModel) -> int:
    """Return how many of the corrected drawings a model reads as people say."""
    rows = Correction.objects.standing().filter(submission__in=corrected).values_list("digit", "submission__input")
    return sum(
        model.read(np.frombuffer(image, np.uint8).reshape(INPUT_SIDE, INPUT_SIDE)).digit == digit
        for digit, image in rows
    )
