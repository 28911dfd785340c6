"""The model registry: registers versions with their bytes, and moves the one pointer that says which serves."""

import hashlib
import json
from pathlib import Path
from typing import Any

from django.db import transaction
from django.db.models import Max
from django.utils.timezone import now

from recognizer.models import ModelFile, ModelVersion

BUNDLED = Path(__file__).parent / "bundled"


def register(
    artifact: bytes,
    checkpoint: bytes | None,
    *,
    preprocessing_version: int,
    thresholds: dict[str, float],
    metrics: dict[str, Any],
    parent: ModelVersion | None = None,
    notes: str = "",
) -> ModelVersion:
    """Store a model as the next version, a candidate, with its bytes and their digests."""
    with transaction.atomic():
        last = ModelVersion.objects.aggregate(last=Max("version"))["last"] or 0
        version = ModelVersion.objects.create(
            version=last + 1,
            parent=parent,
            preprocessing_version=preprocessing_version,
            thresholds=thresholds,
            metrics=metrics,
            notes=notes,
        )
        files = {ModelFile.Kind.ARTIFACT: artifact, ModelFile.Kind.CHECKPOINT: checkpoint}
        for kind, content in files.items():
            if content is not None:
                digest = hashlib.sha256(content).hexdigest()
                ModelFile.objects.create(version=version, kind=kind, sha256=digest, size=len(content), content=content)
    return version


def promote(version: ModelVersion) -> None:
    """Make a version the active one, whatever it was; the one before it retires. Also how to roll back."""
    with transaction.atomic():
        active = ModelVersion.objects.filter(state=ModelVersion.State.ACTIVE)
        list(active.select_for_update())  # two at once go one after the other
        active.exclude(pk=version.pk).update(state=ModelVersion.State.RETIRED)
        ModelVersion.objects.filter(pk=version.pk).update(state=ModelVersion.State.ACTIVE, activated=now())
    version.refresh_from_db(fields=["state", "activated"])


def active_version() -> ModelVersion | None:
    """Return the version that serves, or None before the first is registered."""
    return ModelVersion.objects.filter(state=ModelVersion.State.ACTIVE).first()


def ensure_bundled() -> ModelVersion | None:
    """Register the bundled model as version 1 and activate it, if the registry is empty; return it if so."""
    with transaction.atomic():
        if ModelVersion.objects.exists():
            return None
        card = json.loads((BUNDLED / "model.json").read_text())
        version = register(
            (BUNDLED / "digits.tflite").read_bytes(),
            (BUNDLED / "digits.keras").read_bytes(),
            preprocessing_version=card["preprocessing_version"],
            thresholds=card["thresholds"],
            metrics=card["metrics"],
            notes="bundled",
        )
        promote(version)
    return version
