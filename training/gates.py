"""The gates that a candidate must pass to be promoted. They test the exported artifact through the production engine.

Champion and candidate read the same samples, so a difference is due to the model and not to the sample.

People's labels are compared by owner, not by drawing: each known owner has one vote, all other owners together have
one (`recognizer.voices`), and drawings that the champion was unsure of do not count. So nobody can decide a gate with
many drawings, many cookies, or drawings near the decision boundary.
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
from recognizer.labels import DIGITS, digit_part
from training import evaluation
from training.eval_suite import EvalResult, EvalSuite, PeopleSamples, gains_of_voices


@dataclass(frozen=True, slots=True)
class GateLimits:
    """The thresholds of all gates. Shares are 0…1; significance levels are for one-sided p-values."""

    mnist_accuracy: float = 0.995  # minimum
    significance: float = 0.02  # a lower p-value means worse than the champion; half a dozen gates test it
    recall_drop: float = 0.005  # of one digit, maximum; nobody notices a smaller one …
    recall_significance: float = 0.05  # … and one with a higher p-value may be chance
    drift_significance: float = 0.01  # against the bundled model: the effect of all runs so far
    rejection_drop: float = 0.03  # in the rejection rate of non-digits, maximum, against the champion …
    rejection_drift: float = 0.05  # … and against the bundled model
    calibration_error: float = 0.01  # expected calibration error, maximum
    sure_right: float = 0.998  # accuracy of the sure answers, minimum
    agreement: float = 0.997  # share of equal answers of artifact and network, minimum
    size: int = 1_000_000  # bytes, maximum
    slowdown: float = 1.5  # inference time relative to the champion, maximum
    latency_readings: int = 200  # that are timed


@dataclass(frozen=True, slots=True)
class Evidence:
    """The data that the gates test: the evaluation results of champion, candidate and bundled model."""

    suite: EvalSuite
    champion: EvalResult
    candidate: EvalResult
    bundled: EvalResult
    artifact_size: int
    agreement: float  # share of equal answers of artifact and network, 0…1
    limits: GateLimits = field(default_factory=GateLimits)

    def changes(self, name: str, against: EvalResult | None = None) -> "Disagreement":
        """Compare the candidate with the champion, or with `against`, on the same samples."""
        samples = getattr(self.suite, name)
        before, after = (result.right(samples, name) for result in (against or self.champion, self.candidate))
        return Disagreement(len(before), int((before & ~after).sum()), int((~before & after).sum()))

    def votes(self, name: str) -> "Votes":
        """Let each voice vote for the model that reads more of its drawings correctly."""
        samples: PeopleSamples = getattr(self.suite, name)
        counted = self.champion.readings[name].sure
        before, after = (result.right(samples, name)[counted] for result in (self.champion, self.candidate))
        gains = gains_of_voices(samples.voices[counted], before, after)
        changes = Disagreement(len(gains), int((gains < 0).sum()), int((gains > 0).sum()))
        return Votes(changes, int(counted.sum()))


@dataclass(frozen=True, slots=True)
class Disagreement:
    """Counts of samples, or voices, on which two models differ."""

    n: int
    lost: int  # right before, wrong now
    won: int  # wrong before, right now

    @property
    def p_value(self) -> float:
        """The one-sided p-value of McNemar's exact test for `lost`."""
        return binomial_tail(self.lost, self.lost + self.won)


@dataclass(frozen=True, slots=True)
class Votes:
    """The votes of all voices on two models."""

    changes: Disagreement  # of voices
    drawings: int  # that the votes are based on


@dataclass(frozen=True, slots=True)
class GateResult:
    """The result of one gate."""

    value: float
    threshold: float
    passed: bool
    n: int
    owners: int | None = None  # number of voices; None if the labels are not people's


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
    judge: Callable[[Evidence], GateResult]
    unit: Unit
    title: str
    question: str
    needed: str  # with a place for the threshold
    explanation: str  # what must hold, in one sentence; stored with the report


def _mnist_accuracy(evidence: Evidence) -> GateResult:
    right = evidence.candidate.right(evidence.suite.mnist, "mnist")
    value, threshold = float(right.mean()), evidence.limits.mnist_accuracy
    return GateResult(value, threshold, value >= threshold, len(right))


def _no_worse(name: str) -> Callable[[Evidence], GateResult]:
    def judge(evidence: Evidence) -> GateResult:
        changes, threshold = evidence.changes(name), evidence.limits.significance
        return GateResult(changes.p_value, threshold, changes.p_value >= threshold, changes.n)

    return judge


def _no_worse_for_people(name: str) -> Callable[[Evidence], GateResult]:
    def judge(evidence: Evidence) -> GateResult:
        votes, threshold = evidence.votes(name), evidence.limits.significance
        p_value = votes.changes.p_value
        return GateResult(p_value, threshold, p_value >= threshold, votes.drawings, votes.changes.n)

    return judge


def _no_drift(name: str) -> Callable[[Evidence], GateResult]:
    def judge(evidence: Evidence) -> GateResult:
        changes, threshold = evidence.changes(name, evidence.bundled), evidence.limits.drift_significance
        return GateResult(changes.p_value, threshold, changes.p_value >= threshold, changes.n)

    return judge


def _recall(evidence: Evidence) -> GateResult:
    """Return the largest significant drop in one digit's recall, on MNIST and the strangers' digits together."""
    limits, worst, total = evidence.limits, 0.0, 0
    parts = ("mnist", "strangers")
    labels = np.concatenate([getattr(evidence.suite, part).labels for part in parts])
    before, after = (
        np.concatenate([result.right(getattr(evidence.suite, part), part) for part in parts])
        for result in (evidence.champion, evidence.candidate)
    )
    for digit in DIGITS:
        of_digit = labels == digit
        lost = int((before & ~after & of_digit).sum())
        won = int((~before & after & of_digit).sum())
        total += int(of_digit.sum())
        if of_digit.any() and binomial_tail(lost, lost + won) < limits.recall_significance:
            worst = max(worst, (lost - won) / int(of_digit.sum()))
    return GateResult(worst, limits.recall_drop, worst <= limits.recall_drop, total)


def _learned(evidence: Evidence) -> GateResult:
    """Return the candidate's errors on the training labels as a fraction of the champion's, weighted by label share.

    Labels that the champion read correctly without being sure do not count. Without champion errors the value is 0.
    """
    samples, name = evidence.suite.train, "train"
    wrong = ~evidence.champion.right(samples, name)
    still = ~evidence.candidate.right(samples, name) & ~evidence.champion.guessed_right(samples, name)
    before, after = float(samples.shares[wrong].sum()), float(samples.shares[still].sum())
    value = after / before if before else 0.0
    return GateResult(value, 1.0, value < 1.0, len(samples.labels), len(np.unique(samples.voices)))


def _rejects_negatives(evidence: Evidence) -> GateResult:
    return _rejection(evidence, evidence.champion, evidence.limits.rejection_drop)


def _rejects_negatives_still(evidence: Evidence) -> GateResult:
    return _rejection(evidence, evidence.bundled, evidence.limits.rejection_drift)


def _rejection(evidence: Evidence, against: EvalResult, threshold: float) -> GateResult:
    """Return the drop in the rejection rate of non-digits; only a significant one fails."""
    changes = evidence.changes("negatives", against)
    fall = (changes.lost - changes.won) / max(changes.n, 1)
    passed = fall <= threshold or changes.p_value >= evidence.limits.significance
    return GateResult(fall, threshold, passed, changes.n)


def _canaries(evidence: Evidence) -> GateResult:
    wrong = len(misread_canaries(evidence.candidate.model))
    return GateResult(wrong, 0, wrong == 0, len(canary_digits().labels))


def _calibration(evidence: Evidence) -> GateResult:
    samples, readings = evidence.suite.mnist, evidence.candidate.readings["mnist"]
    value = evaluation.expected_calibration_error(digit_part(readings.probabilities), samples.labels)
    return GateResult(
        value, evidence.limits.calibration_error, value <= evidence.limits.calibration_error, len(samples.labels)
    )


def _sure(evidence: Evidence) -> GateResult:
    right = evidence.candidate.right(evidence.suite.mnist, "mnist")
    sure = evidence.candidate.readings["mnist"].sure
    value = float(right[sure].mean()) if sure.any() else 0.0
    return GateResult(value, evidence.limits.sure_right, value >= evidence.limits.sure_right, int(sure.sum()))


def _agreement(evidence: Evidence) -> GateResult:
    value, threshold = evidence.agreement, evidence.limits.agreement
    return GateResult(value, threshold, value >= threshold, len(evidence.suite.strangers.labels))


def _size(evidence: Evidence) -> GateResult:
    return GateResult(evidence.artifact_size, evidence.limits.size, evidence.artifact_size <= evidence.limits.size, 1)


def _latency(evidence: Evidence) -> GateResult:
    images = evidence.suite.mnist.images[: evidence.limits.latency_readings]
    before, after = _best_times(images, evidence.champion.model, evidence.candidate.model)
    value = after / before
    return GateResult(value, evidence.limits.slowdown, value <= evidence.limits.slowdown, len(images))


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
        _rejects_negatives,
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
        _rejects_negatives_still,
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
    """Test a candidate: return one row per gate with its value, threshold, whether it passed, and the sample size.

    Rows of gates on people's labels also have `owners`, the number of voices.
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


def binomial_tail(k: int, n: int) -> float:
    """Return the probability of at least k heads in n tosses of a fair coin."""
    if k <= 0:
        return 1.0
    counts = np.arange(k, n + 1)
    logs = np.array([lgamma(n + 1) - lgamma(i + 1) - lgamma(n - i + 1) for i in counts]) - n * np.log(2)
    return float(min(1.0, np.exp(logs).sum()))


def _best_times(images: npt.NDArray[np.uint8], *models: DigitModel) -> list[float]:
    """Return each model's median inference time in seconds, the best of three interleaved rounds.

    Interleaving is fair when other processes load the machine.
    """
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
