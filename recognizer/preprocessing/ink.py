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
    INPUT_SIDE,
    OVERSAMPLING,
    PEN_WIDTH,
    ModelInput,
    NoInkError,
    reduce_field,
)

SMALLEST_DRAWING = 0.03
"""A drawing below this share of the surface's longer side is a dot: it is not blown up to a digit's size."""

Stroke = npt.NDArray[np.float64]
"""`(n, 2)` pen positions in pixels of the drawing surface, y down."""

Path = npt.NDArray[np.int32]
"""`(n, 2)` places of a stroke in the field that it is drawn in, in 1/64 of a pixel of the model input."""

_SHIFT_BITS = 4  # OpenCV draws at 1/16 of a pixel
_SUBPIXEL = 1 << _SHIFT_BITS

GRID = OVERSAMPLING * _SUBPIXEL
"""Ink is drawn on points this many to a pixel of the model input; what is finer is not seen."""


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
    return draw_paths(pen_paths(strokes, surface, pen_width), pen_width)


def draw_paths(paths: Sequence[Path], pen_width: float = PEN_WIDTH) -> ModelInput:
    """Draw what `pen_paths` placed: `(28, 28)` uint8."""
    # A stroke of one point is a dot; OpenCV draws a path only between two points.
    paths = [path if len(path) > 1 else np.repeat(path, 2, axis=0) for path in paths]
    field = np.zeros((INPUT_SIDE * OVERSAMPLING,) * 2, np.uint8)
    cv2.polylines(field, paths, False, 255, _thickness(pen_width * OVERSAMPLING), cv2.LINE_AA, _SHIFT_BITS)
    return reduce_field(field)


def pen_paths(strokes: Sequence[Stroke], surface: float, pen_width: float = PEN_WIDTH) -> list[Path]:
    """Place strokes in MNIST's geometry, in the whole numbers that they are drawn with: the same ones, the same input.

    Returns:
        a path per stroke that has points.

    Raises:
        NoInkError: there is no point at all.
    """
    strokes = [stroke for stroke in strokes if len(stroke)]
    if not strokes:
        raise NoInkError("No ink was found.")
    points = np.concatenate(strokes)
    ends = np.cumsum([len(stroke) for stroke in strokes])
    scale = pixels_per_unit(points, surface, pen_width)
    centre = _centre_of_mass(points, ends, pen_width / scale)
    # OpenCV's integer coordinates name pixel centres, so the field's middle is at (side - 1) / 2.
    placed = (points - centre) * (scale * OVERSAMPLING) + (INPUT_SIDE * OVERSAMPLING - 1) / 2
    return np.split(np.rint(placed * _SUBPIXEL).astype(np.int32), ends[:-1])


def pixels_per_unit(points: Stroke, surface: float, pen_width: float = PEN_WIDTH) -> float:
    """Say how many pixels of the model input a drawing's unit of length becomes."""
    longest = max(float(np.ptp(points, axis=0).max()), SMALLEST_DRAWING * surface)
    return (BOX_SIDE - pen_width) / longest


def _centre_of_mass(
    points: npt.NDArray[np.float64], ends: npt.NDArray[np.int64], pen_width: float
) -> npt.NDArray[np.float64]:
    """Return the centre of mass of the ink as it will be drawn, from the path: segments by their length, round ends.

    A round end is half a disc, as much ink as a line of length π/8 × width; so a dot, all ends, has its weight too.

    Args:
        points: `(n, 2)`, all strokes one after the other.
        ends: where in `points` each stroke ends.
        pen_width: in the points' units.
    """
    lengths = np.hypot(*np.diff(points, axis=0).T)  # (n - 1,)
    lengths[ends[:-1] - 1] = 0  # the pen was up between two strokes
    weights = np.zeros(len(points))
    weights[:-1] += lengths / 2
    weights[1:] += lengths / 2
    cap = np.pi / 8 * pen_width
    weights[ends - 1] += cap
    weights[np.concatenate(([0], ends[:-1]))] += cap
    centre: npt.NDArray[np.float64] = weights @ points / weights.sum()
    return centre


def _thickness(width: float) -> int:
    """Return OpenCV's thickness for a width in pixels: as measured, an odd one t draws a line of t + 2.35."""
    return max(1, 2 * round((width - 3.35) / 2) + 1)
