"""Measures detailed MNIST metrics of versions that lack them: bundled models, and versions of earlier releases.

A new candidate is measured during its evaluation. Two models read MNIST's test set in a few seconds on one core.
"""

import logging
from typing import Any

import numpy as np
from django.db import transaction
from django.db.models import QuerySet

from recognizer.engine import DigitModel, ModelRefusedError, load_model
from recognizer.mnist import Digits, find_mnist, load_test_digits
from recognizer.models import ModelFile, ModelVersion
from training import evaluation
from training.eval_suite import EvalResult, mnist_changes

logger = logging.getLogger(__name__)


def measure_missing() -> ModelVersion | None:
    """Measure the newest version without detailed metrics and return it; None if there is none or MNIST is missing.

    Raises:
        MnistError: MNIST differs from the published files.
    """
    if (folder := find_mnist()) is None:
        return None
    for version in _unmeasured():
        if model := _load(version):
            measure(version, model, load_test_digits(folder))
            return version
    return None


def measure(version: ModelVersion, model: DigitModel, test: Digits) -> None:
    """Save a version's detailed metrics on MNIST's test set; existing values are kept."""
    labels, after = test.labels.astype(np.int64), _read(model, test)
    measured: dict[str, Any] = evaluation.detailed_digit_metrics(after.readings["mnist"], labels)
    if before := version.parent and _load(version.parent):
        measured["changes"] = mnist_changes(_read(before, test), after, labels)
    with transaction.atomic():
        row = ModelVersion.objects.select_for_update().get(pk=version.pk)
        row.metrics["mnist_test"] = measured | row.metrics.get("mnist_test", {})
        row.save(update_fields=["metrics"])


def _unmeasured() -> QuerySet[ModelVersion]:
    with_artifact = ModelVersion.objects.filter(files__kind=ModelFile.Kind.ARTIFACT)
    return with_artifact.filter(metrics__mnist_test__confusion__isnull=True).select_related("parent")


def _load(version: ModelVersion) -> DigitModel | None:
    try:
        return load_model(version)
    except ModelRefusedError as refusal:
        logger.info("Not measured: %s.", refusal)
        return None


def _read(model: DigitModel, test: Digits) -> EvalResult:
    return EvalResult(model, {"mnist": evaluation.read_all(model, test.images)})
