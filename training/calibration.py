"""Confidence that means what it says: the temperature and the verdicts' thresholds, fitted on validation data."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from recognizer.labels import digit_part, is_digit_part
from recognizer.verdicts import Thresholds

Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class VerdictGoals:
    """What the thresholds are chosen for, as shares of the validation data."""

    negatives_rejected: float = 0.9  # of what is no digit, called so: the rest is at least in doubt. More, if it …
    rejected: float = 0.0005  # … costs so many real digits, is not worth it
    doubted_as_digit: float = 0.005  # of real digits at most, unsure because they may be none
    sure_right: float = 0.999  # at least, of the sure answers
    sure: float = 0.975  # of real digits at least, sure: comes before `sure_right`


def fit_temperature(logits: Floats, labels: npt.NDArray[np.integer[Any]]) -> float:
    """Find the temperature with the least cross-entropy (Guo et al. 2017).

    Args:
        logits: `(n, digits)`.
        labels: `(n,)` digits.
    """
    candidates = np.exp(np.linspace(np.log(0.3), np.log(3), 181))
    losses = [_cross_entropy(logits / temperature, labels) for temperature in candidates]
    return float(candidates[int(np.argmin(losses))])


def match_temperature(logits: Floats, probabilities: Floats) -> float:
    """Find the temperature at which answers are nearest to another model's, by cross-entropy.

    So a fine-tuned model inherits the calibration of the one it came from, which was fitted on people's digits.

    Args:
        logits: `(n, digits)`.
        probabilities: `(n, digits)` that the other model gives the same inputs.
    """
    candidates = np.exp(np.linspace(np.log(0.3), np.log(3), 181))
    losses = [
        -float((probabilities * log_softmax(logits / temperature)).sum(axis=1).mean()) for temperature in candidates
    ]
    return float(candidates[int(np.argmin(losses))])


def choose_thresholds(
    answers: Floats, labels: npt.NDArray[np.integer[Any]], negatives: Floats, goals: VerdictGoals
) -> Thresholds:
    """Choose the verdicts' thresholds on real digits and on what is none.

    Args:
        answers: `(n, ANSWER_SIZE)` of the exported artifact on digits.
        labels: `(n,)` digits.
        negatives: `(m, ANSWER_SIZE)` of the same on what is no digit.
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
    """Find the thresholds at which a candidate rejects as many others, and doubts as many digits, as the champion does.

    A fine-tune learns the champion's answers, not its log-odds: what was next to no digit may be ten times likelier
    and still be next to none, while the threshold lies in between.

    Args:
        thresholds: the champion's.
        champion: `(n,)` probabilities of being a digit, of drawings that neither learned.
        candidate: `(n,)` its own of the same drawings.
        digits: how many of them, the first, are digits; the others are none.
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
    """Turn `(n, k)` logits into log-probabilities of the same shape."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    logs: Floats = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return logs
