"""Ink → model input: the right shape and MNIST's geometry, independent of how the path was drawn."""

from itertools import pairwise
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recognizer.preprocessing import NoInkError, Stroke, ink_to_input
from tests.drawings import CANARIES

coordinates = st.floats(-100, 400, allow_nan=False, width=32)
strokes = st.lists(
    st.lists(st.tuples(coordinates, coordinates), min_size=1, max_size=30).map(
        lambda points: np.array(points, np.float64)
    ),
    min_size=1,
    max_size=6,
)
digits = st.sampled_from(CANARIES).map(lambda canary: [np.array(stroke, np.float64) for stroke in canary["strokes"]])


def difference(one: np.ndarray, other: np.ndarray) -> float:
    """Return the share of ink that differs between two inputs."""
    return float(np.abs(one.astype(int) - other).sum() / max(int(one.sum()), 1))


@given(strokes)
def test_any_ink_gives_input_of_right_shape_with_ink(ink: list[Stroke]) -> None:
    drawn = ink_to_input(ink, 300)

    assert drawn.shape == (28, 28)
    assert drawn.dtype == np.uint8
    assert drawn.max() > 128


@given(digits, st.floats(0.1, 10), st.floats(-1e4, 1e4), st.floats(-1e4, 1e4))
def test_position_and_size_do_not_matter(ink: list[Stroke], scale: float, left: float, top: float) -> None:
    moved = [stroke * scale + (left, top) for stroke in ink]

    assert difference(ink_to_input(ink, 100), ink_to_input(moved, 100 * scale)) < 0.02


@given(digits, st.randoms(use_true_random=False))
def test_stroke_order_and_direction_do_not_matter(ink: list[Stroke], random: Random) -> None:
    other = [stroke[::-1] for stroke in ink]
    random.shuffle(other)

    assert difference(ink_to_input(ink, 100), ink_to_input(other, 100)) < 0.02


@given(digits, st.integers(2, 6))
def test_sampling_density_does_not_matter(ink: list[Stroke], times: int) -> None:
    denser = [
        np.concatenate([np.linspace(a, b, times, endpoint=False) for a, b in pairwise(s)] + [s[-1:]]) for s in ink
    ]

    assert difference(ink_to_input(ink, 100), ink_to_input(denser, 100)) < 0.06


@given(digits)
def test_digit_has_mnist_geometry(ink: list[Stroke]) -> None:
    drawn = ink_to_input(ink, 100).astype(float)
    rows, columns = np.nonzero(drawn > 100)
    longest = max(np.ptp(rows), np.ptp(columns)) + 1
    middle = [float((drawn.sum(axis=axis) * np.arange(28)).sum() / drawn.sum()) for axis in (1, 0)]

    assert 19 <= longest <= 21
    assert middle == pytest.approx([13.5, 13.5], abs=0.5)


@pytest.mark.parametrize("jitter", [0, 0.5, 2])
def test_tap_stays_a_dot(jitter: float) -> None:
    drawn = ink_to_input([np.array([[100, 100], [100 + jitter, 100 + jitter]])], 280)

    assert 0 < (drawn > 100).sum() <= 30


@pytest.mark.parametrize("ink", [[], [np.empty((0, 2))]])
def test_empty_ink_is_an_error(ink: list[Stroke]) -> None:
    with pytest.raises(NoInkError):
        ink_to_input(ink, 280)
