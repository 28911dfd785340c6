"""The gates: what a candidate must pass to be promoted, judged on its exported artifact through the production engine.

Champion and candidate read the same samples, so that what differs is the model and not the luck of the draw.

People's labels are compared by owner, not by drawing: each owner whom people know has one vote, all others together
have one (`recognizer.voices`), and what the champion was not sure of has none. So nobody decides a gate who has many
drawings, many cookies, or a hand for what is about to flip.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from math import lgamma
from typing import Any

import numpy as np
import numpy.typing as npt
from django.utils.translation import gettext_noop

from recognizer.engine import DigitModel, canary_digits, misread_canaries
from training import evaluation
from training.examination import Examination, Judged, PeopleSamples, gains_of_voices


@dataclass(frozen=True, slots=True)
class GateLimits:
    """Every threshold. Shares are 0…1, significances are one-sided probabilities."""

    mnist_accuracy: float = 0.995
    significance: float = 0.02  # below it, "worse than the champion" is no chance; half a dozen gates ask
    recall_drop: float = 0.005  # of one digit; a smaller one is not noticed by anybody …
    recall_significance: float = 0.05  # … nor one that chance explains
    drift_significance: float = 0.01  # against the bundled model, over all runs so far
    rejection_drop: float = 0.03  # of characters that are no digits, against the champion …
    rejection_drift: float = 0.05  # … and against the bundled model
    calibration_error: float = 0.01
    sure_right: float = 0.998  # of the sure answers
    agreement: float = 0.997  # of artifact and network, share of equal answers
    size: int = 1_000_000  # bytes
    slowdown: float = 1.5  # of a reading, against the champion
    latency_readings: int = 200


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the gates look at."""

    examination: Examination
    champion: Judged
    candidate: Judged
    bundled: Judged
    artifact_size: int
    agreement: float  # of artifact and network
    limits: GateLimits = field(default_factory=GateLimits)

    def changes(self, name: str, against: Judged | None = None) -> "Changes":
        """Compare two models on the same samples."""
        samples = getattr(self.examination, name)
        before, after = (judged.right(samples, name) for judged in (against or self.champion, self.candidate))
        return Changes(len(before), int((before & ~after).sum()), int((~before & after).sum()))

    def votes(self, name: str) -> "Votes":
        """Let each voice vote for the model that reads more of its drawings right."""
        samples: PeopleSamples = getattr(self.examination, name)
        counted = self.champion.readings[name].sure
        before, after = (judged.right(samples, name)[counted] for judged in (self.champion, self.candidate))
        gains = gains_of_voices(samples.voices[counted], before, after)
        changes = Changes(len(gains), int((gains < 0).sum()), int((gains > 0).sum()))
        return Votes(changes, int(counted.sum()))


@dataclass(frozen=True, slots=True)
class Changes:
    """How many samples two models differ on, or how many voices."""

    n: int
    lost: int  # right before, wrong now
    won: int

    @property
    def chance(self) -> float:
        """The probability of at least so many lost by chance: McNemar's exact test, one-sided."""
        return at_least(self.lost, self.lost + self.won)


@dataclass(frozen=True, slots=True)
class Votes:
    """How voices judge between two models."""

    changes: Changes  # of voices
    drawings: int  # that they judged by


@dataclass(frozen=True, slots=True)
class Result:
    """A gate's verdict."""

    value: float
    threshold: float
    passed: bool
    n: int
    owners: int | None = None  # voices behind it; None where the labels are not people's


class Unit(StrEnum):
    """What a gate's value and threshold are, so that each language writes them its own way."""

    SHARE = "share"  # 0…1
    LEFT = "left"  # the share that is left of something, 0…1 or more
    P_VALUE = "p-value"
    DROP = "drop"  # of a share; below zero it rises
    COUNT = "count"
    BYTES = "bytes"
    RATIO = "ratio"


@dataclass(frozen=True, slots=True)
class Gate:
    """A rule that a candidate must pass, and its words: English, and marked where pages translate them."""

    name: str
    judge: Callable[[Evidence], Result]
    unit: Unit
    title: str
    question: str
    needed: str  # with a place for the threshold
    explanation: str  # what must hold, in one sentence; stored with the report


def _mnist_accuracy(evidence: Evidence) -> Result:
    right = evidence.candidate.right(evidence.examination.mnist, "mnist")
    value, threshold = float(right.mean()), evidence.limits.mnist_accuracy
    return Result(value, threshold, value >= threshold, len(right))


def _no_worse(name: str) -> Callable[[Evidence], Result]:
    def judge(evidence: Evidence) -> Result:
        changes, threshold = evidence.changes(name), evidence.limits.significance
        return Result(changes.chance, threshold, changes.chance >= threshold, changes.n)

    return judge


def _no_worse_for_people(name: str) -> Callable[[Evidence], Result]:
    def judge(evidence: Evidence) -> Result:
        votes, threshold = evidence.votes(name), evidence.limits.significance
        chance = votes.changes.chance
        return Result(chance, threshold, chance >= threshold, votes.drawings, votes.changes.n)

    return judge


def _no_drift(name: str) -> Callable[[Evidence], Result]:
    def judge(evidence: Evidence) -> Result:
        changes, threshold = evidence.changes(name, evidence.bundled), evidence.limits.drift_significance
        return Result(changes.chance, threshold, changes.chance >= threshold, changes.n)

    return judge


def _recall(evidence: Evidence) -> Result:
    """The largest fall of one digit's recall that chance does not explain, on MNIST and the strangers together."""
    limits, worst, total = evidence.limits, 0.0, 0
    parts = ("mnist", "strangers")
    labels = np.concatenate([getattr(evidence.examination, part).labels for part in parts])
    before, after = (
        np.concatenate([judged.right(getattr(evidence.examination, part), part) for part in parts])
        for judged in (evidence.champion, evidence.candidate)
    )
    for digit in range(10):
        of_digit = labels == digit
        lost = int((before & ~after & of_digit).sum())
        won = int((~before & after & of_digit).sum())
        total += int(of_digit.sum())
        if of_digit.any() and at_least(lost, lost + won) < limits.recall_significance:
            worst = max(worst, (lost - won) / int(of_digit.sum()))
    return Result(worst, limits.recall_drop, worst <= limits.recall_drop, total)


def _learned(evidence: Evidence) -> Result:
    """What is wrong of what was taught, as a share of what the champion has wrong, each label by its share in learning.

    With nothing wrong there is nothing to gain.
    """
    samples, name = evidence.examination.lessons, "lessons"
    wrong = ~evidence.champion.right(samples, name)
    still = ~evidence.candidate.right(samples, name) & ~evidence.champion.guessed_right(samples, name)
    before, after = float(samples.shares[wrong].sum()), float(samples.shares[still].sum())
    value = after / before if before else 0.0
    return Result(value, 1.0, value < 1.0, len(samples.labels), len(np.unique(samples.voices)))


def _rejects_others(evidence: Evidence) -> Result:
    return _rejection(evidence, evidence.champion, evidence.limits.rejection_drop)


def _rejects_others_still(evidence: Evidence) -> Result:
    return _rejection(evidence, evidence.bundled, evidence.limits.rejection_drift)


def _rejection(evidence: Evidence, against: Judged, threshold: float) -> Result:
    """A fall, beyond chance, of the share of characters that are no digits and are not taken for one."""
    changes = evidence.changes("others", against)
    fall = (changes.lost - changes.won) / max(changes.n, 1)
    passed = fall <= threshold or changes.chance >= evidence.limits.significance
    return Result(fall, threshold, passed, changes.n)


def _canaries(evidence: Evidence) -> Result:
    wrong = len(misread_canaries(evidence.candidate.model))
    return Result(wrong, 0, wrong == 0, len(canary_digits().labels))


def _calibration(evidence: Evidence) -> Result:
    samples, readings = evidence.examination.mnist, evidence.candidate.readings["mnist"]
    value = evaluation.expected_calibration_error(readings.probabilities[:, :10], samples.labels)
    return Result(
        value, evidence.limits.calibration_error, value <= evidence.limits.calibration_error, len(samples.labels)
    )


def _sure(evidence: Evidence) -> Result:
    right = evidence.candidate.right(evidence.examination.mnist, "mnist")
    sure = evidence.candidate.readings["mnist"].sure
    value = float(right[sure].mean()) if sure.any() else 0.0
    return Result(value, evidence.limits.sure_right, value >= evidence.limits.sure_right, int(sure.sum()))


def _agreement(evidence: Evidence) -> Result:
    value, threshold = evidence.agreement, evidence.limits.agreement
    return Result(value, threshold, value >= threshold, len(evidence.examination.strangers.labels))


def _size(evidence: Evidence) -> Result:
    return Result(evidence.artifact_size, evidence.limits.size, evidence.artifact_size <= evidence.limits.size, 1)


def _latency(evidence: Evidence) -> Result:
    images = evidence.examination.mnist.images[: evidence.limits.latency_readings]
    before, after = _best_times(images, evidence.champion.model, evidence.candidate.model)
    value = after / before
    return Result(value, evidence.limits.slowdown, value <= evidence.limits.slowdown, len(images))


_AT_LEAST, _AT_MOST = gettext_noop("at least %s"), gettext_noop("at most %s")
_LESS_THAN = gettext_noop("less than %s")
_P_AT_LEAST = gettext_noop("p ≥ %s")
_DROP_AT_MOST = gettext_noop("a drop of at most %s points")

_LIMITS = GateLimits()
_BY_CHANCE = f"beyond chance (p ≥ {_LIMITS.significance:g})"
_DRIFT_BY_CHANCE = f"beyond chance (p ≥ {_LIMITS.drift_significance:g})"

GATES: Sequence[Gate] = (
    Gate(
        "mnist",
        _mnist_accuracy,
        Unit.SHARE,
        title=gettext_noop("MNIST test set"),
        question=gettext_noop("How many of the 10,000 digits does it read correctly?"),
        needed=_AT_LEAST,
        explanation=f"Accuracy on the MNIST test set is at least {_LIMITS.mnist_accuracy:.1%}.",
    ),
    Gate(
        "mnist_champion",
        _no_worse("mnist"),
        Unit.P_VALUE,
        title=gettext_noop("MNIST, against the previous version"),
        question=gettext_noop("If it reads fewer digits correctly, could this be chance?"),
        needed=_P_AT_LEAST,
        explanation=f"It is not worse than the champion on the MNIST test set {_BY_CHANCE}.",
    ),
    Gate(
        "strangers",
        _no_worse("strangers"),
        Unit.P_VALUE,
        title=gettext_noop("New handwriting"),
        question=gettext_noop("If it reads fewer digits in handwriting it never learned from, could this be chance?"),
        needed=_P_AT_LEAST,
        explanation=f"It is not worse than the champion on digits in handwriting it never learned from {_BY_CHANCE}.",
    ),
    Gate(
        "recall",
        _recall,
        Unit.DROP,
        title=gettext_noop("Each digit"),
        question=gettext_noop("How much does recall drop, beyond chance, for the digit that suffers most?"),
        needed=_DROP_AT_MOST,
        explanation=f"No digit's recall drops by more than {100 * _LIMITS.recall_drop:g} points beyond chance.",
    ),
    Gate(
        "holdout",
        _no_worse_for_people("holdout"),
        Unit.P_VALUE,
        title=gettext_noop("People it never learns from"),
        question=gettext_noop(
            "Each known person has one vote; all others share one. "
            "If more votes say worse than better, could this be chance?"
        ),
        needed=_P_AT_LEAST,
        explanation=f"Of the people it never learns from, no more are read worse than better {_BY_CHANCE}.",
    ),
    Gate(
        "validation",
        _no_worse_for_people("validation"),
        Unit.P_VALUE,
        title=gettext_noop("Other drawings by people it learned from"),
        question=gettext_noop("If more of them are read worse than better, could this be chance?"),
        needed=_P_AT_LEAST,
        explanation=(
            f"Of the people it learned from, no more are read worse than better in their other drawings {_BY_CHANCE}."
        ),
    ),
    Gate(
        "learned",
        _learned,
        Unit.LEFT,
        title=gettext_noop("What it was taught"),
        question=gettext_noop("How many of the previous version’s mistakes remain in what it was taught?"),
        needed=_LESS_THAN,
        explanation="It makes fewer mistakes than the champion in what it was taught; the value is the share left.",
    ),
    Gate(
        "mnist_bundled",
        _no_drift("mnist"),
        Unit.P_VALUE,
        title=gettext_noop("MNIST, against the bundled model"),
        question=gettext_noop("If it reads fewer digits correctly than the bundled model, could this be chance?"),
        needed=_P_AT_LEAST,
        explanation=f"It is not worse than the bundled model on the MNIST test set {_DRIFT_BY_CHANCE}.",
    ),
    Gate(
        "strangers_bundled",
        _no_drift("strangers"),
        Unit.P_VALUE,
        title=gettext_noop("New handwriting, against the bundled model"),
        question=gettext_noop("If it reads fewer of these than the bundled model, could this be chance?"),
        needed=_P_AT_LEAST,
        explanation=(
            f"It is not worse than the bundled model on digits in handwriting it never learned from {_DRIFT_BY_CHANCE}."
        ),
    ),
    Gate(
        "not_digits",
        _rejects_others,
        Unit.DROP,
        title=gettext_noop("Not digits"),
        question=gettext_noop("How many fewer letters and symbols does it reject?"),
        needed=_DROP_AT_MOST,
        explanation=(
            f"The share of letters and symbols it rejects drops by at most {100 * _LIMITS.rejection_drop:g} points, "
            "or no more than chance explains."
        ),
    ),
    Gate(
        "not_digits_bundled",
        _rejects_others_still,
        Unit.DROP,
        title=gettext_noop("Not digits, against the bundled model"),
        question=gettext_noop("How many fewer letters and symbols does it reject than the bundled model?"),
        needed=_DROP_AT_MOST,
        explanation=(
            "The share of letters and symbols it rejects is at most "
            f"{100 * _LIMITS.rejection_drift:g} points below the bundled model's, or no further than chance explains."
        ),
    ),
    Gate(
        "canaries",
        _canaries,
        Unit.COUNT,
        title=gettext_noop("Canary drawings"),
        question=gettext_noop("How many of twenty fixed drawings does it misread?"),
        needed=_AT_MOST,
        explanation="All twenty canary drawings are read correctly.",
    ),
    Gate(
        "calibration",
        _calibration,
        Unit.SHARE,
        title=gettext_noop("Calibration"),
        question=gettext_noop("How far is its confidence from its accuracy?"),
        needed=_AT_MOST,
        explanation=f"The calibration error on the MNIST test set is at most {_LIMITS.calibration_error:.0%}.",
    ),
    Gate(
        "sure",
        _sure,
        Unit.SHARE,
        title=gettext_noop("Sure answers"),
        question=gettext_noop("When it says that it is sure, how often is it right?"),
        needed=_AT_LEAST,
        explanation=f"At least {_LIMITS.sure_right:.1%} of its sure answers on the MNIST test set are right.",
    ),
    Gate(
        "parity",
        _agreement,
        Unit.SHARE,
        title=gettext_noop("Exported file"),
        question=gettext_noop("How often does the exported file answer as the trained network does?"),
        needed=_AT_LEAST,
        explanation=f"At least {_LIMITS.agreement:.1%} of the exported artifact's answers are the network's.",
    ),
    Gate(
        "size",
        _size,
        Unit.BYTES,
        title=gettext_noop("Size"),
        question=gettext_noop("How large is the file?"),
        needed=_AT_MOST,
        explanation=f"The artifact has at most {_LIMITS.size:,} bytes.",
    ),
    Gate(
        "latency",
        _latency,
        Unit.RATIO,
        title=gettext_noop("Speed"),
        question=gettext_noop("How long does a reading take, compared with the previous version?"),
        needed=_AT_MOST,
        explanation=f"A reading takes at most {_LIMITS.slowdown:g} times as long as the champion's.",
    ),
)


def judge(evidence: Evidence, gates: Sequence[Gate] = GATES) -> list[dict[str, Any]]:
    """Judge a candidate: one row per gate with its value, threshold, whether it passed, and on how many samples.

    Rows of gates that ask people's labels also have `owners`, the number of voices behind them.
    """
    report = []
    for gate in gates:
        result = gate.judge(evidence)
        row = {
            "gate": gate.name,
            "explanation": gate.explanation,
            "value": round(float(result.value), 5),
            "threshold": result.threshold,
            "passed": bool(result.passed),
            "n": result.n,
        }
        report.append(row if result.owners is None else row | {"owners": result.owners})
    return report


def at_least(k: int, n: int) -> float:
    """The probability of at least k heads in n tosses of a fair coin."""
    if k <= 0:
        return 1.0
    counts = np.arange(k, n + 1)
    logs = np.array([lgamma(n + 1) - lgamma(i + 1) - lgamma(n - i + 1) for i in counts]) - n * np.log(2)
    return float(min(1.0, np.exp(logs).sum()))


def _best_times(images: npt.NDArray[np.uint8], *models: DigitModel) -> list[float]:
    """The median seconds of a reading, the best of three rounds, taking turns: others use the machine too."""
    best = [float("inf")] * len(models)
    for _ in range(3):
        for index, model in enumerate(models):
            times = []
            for image in images:
                start = time.perf_counter()
                model.probabilities(image)
                times.append(time.perf_counter() - start)
            best[index] = min(best[index], float(np.median(times)))
    return best
