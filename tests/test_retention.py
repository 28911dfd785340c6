"""Retention: old drawings are deleted with their corrections, and do not appear in exports."""

from datetime import timedelta
from io import BytesIO
from typing import Any

import pytest
from django.utils.timezone import now

from recognizer.models import Correction, ModelVersion, Submission
from recognizer.tasks import delete_old_drawings
from tests.labels import labelled
from training.exchange.formats import FORMATS
from training.exchange.outgoing import export_dataset

pytestmark = pytest.mark.django_db


@pytest.fixture
def drawings(active_model: ModelVersion) -> dict[str, int]:
    """A drawing of each age and state, by name."""
    made = {}
    for number, state in enumerate(Correction.State):
        for age in (5, 50):
            drawing = labelled(f"p{number}", 3, seed=number, state=state)
            Submission.objects.filter(pk=drawing.pk).update(created=now() - timedelta(days=age))
            made[f"{state} {age}"] = drawing.pk
    return made


def kept(drawings: dict[str, int]) -> set[str]:
    there = set(Submission.objects.values_list("pk", flat=True))
    return {name for name, pk in drawings.items() if pk in there}


def test_nothing_is_deleted_by_default(drawings: dict[str, int]) -> None:
    delete_old_drawings()

    assert kept(drawings) == set(drawings)


def test_old_drawings_without_accepted_label_are_deleted(
    drawings: dict[str, int], settings: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr("recognizer.submissions.AT_ONCE", 1)
    settings.KEEP_DAYS = 30

    delete_old_drawings()

    assert kept(drawings) == {"pending 5", "accepted 5", "rejected 5", "accepted 50"}
    assert Correction.objects.count() == 4


def test_deleted_drawing_is_not_exported(drawings: dict[str, int]) -> None:
    Submission.objects.filter(pk=drawings["accepted 50"]).delete()

    file = BytesIO()
    export_dataset(FORMATS["ndjson"], file)

    assert len(file.getvalue().splitlines()) == 1
