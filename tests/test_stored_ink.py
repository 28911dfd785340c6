"""Stored ink: exact to a tenth of a pixel, bounded in size, and equal to the input that the model saw."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recognizer.models import Submission
from recognizer.preprocessing import ink_to_input
from recognizer.preprocessing.stored import STORED, Lists, stored_form, thinned
from tests.conftest import Visitor
from tests.drawings import CANARIES, THREE

LARGEST = 64 * 1024  # bytes
MOST = 10_000  # points that the API accepts

coordinates = st.floats(-100, 400, allow_nan=False)
strokes = st.lists(
    st.lists(st.tuples(coordinates, coordinates), min_size=1, max_size=30).map(np.array), min_size=1, max_size=6
)
digits = st.sampled_from(CANARIES).map(lambda canary: [np.array(stroke, np.float64) for stroke in canary["strokes"]])


def drawn(stored: Lists, surface: float) -> np.ndarray:
    return ink_to_input([np.array(stroke)[:, :2] for stroke in stored], surface)


@pytest.mark.slow
@given(strokes, st.sampled_from([300.0, 400.0, 20_000.0]))
def test_rounding_keeps_model_input(ink: list[np.ndarray], surface: float) -> None:
    stored, image = stored_form(ink, surface)

    assert np.array_equal(image, ink_to_input(ink, surface))
    assert np.array_equal(image, drawn(stored, surface))


@given(digits, st.floats(0.005, 100), st.floats(0, 1))
def test_size_and_surface_keep_model_input(ink: list[np.ndarray], scale: float, place: float) -> None:
    moved = [stroke * scale + place * scale for stroke in ink]
    stored, image = stored_form(moved, 100 * scale)

    assert np.array_equal(image, ink_to_input(moved, 100 * scale))
    assert np.array_equal(image, drawn(stored, 100 * scale))


def test_pen_data_is_rounded_when_stored() -> None:
    stored, _ = stored_form(
        [np.array([[10.1, 20.2, 1700000000000.4, 0.51249], [200.3, 250.4, 1700000000008.6, 2]])], 280
    )

    assert stored == [[[10.1, 20.2, 1700000000000, 0.512], [200.3, 250.4, 1700000000009, 1]]]


def test_impossible_times_and_pressures_are_clamped(visitor: Visitor) -> None:
    answer = visitor.draw({"strokes": [[[70, 60, -1e15, -3], [200, 60, 1e15, 1e15]]], "width": 280, "height": 280})

    stored = Submission.objects.get(pk=answer["id"]).ink
    assert stored and stored["strokes"] == [[[70, 60, 0, 0], [200, 60, 10**13 - 1, 1]]]


def scrawl(points: int, strokes: int = 1, axes: int = 4) -> list[np.ndarray]:
    """The largest ink that the API accepts, at random points."""
    rng = np.random.default_rng(7)
    low, high = ([-20_000, -20_000, 0, 0], [40_000, 40_000, 1e15, 1])
    return np.split(rng.uniform(low, high, (points, 4))[:, :axes], strokes)


def spiral() -> list[np.ndarray]:
    turn = np.linspace(0, 1, MOST)
    x, y = (140 + 130 * turn * axis(600 * turn) for axis in (np.cos, np.sin))
    return [np.column_stack([x, y, 4.0 * np.arange(MOST), np.full(MOST, 0.512)])]


LARGE: dict[str, Callable[[], tuple[list[np.ndarray], float]]] = {
    "one stroke": lambda: (scrawl(MOST), 20_000),
    "five hundred strokes": lambda: (scrawl(MOST, 500), 20_000),
    "a thousand points in five hundred strokes": lambda: (scrawl(1000, 500), 20_000),
    "places only": lambda: (scrawl(MOST, 1, 2), 20_000),
    "on a surface of one pixel": lambda: ([stroke / 20_000 for stroke in scrawl(MOST, 500)], 1),
    "a spiral": lambda: (spiral(), 280),
    "all points in one place": lambda: ([np.full((MOST, 4), 5.123456789)], 280),
    "each stroke in one place": lambda: ([np.full((20, 4), number + 0.123) for number in range(500)], 20_000),
    "one point far away": lambda: ([np.concatenate([scrawl(MOST - 1)[0] / 1e6, [[20_000, 20_000, 0, 0]]])], 20_000),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_largest_ink_is_stored_in_64_kb_with_same_input(visitor: Visitor, name: str) -> None:
    ink, surface = LARGE[name]()
    body = {"strokes": [stroke.tolist() for stroke in ink], "width": surface, "height": surface}
    answer = visitor.draw(body)
    preview = visitor.post("/api/v1/previews", body, content_type="application/json").json()

    row = Submission.objects.get(pk=answer["id"])
    assert row.ink is not None
    assert len(json.dumps(row.ink)) <= LARGEST
    assert drawn(row.ink["strokes"], surface).tobytes() == bytes(row.input)
    assert preview["input"] == answer["input"]


def test_digit_of_ten_thousand_points_is_thinned_without_visible_change() -> None:
    stored, image = stored_form(spiral(), 280)

    difference = np.abs(image.astype(int) - ink_to_input([stroke[:, :2] for stroke in spiral()], 280))
    assert STORED.largest / 2 < len(json.dumps(stored)) <= STORED.largest
    assert difference.mean() < 1  # of 255 grey levels
    assert stored[0][0][:2] == [140, 140] and stored[0][-1][:2] == pytest.approx(spiral()[0][-1, :2], abs=0.05)


@pytest.mark.slow
@given(strokes, st.integers(0, 40))
def test_thinning_keeps_ends_of_strokes(ink: list[np.ndarray], most: int) -> None:
    kept = thinned(ink, most)

    assert sum(map(len, kept)) <= most + 2 * len(ink)
    for stroke, points in zip(ink, kept, strict=True):
        assert points[0].tolist() == stroke[0].tolist() and points[-1].tolist() == stroke[-1].tolist()


def test_usual_drawing_is_stored_unchanged(visitor: Visitor) -> None:
    body: dict[str, Any] = THREE | {"strokes": [[[x, y, 8 * i, 0.5] for i, (x, y) in enumerate(THREE["strokes"][0])]]}
    visitor.draw(body)

    stored = Submission.objects.get().ink
    assert stored and stored["strokes"] == body["strokes"]
