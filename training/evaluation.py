"""Metrics of a model (accuracy, recall, calibration), measured on its artifact through the production engine."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from recognizer.engine import DigitModel
from recognizer.labels import (
    ANSWER_SIZE,
    DIGITS,
    LABELS,
    NOT_A_DIGIT,
    decode,
    digit_part,
    is_digit_part,
    position,
)
from training.strokes import PenDrawing

CALIBRATION_BINS = 15


@dataclass(frozen=True, slots=True)
class Readings:
    """A model's answers to `n` inputs."""

    probabilities: npt.NDArray[np.float32]  # (n, ANSWER_SIZE), as the network answers
    digits: npt.NDArray[np.int64]  # (n,) the digit answered, or `NOT_A_DIGIT`
    sure: npt.NDArray[np.bool_]  # (n,)


def read_all(model: DigitModel, images: npt.NDArray[np.uint8]) -> Readings:
    """Read images `(n, 28, 28)` uint8 one by one, as the site does."""
    answers = [model.probabilities(image) for image in images]
    probabilities = np.stack(answers) if answers else np.empty((0, ANSWER_SIZE), np.float32)
    exact = probabilities.astype(np.float64)  # as `DigitModel.read` compares them
    digits, is_digit = digit_part(exact), is_digit_part(exact)
    return Readings(
        probabilities,
        np.where(model.thresholds.rejects(is_digit), NOT_A_DIGIT, digits.argmax(axis=1)),
        model.thresholds.is_sure(is_digit, digits.max(axis=1)),
    )


def digit_metrics(readings: Readings, labels: npt.NDArray[np.integer[Any]]) -> dict[str, Any]:
    """Return metrics of readings of real digits; the answer "not a digit" counts as wrong."""
    right = readings.digits == labels
    return {
        "n": len(labels),
        "accuracy": _share(right),
        "recall": [_share(right[labels == digit]) for digit in DIGITS],
        "rejected": _share(readings.digits == NOT_A_DIGIT),
        "sure": _share(readings.sure),
        "sure_right": _share(right[readings.sure]),
        "ece": round(expected_calibration_error(digit_part(readings.probabilities), labels), 5),
    }


def detailed_digit_metrics(readings: Readings, labels: npt.NDArray[np.integer[Any]]) -> dict[str, Any]:
    """Return `digit_metrics` with the confusion matrix and the reliability diagram that a version's page shows."""
    return {
        **digit_metrics(readings, labels),
        "confusion": confusion_matrix(readings, labels),
        "reliability": [
            [group.n, round(group.confidence, 5), round(group.right, 5)]
            for group in calibration_bins(digit_part(readings.probabilities), labels)
        ],
    }


def not_digit_metrics(readings: Readings) -> dict[str, Any]:
    """Return metrics of readings of non-digits."""
    return {
        "n": len(readings.digits),
        "rejected": _share(readings.digits == NOT_A_DIGIT),
        "rejected_or_unsure": _share(~readings.sure),
    }


def mean_over_writers(drawings: Sequence[PenDrawing], readings: Readings) -> float:
    """Return the mean of the writers' accuracies: each writer counts the same, however much they drew."""
    writers: dict[str, list[bool]] = {}
    for drawing, digit in zip(drawings, readings.digits, strict=True):
        writers.setdefault(drawing.writer, []).append(drawing.digit == digit)
    return _share(np.array([np.mean(right) for right in writers.values()]))


def confusion_matrix(readings: Readings, labels: npt.NDArray[np.integer[Any]]) -> list[list[int]]:
    """Return counts of (label, answer): a row for each digit, a column for each answer, "not a digit" last."""
    matrix = np.zeros((len(DIGITS), len(LABELS)), int)
    answers = np.array([position(decode(digit)) for digit in readings.digits.tolist()], int)
    np.add.at(matrix, (labels, answers), 1)
    counts: list[list[int]] = matrix.tolist()
    return counts


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """Answers with similar confidence."""

    n: int
    confidence: float  # mean
    right: float  # accuracy


def calibration_bins(
    probabilities: npt.NDArray[np.floating[Any]], labels: npt.NDArray[np.integer[Any]]
) -> list[CalibrationBin]:
    """Return the reliability diagram: answers in equal-width bins of confidence, without the empty bins."""
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    return [
        CalibrationBin(int((bins == b).sum()), float(confidence[bins == b].mean()), float(right[bins == b].mean()))
        for b in np.unique(bins)
    ]


def expected_calibration_error(
    probabilities: npt.NDArray[np.floating[Any]], labels: npt.NDArray[np.integer[Any]]
) -> float:
    """Return the mean gap between confidence and accuracy over equal-width bins (Guo et al. 2017)."""
    bins = calibration_bins(probabilities, labels)
    return sum(abs(group.right - group.confidence) * group.n for group in bins) / max(len(labels), 1)


def _share(values: npt.NDArray[Any]) -> float:
    return round(float(values.mean()), 5) if len(values) else 0.0
