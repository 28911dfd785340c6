"""Whatever is in a picture, what its reading costs is bounded by its pixels, not by how many things are in them."""

import sys

import cv2
import numpy as np
import pytest
from hypothesis import given, settings, target
from hypothesis import strategies as st

from recognizer.preprocessing import PreprocessingError
from recognizer.preprocessing.picture import picture_to_input
from tests.drawings import canary, picture_of
from tests.patterns import PATTERNS, Grey

MOST_CALLS = 60_000  # of functions, in Python and C, for one picture; a photo takes some thousand
SIDE = 240  # pixels; the dots of a picture then are up to 14,400 parts


def calls_of(picture: Grey) -> int:
    """Count the calls and returns that reading a picture takes: what grows if something is done part by part."""
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    sys.setprofile(count)
    try:
        picture_to_input(picture)
    except PreprocessingError:
        pass
    finally:
        sys.setprofile(None)
    return calls


@pytest.mark.parametrize("name", PATTERNS)
def test_no_pattern_is_read_part_by_part(name: str) -> None:
    assert calls_of(PATTERNS[name](SIDE)) < MOST_CALLS


def test_more_dots_take_no_more_calls() -> None:
    few, many = (PATTERNS["dots, every 3 pixels"](side) for side in (SIDE, 2 * SIDE))

    assert calls_of(many) < 1.2 * calls_of(few)


@settings(max_examples=30)
@given(
    names=st.lists(st.sampled_from(sorted(PATTERNS)), min_size=1, max_size=3),
    darkest=st.integers(0, 200),
    slope=st.integers(0, 200),
    crop=st.integers(120, SIDE),
)
def test_patterns_laid_over_each_other_are_not_read_part_by_part(
    names: list[str], darkest: int, slope: int, crop: int
) -> None:
    laid = np.min([PATTERNS[name](SIDE) for name in names], axis=0)[:crop]
    light = np.linspace(255 - slope, 255, SIDE)
    picture = (darkest + (light - darkest).clip(0) * (laid / 255)).astype(np.uint8)
    calls = calls_of(picture)
    target(float(calls))

    assert calls < MOST_CALLS


@pytest.mark.parametrize("boxes", [36, 100])
def test_a_digit_in_one_of_many_boxes_is_read_without_them(boxes: int) -> None:
    across = round(boxes**0.5)
    digit = picture_of(canary(3), side=64, pen=5, scale=0.4, left=12, top=12)
    form = np.full((64 * across,) * 2, 255, np.uint8)
    form[64 * (across // 2) :, 64 * (across // 2) :][:64, :64] = digit
    for place in range(boxes):
        left, top = 64 * (place % across), 64 * (place // across)
        cv2.rectangle(form, (left + 2, top + 2), (left + 59, top + 59), 0, 2)
    alone, boxed = picture_to_input(digit).astype(int), picture_to_input(form)

    assert np.abs(boxed - alone).sum() < 0.1 * alone.sum()
