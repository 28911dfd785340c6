"""The model registry: registers versions with their bytes, and changes the active version."""

import hashlib
import json
from pathlib import Path
from typing import Any

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.db import transaction
from django.db.models import F, Max, Q, QuerySet
from django.utils.timezone import now

from recognizer.models import ModelFile, ModelVersion, Promotion

BUNDLED = Path(__file__).parent / "bundled"
FIRST_VERSION = 1  # always a bundled model
SHIPPED = {"shipped": True}  # lineage of the bundled models of this and earlier releases; they are never pruned

KEPT_SERVING = 10  # latest versions that served: their bytes are kept for rollbacks
KEPT_REJECTED = 3  # latest versions that failed their gates: their bytes are kept for analysis


class UnservableError(RuntimeError):
    """A version cannot be activated: its bytes are damaged, or no process here would load them."""


class PrunedError(UnservableError):
    """A version's bytes were pruned, so it cannot serve."""


class FileError(RuntimeError):
    """A version's file cannot be used: it is no longer kept, or damaged."""


def register(
    artifact: bytes,
    checkpoint: bytes | None,
    *,
    preprocessing_version: int,
    thresholds: dict[str, float],
    metrics: dict[str, Any],
    parent: ModelVersion | None = None,
    gate_report: list[dict[str, Any]] | None = None,
    lineage: dict[str, Any] | None = None,
    notes: str = "",
) -> ModelVersion:
    """Store a model with its bytes and their SHA-256 digests as the next version, a candidate."""
    with transaction.atomic():
        _lock()
        last = ModelVersion.objects.aggregate(last=Max("version"))["last"] or 0
        version = ModelVersion.objects.create(
            version=last + 1,
            parent=parent,
            preprocessing_version=preprocessing_version,
            thresholds=thresholds,
            metrics=metrics,
            gate_report=gate_report,
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
    """Make a version active, whatever its state; the previous one retires. Rollbacks use this too.

    Only the existence of the bytes is checked. Callers must have loaded the version (`recognizer.activation`) or run
    its gates. If the version is already active, nothing happens.

    Raises:
        PrunedError: its bytes were pruned.
    """
    with transaction.atomic():
        _lock()
        if not has_artifact(version):
            raise PrunedError(f"The files of {version} are no longer kept.")
        previous = active_version()
        if previous is None or previous.pk != version.pk:
            ModelVersion.objects.filter(state=ModelVersion.State.ACTIVE).update(state=ModelVersion.State.RETIRED)
            ModelVersion.objects.filter(pk=version.pk).update(state=ModelVersion.State.ACTIVE, activated=now())
            Promotion.objects.create(
                version=version, previous=previous, cause=cause, reason=reason, by_id=by.pk if by else None
            )
    version.refresh_from_db(fields=["state", "activated"])


def roll_back(promotion: Promotion, version: ModelVersion, reason: str) -> bool:
    """Undo the newest promotion by making a version active; do nothing if there was another promotion since.

    Returns:
        Whether it was undone.

    Raises:
        PrunedError: the bytes of `version` were pruned.
    """
    with transaction.atomic():
        _lock()
        if Promotion.objects.values_list("pk", flat=True).first() != promotion.pk:
            return False
        promote(version, Promotion.Cause.ROLLBACK, reason=reason)
    return True


def reject(version: ModelVersion) -> None:
    """Mark a candidate as rejected by its gates; it can still be activated by hand."""
    ModelVersion.objects.filter(pk=version.pk, state=ModelVersion.State.CANDIDATE).update(
        state=ModelVersion.State.REJECTED
    )
    version.refresh_from_db(fields=["state"])


def prune() -> int:
    """Delete the bytes of old versions; their rows and reports stay.

    The active version, the one before it, bundled versions and candidates are never pruned.

    Returns:
        The number of pruned versions.
    """
    with transaction.atomic():
        _lock()  # so that nobody activates a version while it is pruned
        old = _old_versions()
        ModelFile.objects.filter(version__in=old).delete()
    return len(old)


def _old_versions() -> list[int]:
    """Return the primary keys of the versions that `prune` may prune."""
    last = Promotion.objects.select_related("previous").first()
    kept = {last.previous.pk} if last and last.previous else set()
    bundled = bundled_versions().values_list("pk", flat=True)
    others = ModelVersion.objects.filter(files__isnull=False).exclude(pk__in=kept | set(bundled)).distinct()
    served = others.filter(state=ModelVersion.State.RETIRED).order_by(F("activated").desc(nulls_last=True))
    rejected = others.filter(state=ModelVersion.State.REJECTED).order_by("-version")
    return [
        *served.values_list("pk", flat=True)[KEPT_SERVING:],
        *rejected.values_list("pk", flat=True)[KEPT_REJECTED:],
    ]


def active_version() -> ModelVersion | None:
    """Return the active version, or None before the first one is registered."""
    return ModelVersion.objects.filter(state=ModelVersion.State.ACTIVE).first()


def has_artifact(version: ModelVersion) -> bool:
    """Return whether a version's artifact is still stored."""
    return ModelFile.objects.filter(version=version, kind=ModelFile.Kind.ARTIFACT).exists()


def read_file(version: ModelVersion, kind: ModelFile.Kind) -> bytes:
    """Return one of a version's files as it was registered.

    Raises:
        FileError: it is gone or damaged.
    """
    name = kind.name.lower()
    file = ModelFile.objects.filter(version=version, kind=kind).first()
    if file is None:
        raise FileError(f"{version} has no {name}")
    content = bytes(file.content)
    if hashlib.sha256(content).hexdigest() != file.sha256:
        raise FileError(f"the {name} of {version} is damaged: its sha256 is not the one recorded")
    return content


def bundled_versions() -> QuerySet[ModelVersion]:
    """Return the bundled versions, the latest release's first."""
    return ModelVersion.objects.filter(Q(version=FIRST_VERSION) | Q(lineage=SHIPPED))


def base_of(version: ModelVersion) -> ModelVersion:
    """Return the root of a version's lineage; a bundled model is its own root."""
    while version.parent is not None:
        version = version.parent
    return version


def ensure_bundled() -> ModelVersion | None:
    """Register the bundled model if the registry lacks it; return the new version, or None.

    In an empty registry it becomes version 1. After an upgrade it is activated if an earlier bundled model is active;
    if the site has trained its own model, it stays a candidate that staff can activate.
    """
    card = json.loads((BUNDLED / "model.json").read_text())
    with transaction.atomic():
        _lock()
        if ModelFile.objects.filter(kind=ModelFile.Kind.ARTIFACT, sha256=card["sha256"]["tflite"]).exists():
            return None
        version = register(
            (BUNDLED / "digits.tflite").read_bytes(),
            (BUNDLED / "digits.keras").read_bytes(),
            preprocessing_version=card["preprocessing_version"],
            thresholds=card["thresholds"],
            metrics=card["metrics"],
            lineage=SHIPPED,
            notes="bundled",
        )
        active = active_version()
        if active is None or bundled_versions().filter(pk=active.pk).exists():
            promote(version, Promotion.Cause.BUNDLED)
    return version


def _lock() -> None:
    """Lock the registry until the transaction ends, so that changes to it are serialised.

    SQLite does so by itself (IMMEDIATE). Elsewhere the lock is the first version's row, which always exists. The active
    row would not work: after waiting for it, a transaction finds it inactive and concludes that no version is active.
    `no_key`: inserting a submission that refers to the version does not wait.
    """
    first = ModelVersion.objects.select_for_update(no_key=True).filter(version=FIRST_VERSION)
    list(first.values_list("pk"))
