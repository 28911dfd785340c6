"""Validates client input and converts it to a `Drawing`. Checking ink always costs less than reading the digit."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from operator import ge, le
from typing import Any

import numpy as np

from recognizer.labels import RANGE, Label, is_label
from recognizer.metrics import PREPROCESSING_SECONDS
from recognizer.preprocessing.decoding import decode_picture, storable_picture
from recognizer.preprocessing.picture import picture_to_input
from recognizer.preprocessing.stored import Points, stored_form
from recognizer.submissions import Drawing


class InvalidInputError(ValueError):
    """The input is invalid; `field` names the invalid part, None means all of it."""

    def __init__(self, field: str | None, message: str) -> None:
        super().__init__(message)
        self.field = field


LONGEST_ROW_NUMBER = 18  # digits: more may be too many for 64 bits


@dataclass(frozen=True, slots=True)
class InkLimits:
    """Limits of ink."""

    points: int = 10_000
    strokes: int = 500
    surface: tuple[float, float] = (1.0, 20_000.0)  # width and height, pixels
    overshoot: float = 1.0  # share of the surface: how far points may lie outside it
    largest: float = 1e15  # maximum of any number in a point; stored times and pressures have tighter limits


LIMITS = InkLimits()
DATA_URL = "data:image/"


def parse_drawing(body: Any) -> Drawing:
    """Validate a submission's body in any of its three forms, and preprocess it.

    Raises:
        InvalidInputError: a field is missing, malformed or out of range.
        PreprocessingError: there is no ink, or the picture cannot be decoded.
    """
    if not isinstance(body, Mapping):
        raise InvalidInputError(None, "Send an object with `strokes`, `width` and `height`, or with `image`.")
    if "image" in body:
        with PREPROCESSING_SECONDS.labels("picture").time():
            return _picture(body["image"])
    if "strokes" in body:
        with PREPROCESSING_SECONDS.labels("ink").time():
            return _ink(body)
    raise InvalidInputError(None, "Send `strokes` with `width` and `height`, or `image`.")


def parse_label(body: Any) -> Label:
    """Validate a correction's body: `{"digit": 7}`, or `{"digit": null}` for not a digit.

    Raises:
        InvalidInputError: the body is neither.
    """
    if not isinstance(body, Mapping) or "digit" not in body:
        raise InvalidInputError("digit", "This field is required.")
    digit = body["digit"]
    if not is_label(digit):
        raise InvalidInputError("digit", f"Expected a whole number from {RANGE}, or null for not a digit.")
    return digit  # type: ignore[no-any-return]


def parse_row_number(text: Any) -> int | None:
    """Read the number of a row, of a size that a database can compare with; None if it is not one."""
    fits = isinstance(text, str) and text.isascii() and text.isdecimal() and len(text) <= LONGEST_ROW_NUMBER
    return int(text) if fits else None


def _picture(image: Any) -> Drawing:
    if isinstance(image, str):
        content = _from_data_url(image)
    elif hasattr(image, "read"):
        content = image.read()
    else:
        raise InvalidInputError("image", "Expected a file or a data URL of a picture.")
    picture = decode_picture(content)
    return Drawing(picture_to_input(picture), picture=storable_picture(picture))


def _from_data_url(text: str) -> bytes:
    head, comma, payload = text.partition(",")
    if not (head.startswith(DATA_URL) and head.endswith(";base64") and comma):
        raise InvalidInputError("image", "Expected a data URL: data:image/png;base64,…")
    try:
        return base64.b64decode(payload, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidInputError("image", "The data URL is not valid base64.") from error


def _ink(body: Mapping[str, Any]) -> Drawing:
    width, height = (_side(body, name) for name in ("width", "height"))
    points = _points(body["strokes"])
    for stroke in points:
        _check_range(stroke, width, height)
    strokes, image = stored_form(points, max(width, height))
    return Drawing(image, ink={"strokes": strokes, "width": width, "height": height})


def _side(body: Mapping[str, Any], name: str) -> float:
    if name not in body:
        raise InvalidInputError(name, "This field is required.")
    value, (low, high) = body[name], LIMITS.surface
    if type(value) not in (int, float) or not low <= value <= high:
        raise InvalidInputError(name, f"Expected a number of pixels from {low:g} to {high:g}.")
    return float(value)


def _points(strokes: Any) -> list[Points]:
    """Convert nested lists to one `(n, 2…4)` array per stroke: x, y, optionally time and pressure."""
    if type(strokes) is not list or not all(type(stroke) is list for stroke in strokes):
        raise InvalidInputError("strokes", "Expected a list of strokes, each a list of [x, y] points.")
    if len(strokes) > LIMITS.strokes or sum(map(len, strokes)) > LIMITS.points:
        raise InvalidInputError("strokes", f"Expected at most {LIMITS.points} points in {LIMITS.strokes} strokes.")
    return [_stroke(stroke) for stroke in strokes if stroke]


def _stroke(points: list[Any]) -> Points:
    # Sets of types and lengths are built in C: exact (a bool is not a number) and fast for thousands of points.
    if set(map(type, points)) != {list} or not set(map(type, chain.from_iterable(points))) <= {int, float}:
        raise InvalidInputError("strokes", "Each point must be a list of numbers: [x, y] and optionally more.")
    lengths = set(map(len, points))
    if not lengths <= {2, 3, 4}:
        raise InvalidInputError("strokes", "Each point must have 2 to 4 numbers: x, y, time in ms, pressure 0 to 1.")
    shortest = min(lengths)
    return np.array(points if len(lengths) == 1 else [point[:shortest] for point in points], np.float64)


def _check_range(stroke: Points, width: float, height: float) -> None:
    """Refuse points far outside the surface, and times and pressures that are too large or not finite."""
    reach, largest = LIMITS.overshoot, LIMITS.largest
    lowest = (-reach * width, -reach * height, -largest, -largest)
    highest = ((1 + reach) * width, (1 + reach) * height, largest, largest)
    low, high = stroke.min(axis=0).tolist(), stroke.max(axis=0).tolist()
    if not all(map(ge, low, lowest)) or not all(map(le, high, highest)):
        raise InvalidInputError("strokes", "Points lie far outside the drawing surface, or a number is too large.")
