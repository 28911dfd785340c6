"""How well a model reads: measured on the exported artifact, through the production engine."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from recognizer.engine import DigitModel
from training.strokes import Drawing

CALIBRATION_BINS = 15


@dataclass(frozen=True, slots=True)
class Readings:
    """What a model says of many inputs."""

    probabilities: npt.NDArray[np.float32]  # (n, 11): ten digits, then of being one
    digits: npt.NDArray[np.int64]  # (n,) the digit answered, -1 for not a digit
    sure: npt.NDArray[np.bool_]  # (n,)


def read_all(model: DigitModel, images: npt.NDArray[np.uint8]) -> Readings:
    """Read `(n, 28, 28)` uint8 one by one, as the site does."""
    answers = [model.probabilities(image) for image in images]
    probabilities = np.stack(answers) if answers else np.empty((0, 11), np.float32)
    is_digit, confidence = probabilities[:, 10], probabilities[:, :10].max(axis=1)
    thresholds = model.thresholds
    return Readings(
        probabilities,
        np.where(is_digit < thresholds.digit, -1, probabilities[:, :10].argmax(axis=1)),
        (is_digit >= max(thresholds.sure_digit, thresholds.digit)) & (confidence >= thresholds.sure_confidence),
    )


def digit_metrics(readings: Readings, labels: npt.NDArray[np.integer[Any]]) -> dict[str, Any]:
    """Summarise readings of real digits; an answer "not a digit" counts as wrong."""
    right = readings.digits == labels
    return {
        "n": len(labels),
        "accuracy": _share(right),
        "recall": [_share(right[labels == digit]) for digit in range(10)],
        "rejected": _share(readings.digits == -1),
        "sure": _share(readings.sure),
        "sure_right": _share(right[readings.sure]),
        "ece": round(expected_calibration_error(readings.probabilities[:, :10], labels), 5),
    }


def detailed_digit_metrics(readings: Readings, labels: npt.NDArray[np.integer[Any]]) -> dict[str, Any]:
    """Summarise readings of a test set in the detail that a version's page shows: what is taken for what, and when."""
    return {
        **digit_metrics(readings, labels),
        "confusion": confusion_matrix(readings, labels),
        "reliability": [
            [group.n, round(group.confidence, 5), round(group.right, 5)]
            for group in calibration_bins(readings.probabilities[:, :10], labels)
        ],
    }


def not_digit_metrics(readings: Readings) -> dict[str, Any]:
    """Summarise readings of what is not a digit."""
    return {
        "n": len(readings.digits),
        "rejected": _share(readings.digits == -1),
        "rejected_or_unsure": _share(~readings.sure),
    }


def mean_over_writers(drawings: Sequence[Drawing], readings: Readings) -> float:
    """Average the writers' accuracies, so that one who drew much counts like one who drew little."""
    writers: dict[str, list[bool]] = {}
    for drawing, digit in zip(drawings, readings.digits, strict=True):
        writers.setdefault(drawing.writer, []).append(drawing.digit == digit)
    return _share(np.array([np.mean(right) for right in writers.values()]))


def confusion_matrix(readings: Readings, labels: npt.NDArray[np.integer[Any]]) -> list[list[int]]:
    """Count (label, answer): 10 rows, 11 columns, the last one "not a digit"."""
    matrix = np.zeros((10, 11), int)
    np.add.at(matrix, (labels, np.where(readings.digits < 0, 10, readings.digits)), 1)
    counts: list[list[int]] = matrix.tolist()
    return counts


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """Answers of about the same confidence."""

    n: int
    confidence: float  # their mean
    right: float  # the share that is


def calibration_bins(
    probabilities: npt.NDArray[np.floating[Any]], labels: npt.NDArray[np.integer[Any]]
) -> list[CalibrationBin]:
    """Group answers by confidence into bins of equal width, leaving empty ones out: a reliability diagram."""
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
