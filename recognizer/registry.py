"""The model registry: registers versions with their bytes, and moves the one pointer that says which serves."""

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
FIRST_VERSION = 1  # what an empty registry begins with, always a bundled model
SHIPPED = {"shipped": True}  # the lineage of every bundled model, this release's and earlier ones'; never pruned

KEPT_SERVING = 10  # versions that served, the latest: their bytes stay, so that each can serve again at once
KEPT_REJECTED = 3  # versions that failed their gates, the latest: their bytes stay for whoever wants to know why


class UnservableError(RuntimeError):
    """A version cannot be made active: its bytes are damaged, or no process here would load them."""


class PrunedError(UnservableError):
    """A version's bytes are no longer kept, so it cannot serve."""


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
    """Store a model as the next version, a candidate, with its bytes and their digests."""
    with transaction.atomic():
        _take_turns()
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
    """Make a version the active one, whatever it was; the one before it retires. Also how to roll back.

    It looks whether the bytes are there, not whether they run: who calls has proved that (`recognizer.activation`), or
    has judged the version by its gates. If it is active already, nothing happens.

    Raises:
        PrunedError: its bytes are gone.
    """
    with transaction.atomic():
        _take_turns()
        if not has_artifact(version):
            raise PrunedError(f"The bytes of {version} are no longer kept.")
        previous = active_version()
        if previous is None or previous.pk != version.pk:
            ModelVersion.objects.filter(state=ModelVersion.State.ACTIVE).update(state=ModelVersion.State.RETIRED)
            ModelVersion.objects.filter(pk=version.pk).update(state=ModelVersion.State.ACTIVE, activated=now())
            Promotion.objects.create(
                version=version, previous=previous, cause=cause, reason=reason, by_id=by.pk if by else None
            )
    version.refresh_from_db(fields=["state", "activated"])


def roll_back(promotion: Promotion, version: ModelVersion, reason: str) -> bool:
    """Undo the newest promotion by making a version active; do nothing if the pointer has moved since.

    Returns:
        Whether it was undone.

    Raises:
        PrunedError: the bytes of the version to go back to are gone.
    """
    with transaction.atomic():
        _take_turns()
        if Promotion.objects.values_list("pk", flat=True).first() != promotion.pk:
            return False
        promote(version, Promotion.Cause.ROLLBACK, reason=reason)
    return True


def reject(version: ModelVersion) -> None:
    """Note that a candidate failed its gates; it is kept, and can still be made active by hand."""
    ModelVersion.objects.filter(pk=version.pk, state=ModelVersion.State.CANDIDATE).update(
        state=ModelVersion.State.REJECTED
    )
    version.refresh_from_db(fields=["state"])


def prune() -> int:
    """Drop the bytes of versions that nobody is likely to want again; their rows and reports stay.

    The active version, the one before it and the bundled ones are never among them, nor is a candidate.

    Returns:
        How many versions lost their bytes.
    """
    with transaction.atomic():
        _take_turns()  # so that nobody activates what is being dropped
        old = _old_versions()
        ModelFile.objects.filter(version__in=old).delete()
    return len(old)


def _old_versions() -> list[int]:
    """Return the rows that `prune` may take, by primary key."""
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
    """Return the version that serves, or None before the first is registered."""
    return ModelVersion.objects.filter(state=ModelVersion.State.ACTIVE).first()


def has_artifact(version: ModelVersion) -> bool:
    """Whether a version's bytes are still kept."""
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
    """Return the models that shipped, the latest release's first."""
    return ModelVersion.objects.filter(Q(version=FIRST_VERSION) | Q(lineage=SHIPPED))


def base_of(version: ModelVersion) -> ModelVersion:
    """Return what a version was fine-tuned from in the beginning; a bundled model is its own."""
    while version.parent is not None:
        version = version.parent
    return version


def ensure_bundled() -> ModelVersion | None:
    """Register the bundled model if the registry has not got it; return it if so.

    In an empty registry it is version 1. After an upgrade it serves if an earlier release's did; where the site has
    learned a model of its own, it waits as a candidate, for staff to make it active.
    """
    card = json.loads((BUNDLED / "model.json").read_text())
    with transaction.atomic():
        _take_turns()
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


def _take_turns() -> None:
    """Let those who change the registry go one after the other, until the transaction ends.

    SQLite does so by itself (IMMEDIATE). Elsewhere the first version's row, which is always there, is the lock; not the
    active one's, for whoever waited on that finds it no longer active and would take the registry to have none.
    `no_key`: a submission's reference to the version does not wait.
    """
    first = ModelVersion.objects.select_for_update(no_key=True).filter(version=FIRST_VERSION)
    list(first.values_list("pk"))
