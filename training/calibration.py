"""Calibration: fits the temperature and the verdict thresholds on validation data."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from recognizer.labels import digit_part, is_digit_part
from recognizer.verdicts import Thresholds

Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class VerdictGoals:
    """Targets for choosing the thresholds, as shares of the validation data."""

    negatives_rejected: float = 0.9  # share of non-digits to reject; lowered if rejecting that many …
    rejected: float = 0.0005  # … would also reject more than this share of real digits
    doubted_as_digit: float = 0.005  # maximum share of real digits that are unsure because they may not be digits
    sure_right: float = 0.999  # minimum accuracy of sure answers
    sure: float = 0.975  # minimum share of real digits with a sure answer; takes precedence over `sure_right`


def fit_temperature(logits: Floats, labels: npt.NDArray[np.integer[Any]]) -> float:
    """Return the temperature with the lowest cross-entropy (Guo et al. 2017).

    Args:
        logits: `(n, digits)`.
        labels: `(n,)` digits.
    """
    candidates = np.exp(np.linspace(np.log(0.3), np.log(3), 181))
    losses = [_cross_entropy(logits / temperature, labels) for temperature in candidates]
    return float(candidates[int(np.argmin(losses))])


def match_temperature(logits: Floats, probabilities: Floats) -> float:
    """Return the temperature at which the answers are closest to another model's, by cross-entropy.

    A fine-tuned model inherits the calibration of its parent this way, which was fitted on people's digits.

    Args:
        logits: `(n, digits)`.
        probabilities: `(n, digits)`, the other model's answers to the same inputs.
    """
    candidates = np.exp(np.linspace(np.log(0.3), np.log(3), 181))
    losses = [
        -float((probabilities * log_softmax(logits / temperature)).sum(axis=1).mean()) for temperature in candidates
    ]
    return float(candidates[int(np.argmin(losses))])


def choose_thresholds(
    answers: Floats, labels: npt.NDArray[np.integer[Any]], negatives: Floats, goals: VerdictGoals
) -> Thresholds:
    """Return verdict thresholds chosen on real digits and on non-digits.

    Args:
        answers: `(n, ANSWER_SIZE)`, the exported artifact's answers to digits.
        labels: `(n,)` digits.
        negatives: `(m, ANSWER_SIZE)`, its answers to non-digits.
    """
    digits, is_digit = digit_part(answers), is_digit_part(answers)
    confidence, right = digits.max(axis=1), digits.argmax(axis=1) == labels
    rejecting = float(np.quantile(is_digit_part(negatives), goals.negatives_rejected))
    digit = min(rejecting, float(np.quantile(is_digit, goals.rejected)))
    sure_digit = max(digit, min(0.95, float(np.quantile(is_digit, goals.doubted_as_digit))))
    believed = is_digit >= sure_digit
    steps = np.concatenate([np.linspace(0.5, 0.95, 46), np.linspace(0.951, 0.999, 49)])
    enough = [step for step in steps if (believed & (confidence >= step)).mean() >= goals.sure] or [0.5]
    good = [step for step in enough if right[believed & (confidence >= step)].mean() >= goals.sure_right]
    return Thresholds(
        digit=round(digit, 4),
        sure_digit=round(sure_digit, 4),
        sure_confidence=round(float(min(good, default=enough[-1])), 4),
    )


def match_thresholds(thresholds: Thresholds, champion: Floats, candidate: Floats, digits: int) -> Thresholds:
    """Return thresholds at which a candidate rejects as many non-digits and doubts as many digits as the champion.

    Fine-tuning preserves the champion's probabilities, not its log-odds: a probability near 0 may grow tenfold, stay
    near 0, and still cross a threshold.

    Args:
        thresholds: the champion's.
        champion: `(n,)`, its probabilities of being a digit, on drawings that neither model was trained on.
        candidate: `(n,)`, the candidate's on the same drawings.
        digits: the first so many drawings are digits, the others are not.
    """

    def matched(threshold: float, of: slice) -> float:
        rank = int((champion[of] < threshold).sum())
        between = np.sort(candidate[of])[max(rank - 1, 0) : rank + 1]
        return round(float(between.mean()), 6) if len(between) else threshold

    digit = matched(thresholds.digit, slice(digits, None))
    return replace(thresholds, digit=digit, sure_digit=max(digit, matched(thresholds.sure_digit, slice(digits))))


def _cross_entropy(logits: Floats, labels: npt.NDArray[np.integer[Any]]) -> float:
    return -float(log_softmax(logits)[np.arange(len(labels)), labels].mean())


def log_softmax(logits: Floats) -> Floats:
    """Return the log-probabilities of `(n, k)` logits, same shape."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    logs: Floats = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return logs
