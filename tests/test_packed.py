"""A run's memory is bounded: for each label it keeps a picture and a few points."""

import tracemalloc

import numpy as np
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import given
from hypothesis import strategies as st

from recognizer.engine import engine
from recognizer.mnist import Digits
from recognizer.models import ModelVersion
from tests.labels import bent_ink, labelled
from training import dataset, replay
from training.dataset import DatasetRules, build_dataset
from training.packed import MOST_POINTS, MOST_STROKES, PackedInk
from training.replay import ReplayMix

LARGEST_LABEL = 5_000  # bytes of ink


@given(st.integers(0, 9), st.integers(0, 50))
def test_usual_ink_is_kept_unchanged(digit: int, seed: int) -> None:
    strokes = [np.array(stroke) for stroke in bent_ink(digit, seed)]
    packed = PackedInk.pack(strokes)

    assert packed is not None
    assert [len(stroke) for stroke in packed.strokes()] == [len(stroke) for stroke in strokes]
    assert np.abs(np.concatenate(packed.strokes()) - np.concatenate(strokes)).max() < 1e-4


@pytest.mark.parametrize("strokes", [1, 2, MOST_STROKES])
def test_largest_ink_is_reduced_to_few_points(strokes: int) -> None:
    rng = np.random.default_rng(3)
    packed = PackedInk.pack(np.array_split(rng.uniform(-20_000, 40_000, (10_000, 2)), strokes))

    assert packed is not None
    assert packed.points.nbytes + packed.ends.nbytes <= LARGEST_LABEL
    assert len(packed.strokes()) == strokes
    assert len(packed.points) <= MOST_POINTS + 2 * strokes


def test_ink_of_hundreds_of_strokes_is_learned_as_a_picture() -> None:
    assert PackedInk.pack([np.zeros((20, 2))] * 500) is None


@pytest.mark.slow
@pytest.mark.django_db
@pytest.mark.parametrize("strokes", [1, 20, 500])
def test_dataset_memory_per_label_is_bounded(active_model: ModelVersion, strokes: int) -> None:
    rng = np.random.default_rng(3)
    for number in range(3):
        points = rng.uniform(0, 280, (strokes, 10_000 // strokes, 4)).tolist()
        labelled("person 0", number, seed=number, ink={"strokes": points, "width": 280, "height": 280})
    labels = build_dataset(DatasetRules(), engine.model, []).labels

    assert len(labels) == 3
    for label in labels:
        assert label.image.nbytes == 784
        assert label.ink is None or label.ink.points.nbytes + label.ink.ends.nbytes <= LARGEST_LABEL
        assert (label.ink is None) == (strokes > MOST_STROKES)


def test_memory_for_contrasts_does_not_grow() -> None:
    rng = np.random.default_rng(3)
    mnist = Digits(rng.integers(0, 256, (3000, 28, 28), np.uint8), rng.integers(0, 10, 3000).astype(np.uint8))

    def peak(drawings: int) -> int:
        chosen = slice(0, drawings)
        tracemalloc.start()
        found = replay._contrasts(mnist, Digits(mnist.images[chosen], mnist.labels[chosen]), ReplayMix())
        assert len(found) <= ReplayMix().most_contrasts
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    assert peak(20 * replay.AT_ONCE) < 1.5 * peak(2 * replay.AT_ONCE)


@pytest.mark.django_db
def test_dataset_is_read_in_small_batches_in_order(active_model: ModelVersion, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [labelled(f"person {number}", number, seed=number) for number in range(5)]
    monkeypatch.setattr(dataset, "FETCHED_AT_ONCE", 2)
    with CaptureQueriesContext(connection) as queries:
        read = [correction.submission_id for correction in dataset._accepted(4)]

    assert read == [row.pk for row in rows[:0:-1]]
    assert sum('"ink"' in query["sql"] for query in queries) == 2
