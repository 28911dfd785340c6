"""Near-duplicates are distinguished from drawings that only show the same digit."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from recognizer.preprocessing import ModelInput, ink_to_input
from recognizer.similarity import NEAR_DUPLICATE, SAME_DRAWING, groups, has_neighbour, signatures
from tests.drawings import CANARIES

Ink = list[np.ndarray]

INKS: list[Ink] = [[np.array(stroke, np.float64) for stroke in drawn["strokes"]] for drawn in CANARIES]
INPUTS = np.stack([ink_to_input(ink, 100) for ink in INKS])
DIGITS = np.array([drawn["digit"] for drawn in CANARIES])


def traced_again(ink: Ink) -> ModelInput:
    rng = np.random.default_rng(4)
    return ink_to_input([stroke + rng.normal(0, 0.8, stroke.shape) for stroke in ink], 100)


def turned(ink: Ink) -> ModelInput:
    angle = np.deg2rad(2)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return ink_to_input([stroke @ turn * 1.03 for stroke in ink], 100)


def recompressed(ink: Ink) -> ModelInput:
    _, jpeg = cv2.imencode(".jpg", ink_to_input(ink, 100), [cv2.IMWRITE_JPEG_QUALITY, 50])
    return np.asarray(cv2.imdecode(jpeg, cv2.IMREAD_GRAYSCALE), np.uint8)


@pytest.mark.parametrize(
    "copy, threshold",
    [(traced_again, NEAR_DUPLICATE), (turned, NEAR_DUPLICATE), (recompressed, SAME_DRAWING)],
)
def test_copy_of_a_drawing_is_found(copy: Callable[[Ink], ModelInput], threshold: float) -> None:
    copies = signatures(np.stack([copy(ink) for ink in INKS]))

    assert ((copies * signatures(INPUTS)).sum(axis=1) >= threshold).all()


@pytest.mark.parametrize("digit", range(10))
def test_different_digits_are_not_duplicates(digit: int) -> None:
    signed, shows_it = signatures(INPUTS), np.equal(DIGITS, digit)

    assert not has_neighbour(signed[shows_it], signed[~shows_it]).any()


def test_comparison_in_blocks_gives_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    signed = signatures(INPUTS)
    whole = has_neighbour(signed[:10], signed[10:], 0.8), groups(signed, 0.8)
    monkeypatch.setattr("recognizer.similarity.BLOCK", 3 * len(signed))
    blocks = has_neighbour(signed[:10], signed[10:], 0.8), groups(signed, 0.8)

    assert all(np.array_equal(one, other) for one, other in zip(whole, blocks, strict=True))
    assert whole[0].any() and not whole[0].all()


def test_neighbours_are_reported_per_drawing() -> None:
    signed = signatures(INPUTS)

    assert has_neighbour(signed, signed[:5]).tolist()[:5] == [True] * 5
    assert not has_neighbour(signed, signed[:0]).any()


def test_chains_of_duplicates_form_one_group() -> None:
    corners = np.zeros((5, 196), np.float32)
    for row, angle in enumerate([0.0, 0.2, 0.4, 1.4, 1.5]):
        corners[row, :2] = np.cos(angle), np.sin(angle)

    assert groups(corners[[3, 0, 2, 4, 1]], threshold=0.97).tolist() == [0, 1, 1, 0, 1]
    assert groups(corners[:0]).tolist() == []


def test_empty_input_has_no_neighbour() -> None:
    blank = signatures(np.zeros((1, 28, 28), np.uint8))

    assert not has_neighbour(blank, signatures(INPUTS)).any()
