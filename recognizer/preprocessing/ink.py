"""Ink → model input: the pen's path is drawn directly in MNIST's geometry, without the canvas's pixels.

Position, size and line width on the canvas do not matter, so a small drawing in a corner, a mouse and a phone all give
the same input.
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
"""Share of the surface's longer side below which a drawing is a dot that is not enlarged to a digit's size."""

Stroke = npt.NDArray[np.float64]
"""`(n, 2)` pen positions in pixels of the drawing surface, y down."""

Path = npt.NDArray[np.int32]
"""`(n, 2)` points of a stroke in the field where it is drawn, in 1/64 of a pixel of the model input."""

_SHIFT_BITS = 4  # OpenCV draws with a resolution of 1/16 pixel
_SUBPIXEL = 1 << _SHIFT_BITS

GRID = OVERSAMPLING * _SUBPIXEL
"""Resolution of drawn ink, grid points per pixel of the model input; finer detail is lost."""


def ink_to_input(strokes: Sequence[Stroke], surface: float, pen_width: float = PEN_WIDTH) -> ModelInput:
    """Draw ink in MNIST's geometry.

    Args:
        strokes: one `(n, 2)` array per stroke, pixels of the drawing surface; a single point is a dot.
        surface: the longer side of the drawing surface, in the same pixels.
        pen_width: line width in pixels of the 28×28 input; training varies it.

    Returns:
        `(28, 28)` uint8, light on dark. It depends on the path only, not on position, scale, sampling or stroke order.

    Raises:
        NoInkError: there is no point at all.
    """
    return draw_paths(pen_paths(strokes, surface, pen_width), pen_width)


def draw_paths(paths: Sequence[Path], pen_width: float = PEN_WIDTH) -> ModelInput:
    """Draw the paths of `pen_paths`: `(28, 28)` uint8."""
    # A stroke of one point is a dot; OpenCV draws a path only between two points.
    paths = [path if len(path) > 1 else np.repeat(path, 2, axis=0) for path in paths]
    field = np.zeros((INPUT_SIDE * OVERSAMPLING,) * 2, np.uint8)
    cv2.polylines(field, paths, False, 255, _thickness(pen_width * OVERSAMPLING), cv2.LINE_AA, _SHIFT_BITS)
    return reduce_field(field)


def pen_paths(strokes: Sequence[Stroke], surface: float, pen_width: float = PEN_WIDTH) -> list[Path]:
    """Place strokes in MNIST's geometry, in the integer coordinates of drawing: equal paths give equal inputs.

    Returns:
        One path per non-empty stroke.

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
    # OpenCV's integer coordinates are pixel centres, so the field's middle is at (side - 1) / 2.
    placed = (points - centre) * (scale * OVERSAMPLING) + (INPUT_SIDE * OVERSAMPLING - 1) / 2
    return np.split(np.rint(placed * _SUBPIXEL).astype(np.int32), ends[:-1])


def pixels_per_unit(points: Stroke, surface: float, pen_width: float = PEN_WIDTH) -> float:
    """Return the scale: pixels of the model input per unit of the drawing."""
    longest = max(float(np.ptp(points, axis=0).max()), SMALLEST_DRAWING * surface)
    return (BOX_SIDE - pen_width) / longest


def _centre_of_mass(
    points: npt.NDArray[np.float64], ends: npt.NDArray[np.int64], pen_width: float
) -> npt.NDArray[np.float64]:
    """Return the centre of mass of the drawn ink, computed from the path: segments by their length, and round caps.

    A round cap is half a disc, as much ink as a line of length π/8 × width, so a dot has weight too.

    Args:
        points: `(n, 2)`, all strokes concatenated.
        ends: end of each stroke, as an index into `points`.
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
    """Return OpenCV's thickness for a line width in pixels: an odd thickness t draws t + 2.35, as measured."""
    return max(1, 2 * round((width - 3.35) / 2) + 1)
