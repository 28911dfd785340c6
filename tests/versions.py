"""Model versions for tests, with metrics, gate reports and lineage as a training run stores them."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import numpy as np
from django.utils.timezone import now

from recognizer import registry
from recognizer.models import ModelVersion, Promotion
from training.eval_suite import EvalResult, mnist_changes
from training.evaluation import Readings, detailed_digit_metrics
from training.gates import GATES
from training.models import TrainingRun

# Value, threshold and number of drawings of each gate, as in runs on the real data.
MEASURED: dict[str, tuple[float, float, int]] = {
    "mnist": (0.9978, 0.995, 10_000),
    "mnist_champion": (0.62, 0.02, 10_000),
    "strangers": (0.31, 0.02, 4000),
    "recall": (0.00061, 0.005, 14_000),
    "holdout": (0.87, 0.02, 63),
    "validation": (1.0, 0.02, 118),
    "learned": (0.38, 1.0, 812),
    "mnist_bundled": (0.55, 0.01, 10_000),
    "strangers_bundled": (0.12, 0.01, 4000),
    "not_digits": (0.004, 0.03, 1500),
    "not_digits_bundled": (-0.002, 0.05, 1500),
    "canaries": (0, 0, 20),
    "calibration": (0.0031, 0.01, 10_000),
    "sure": (0.9997, 0.998, 9801),
    "parity": (0.9993, 0.997, 4000),
    "size": (679_904, 1_000_000, 1),
    "latency": (1.02, 1.5, 200),
}
VOICES = {"holdout": 7, "validation": 12, "learned": 26}
FAILING = {"holdout": 0.004, "learned": 1.1, "mnist": 0.9931, "recall": 0.0102, "canaries": 1.0, "not_digits": 0.061}


def gate_report(failed: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Return a gate report in which the given gates fail."""
    explanations = {gate.name: gate.explanation for gate in GATES}
    return [
        {
            "gate": name,
            "explanation": explanations[name],
            "value": FAILING[name] if name in failed else value,
            "threshold": threshold,
            "passed": name not in failed,
            "n": n,
        }
        | ({"owners": VOICES[name]} if name in VOICES else {})
        for name, (value, threshold, n) in MEASURED.items()
    ]


def readings(labels: np.ndarray, wrong: Sequence[int], seed: int = 0) -> Readings:
    """Return calibrated answers, right except at the places `wrong`; the first of these is read as no digit."""
    rng = np.random.default_rng(seed)
    digits = labels.copy()
    digits[list(wrong)] = (labels[list(wrong)] + 3) % 10
    digits[list(wrong)[:1]] = -1
    confidence = np.where(rng.random(len(labels)) < 0.02, rng.uniform(0.4, 0.99, len(labels)), 0.997)
    probabilities = np.repeat(((1 - confidence) / 10)[:, None], 11, axis=1)
    probabilities[np.arange(len(labels)), np.maximum(digits, 0)] = confidence
    return Readings(probabilities.astype(np.float32), digits, confidence > 0.99)


def metrics(labels: np.ndarray, wrong: Sequence[int], before: Sequence[int] | None = None, came_from: int = 1) -> Any:
    """Return the metrics of a candidate with errors at `wrong`, whose champion had errors at `before`."""
    after = readings(labels, wrong)
    mnist = detailed_digit_metrics(after, labels)
    if before is not None:
        champion = EvalResult(_Numbered(came_from), {"mnist": readings(labels, before)})  # type: ignore[arg-type]
        mnist["changes"] = mnist_changes(champion, EvalResult(_Numbered(0), {"mnist": after}), labels)  # type: ignore[arg-type]
    return {
        "mnist_test": mnist,
        "holdout": {"n": 63, "accuracy": round(1 - 0.14 * 0.93**came_from, 5)},
        "validation": {"n": 118, "accuracy": round(1 - 0.1 * 0.95**came_from, 5)},
        "lessons": {"n": 812, "accuracy": 0.951},
    }


class _Numbered:
    """The part of a model that `mnist_changes` uses."""

    def __init__(self, version: int) -> None:
        self.version = version


def learned(
    parent: ModelVersion,
    measured: dict[str, Any],
    *,
    failed: Sequence[str] = (),
    promoted: bool = True,
    hours_ago: float = 1,
    content: bytes = b"artifact",
) -> ModelVersion:
    """Store a training run and the version it made, promoted or rejected."""
    at = now() - timedelta(hours=hours_ago)
    run = TrainingRun.objects.create(
        state=TrainingRun.State.SUCCEEDED,
        trigger=TrainingRun.Trigger.SCHEDULE,
        created=at,
        started=at,
        finished=at + timedelta(minutes=4, seconds=12),
        progress=1,
        epoch=6,
        epochs=6,
        losses=[0.412, 0.305, 0.262, 0.241, 0.229, 0.224],
        timings={
            phase: {"seconds": seconds, "peak_mb": 900}
            for phase, seconds in zip(TrainingRun.Phase.values, (14.1, 31.0, 160.4, 12.8, 33.2, 0.6), strict=True)
        },
        parent=parent,
    )
    version = registry.register(
        content,
        b"checkpoint",
        preprocessing_version=parent.preprocessing_version,
        thresholds=parent.thresholds,
        metrics=measured,
        parent=parent,
        gate_report=gate_report(failed),
        lineage={
            "run": run.pk,
            "drawings": {
                "train": 812,
                "validation": 118,
                "holdout": 63,
                "corrections": 640,
                "confirmations": 353,
                "owners": 41,
                "labels_share": 0.25,
                "largest_owner_share": 0.06,
                "corrections_of": {"1": 84, "4": 121, "7": 140, "9": 97, "not a digit": 62},
                "confirmations_of": {"0": 41, "1": 62, "2": 33, "3": 51, "5": 60, "6": 37, "8": 24},
                "left_out": {"duplicate": 12},
            },
        },
    )
    run.version = version
    run.reason = (
        f"Version {version.version} {'was rejected by its gates' if failed else 'passed its gates and is active'}."
    )
    run.save(update_fields=["version", "reason"])
    ModelVersion.objects.filter(pk=version.pk).update(created=at)
    if failed:
        registry.reject(version)
    elif promoted:
        registry.promote(version, Promotion.Cause.GATES, reason="passed 17 gates")
        ModelVersion.objects.filter(pk=version.pk).update(activated=at)
        Promotion.objects.filter(version=version).update(created=at)
    version.refresh_from_db()
    return version
