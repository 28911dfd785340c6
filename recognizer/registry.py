"""The model registry: registers versions with their bytes, and moves the one pointer that says which serves."""

import hashlib
import json
from pathlib import Path
from typing import Any

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.db import transaction
from django.db.models import Max
from django.utils.timezone import now

from recognizer.models import ModelFile, ModelVersion, Promotion

BUNDLED = Path(__file__).parent / "bundled"

KEPT_SERVING = 10  # versions that served, the latest: their bytes stay, so that each can serve again at once
KEPT_REJECTED = 3  # versions that failed their gates, the latest: their bytes stay for whoever wants to know why


class PrunedError(RuntimeError):
    """A version's bytes are no longer kept, so it cannot serve."""


def register(
    artifact: bytes,
    checkpoint: bytes | None,
    *,
    preprocessing_version: int,
    thresholds: dict[str, float],
    metrics: dict[str, Any],
    parent: ModelVersion | None = None,
    lineage: dict[str, Any] | None = None,
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
            lineage=lineage or {},
            notes=notes,
        )
        files = {ModelFile.Kind.ARTIFACT: artifact, ModelFile.Kind.CHECKPOINT: checkpoint}
        for kind, content in files.items():
            if content is not None:
                digest = hashlib.sha256(content).hexdigest()
                ModelFile.objects.create(version=version, kind=kind, sha256=digest, size=len(content), content=content)
    return version


def promote(
    version: ModelVersion,
    cause: Promotion.Cause = Promotion.Cause.HAND,
    by: AbstractBaseUser | AnonymousUser | None = None,
    reason: str = "",
) -> None:
    """Make a version the active one, whatever it was; the one before it retires. Also how to roll back.

    Raises:
        PrunedError: its bytes are gone.
    """
    with transaction.atomic():
        active = ModelVersion.objects.filter(state=ModelVersion.State.ACTIVE)
        previous = next(iter(active.select_for_update()), None)  # two at once go one after the other
        if not version.files.filter(kind=ModelFile.Kind.ARTIFACT).exists():
            raise PrunedError(f"The bytes of {version} are no longer kept.")
        active.exclude(pk=version.pk).update(state=ModelVersion.State.RETIRED)
        ModelVersion.objects.filter(pk=version.pk).update(state=ModelVersion.State.ACTIVE, activated=now())
        if previous is None or previous.pk != version.pk:
            Promotion.objects.create(
                version=version, previous=previous, cause=cause, reason=reason, by_id=by.pk if by else None
            )
    version.refresh_from_db(fields=["state", "activated"])


def reject(version: ModelVersion) -> None:
    """Note that a candidate failed its gates; it is kept, and can still be made active by hand."""
    ModelVersion.objects.filter(pk=version.pk, state=ModelVersion.State.CANDIDATE).update(
        state=ModelVersion.State.REJECTED
    )
    version.refresh_from_db(fields=["state"])


def prune() -> int:
    """Drop the bytes of versions that nobody is likely to want again; their rows and reports stay.

    The active version, the one before it and the bundled one are never among them, nor is a candidate.

    Returns:
        How many versions lost their bytes.
    """
    with_bytes = ModelVersion.objects.filter(files__isnull=False).distinct()
    served = with_bytes.filter(state=ModelVersion.State.RETIRED, activated__isnull=False).order_by("-activated")
    rejected = with_bytes.filter(state=ModelVersion.State.REJECTED).order_by("-version")
    last = Promotion.objects.select_related("previous").first()
    kept = {1, last.previous.version} if last and last.previous else {1}
    old = [
        *[row for row in served if row.version not in kept][KEPT_SERVING:],
        *[row for row in rejected if row.version not in kept][KEPT_REJECTED:],
    ]
    ModelFile.objects.filter(version__in=old).exclude(version__state=ModelVersion.State.ACTIVE).delete()
    return len(old)


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
        promote(version, Promotion.Cause.BUNDLED)
    return version
