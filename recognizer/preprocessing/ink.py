"""Ink → model input: the pen's path is drawn straight into MNIST's geometry, never through the canvas's pixels.

Where the drawing stands on the canvas, how large it is and how thick its line was there do not matter,
so a corner drawing, a mouse and a phone all give the same input.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from recognizer.preprocessing.geometry import (
    BOX_SIDE,
    FIELD_SIDE,
    OVERSAMPLING,
    PEN_WIDTH,
    ModelInput,
    NoInkError,
    centre_window,
)

SMALLEST_DRAWING = 0.03
"""A drawing below this share of the surface's longer side is a dot: it is not blown up to a digit's size."""

Stroke = npt.NDArray[np.floating]
"""`(n, 2)` pen positions in pixels of the drawing surface, y down."""

_SHIFT_BITS = 4  # OpenCV draws at 1/16 of a pixel
_SUBPIXEL = 1 << _SHIFT_BITS


def ink_to_input(strokes: Sequence[Stroke], surface: float, pen_width: float = PEN_WIDTH) -> ModelInput:
    """Draw ink in MNIST's geometry.

    Args:
        strokes: one `(n, 2)` array per stroke, pixels of the drawing surface; a single point is a dot.
        surface: the longer side of the drawing surface, in the same pixels.
        pen_width: of the drawn line, in pixels of the 28×28 input; training varies it.

    Returns:
        `(28, 28)` uint8, light on dark. Depends on the path only: not on its place, scale, sampling or stroke order.

    Raises:
        NoInkError: there is no point at all.
    """
    if not any(len(stroke) for stroke in strokes):
        raise NoInkError("There is no ink in it.")
    points = np.concatenate(strokes) if len(strokes) > 1 else strokes[0]
    low, high = points.min(axis=0), points.max(axis=0)
    longest = max(float((high - low).max()), SMALLEST_DRAWING * surface)
    scale = (BOX_SIDE - pen_width) * OVERSAMPLING / longest
    # OpenCV's integer coordinates name pixel centres, so the field's middle is at (side - 1) / 2.
    middle = (FIELD_SIDE * OVERSAMPLING - 1) / 2
    placed = np.rint(((points - (low + high) / 2) * scale + middle) * _SUBPIXEL).astype(np.int32)
    ends = np.cumsum([len(stroke) for stroke in strokes])[:-1]
    # A stroke of one point is a dot; OpenCV draws a path only between two points.
    paths = [path if len(path) > 1 else np.repeat(path, 2, axis=0) for path in np.split(placed, ends) if len(path)]
    field = np.zeros((FIELD_SIDE * OVERSAMPLING,) * 2, np.uint8)
    thickness = max(1, round(pen_width * OVERSAMPLING))
    cv2.polylines(field, paths, False, 255, thickness, cv2.LINE_AA, _SHIFT_BITS)
    return centre_window(field)
