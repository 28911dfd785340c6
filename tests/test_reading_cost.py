"""The cost of reading a picture is bounded by its pixels, not by the number of things in it."""

import io
import sys
import tracemalloc
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings, target
from hypothesis import strategies as st
from PIL import Image

from recognizer.preprocessing import PreprocessingError
from recognizer.preprocessing.containers import MOST_READS, without_metadata
from recognizer.preprocessing.decoding import decode_picture
from recognizer.preprocessing.picture import picture_to_input
from tests.drawings import canary, picture_of
from tests.hostile_files import FILES, chunk, exif, png, saved, scans
from tests.patterns import PATTERNS, Grey

MOST_CALLS = 60_000  # calls in Python and C for one picture; a photo takes a few thousand
MOST_CALLS_OF_A_FILE = 8 * MOST_READS  # each read counts four: two calls and two returns
SIDE = 240  # pixels; the dots of a picture then are up to 14,400 parts


def calls_of(read: Callable[[Any], object], picture: Grey | bytes) -> int:
    """Count the calls and returns during a reading: they grow if work is done part by part or byte by byte."""
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    sys.setprofile(count)
    try:
        read(picture)
    except PreprocessingError:
        pass
    finally:
        sys.setprofile(None)
    return calls


@pytest.mark.slow
@pytest.mark.parametrize("name", PATTERNS)
def test_cost_of_pattern_is_bounded(name: str) -> None:
    assert calls_of(picture_to_input, PATTERNS[name](SIDE)) < MOST_CALLS


def test_cost_of_four_times_the_dots_is_bounded() -> None:
    assert calls_of(picture_to_input, PATTERNS["dots, every 3 pixels"](2 * SIDE)) < MOST_CALLS


@pytest.mark.slow
@settings(max_examples=30)
@given(
    names=st.lists(st.sampled_from(sorted(PATTERNS)), min_size=1, max_size=3),
    darkest=st.integers(0, 200),
    slope=st.integers(0, 200),
    crop=st.integers(120, SIDE),
)
def test_cost_of_combined_patterns_is_bounded(names: list[str], darkest: int, slope: int, crop: int) -> None:
    laid = np.min([PATTERNS[name](SIDE) for name in names], axis=0)[:crop]
    light = np.linspace(255 - slope, 255, SIDE)
    picture = (darkest + (light - darkest).clip(0) * (laid / 255)).astype(np.uint8)
    calls = calls_of(picture_to_input, picture)
    target(float(calls))

    assert calls < MOST_CALLS


@pytest.mark.parametrize("boxes", [36, 100])
def test_digit_in_one_of_many_boxes_is_read_alone(boxes: int) -> None:
    across = round(boxes**0.5)
    digit = picture_of(canary(3), side=64, pen=5, scale=0.4, left=12, top=12)
    form = np.full((64 * across,) * 2, 255, np.uint8)
    form[64 * (across // 2) :, 64 * (across // 2) :][:64, :64] = digit
    for place in range(boxes):
        left, top = 64 * (place % across), 64 * (place // across)
        cv2.rectangle(form, (left + 2, top + 2), (left + 59, top + 59), 0, 2)
    alone, boxed = picture_to_input(digit).astype(int), picture_to_input(form)

    assert np.abs(boxed - alone).sum() < 0.1 * alone.sum()


# Files


BLOCKS = [name for name in FILES if not name.endswith("MP")]


@pytest.mark.slow
@pytest.mark.parametrize("name", BLOCKS)
def test_cost_of_file_with_many_blocks_is_bounded(name: str) -> None:
    content = FILES[name]()

    assert calls_of(decode_picture, content) < MOST_CALLS_OF_A_FILE


def test_profiles_and_texts_are_not_decompressed() -> None:
    bombs = FILES["PNG of colour profiles"](), FILES["PNG of packed texts"]()

    assert [without_metadata(bomb) for bomb in bombs] == [png(), png()]


def test_shared_exif_entries_do_not_fill_memory() -> None:
    content = png(before=chunk(b"eXIf", exif(1000, 100_000)))
    tracemalloc.start()
    decode_picture(content)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < 20_000_000


@pytest.mark.slow
def test_jpeg_with_too_many_scans_is_refused() -> None:
    with pytest.raises(PreprocessingError, match="more scans than its size allows"):
        decode_picture(scans(32, (5000, 4000), "L"))


@pytest.mark.parametrize(
    ("form", "mode"),
    [("PNG", mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")]
    + [("JPEG", mode) for mode in ("L", "RGB", "CMYK")],
)
def test_pixels_are_the_same_without_metadata(form: str, mode: str) -> None:
    buffer = io.BytesIO()
    colours = np.random.default_rng(0).integers(0, 255, (30, 40, 3)).astype(np.uint8)
    notes: dict[str, Any] = {"icc_profile": b"profile", "exif": b"Exif\0\0" + exif(3), "comment": b"said"}
    Image.fromarray(colours).convert("L" if mode == "I;16" else mode).convert(mode).save(buffer, form, **notes)
    content = buffer.getvalue()
    bare = without_metadata(content)
    whole, without = (np.asarray(Image.open(io.BytesIO(file)).convert("RGBA")) for file in (content, bare))

    assert b"profile" not in bare
    assert (whole == without).all()


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_exif_orientation_is_kept(form: str) -> None:
    lying = saved(form, (40, 30), exif=b"Exif\0\0" + exif(3))

    assert decode_picture(lying).shape == (40, 30)


def test_pair_of_pictures_from_phone_is_read_as_jpeg() -> None:
    buffer = io.BytesIO()
    pictures = [Image.new("L", (4400, 3000), 255) for _ in range(2)]
    pictures[0].save(buffer, "MPO", save_all=True, append_images=pictures[1:])

    assert decode_picture(buffer.getvalue()).shape == (682, 1000)
