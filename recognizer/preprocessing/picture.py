"""Grey picture → model input: find the ink on any paper and normalise it to MNIST's geometry.

A picture that already has MNIST's geometry is not changed.
"""

import cv2
import numpy as np

from recognizer.preprocessing.geometry import (
    BOX_SIDE,
    FIELD_SIDE,
    INPUT_SIDE,
    OVERSAMPLING,
    GreyImage,
    ModelInput,
    centre_window,
    depths_of,
    line_width,
)
from recognizer.preprocessing.ground import Look, is_flat, lift_ink, look_at, thumbnail
from recognizer.preprocessing.parts import cut_digit, without_blots
from recognizer.preprocessing.rules import INK_THRESHOLD, above, without_rules
from recognizer.preprocessing.sheet import cut_sheet, find_sheet

SMALLEST_DIGIT = 0.03  # of the longer side: anything smaller is a dot or dirt, and is not enlarged to a digit's size

# Range of line widths that are not changed, pixels of the model input; MNIST's are within it.
THINNEST_LINE = 1.9
THICKEST_LINE = 3.6
SMALLEST_GROWTH = 0.05  # pixels of the model input on either side; less is not applied


def picture_to_input(grey: GreyImage) -> ModelInput:
    """Find the digit in a picture and normalise it to MNIST's geometry.

    Handles light and dark ink, shadows, ruled paper, a table beside the paper, frames, boxes, blots and specks. Grey
    levels are kept, and lines are widened or thinned only if their width is outside MNIST's range.

    Args:
        grey: `(h, w)` uint8 of any size, one digit anywhere in it.

    Returns:
        `(28, 28)` uint8, light on dark. A picture that already has MNIST's geometry is returned unchanged, inverted if
        it is dark on light.

    Raises:
        NoInkError: the picture is blank, noise, or shows nothing that could be ink.
    """
    look, inside = look_at(grey), None
    light = 255 - grey if look.dark else grey
    if _is_in_geometry(light):
        return light.copy()
    smallest = SMALLEST_DIGIT * max(grey.shape)
    sheet = find_sheet(grey)
    if sheet is not None:
        grey, inside = cut_sheet(grey, sheet)
        look = Look(sheet.dark, is_flat(thumbnail(grey)[thumbnail(inside) == 255]))
    ink = without_blots(without_rules(lift_ink(grey, look, inside)), inside)
    return _place(cut_digit(ink, inside), smallest)


def _is_in_geometry(light: GreyImage) -> bool:
    """Return whether a picture is 28×28 on a clean background, with box and centre of mass as in MNIST."""
    if light.shape != (INPUT_SIDE, INPUT_SIDE):
        return False
    _, _, width, height = cv2.boundingRect(light)
    if max(width, height) not in (BOX_SIDE - 1, BOX_SIDE):  # 19: a few of MNIST's 70,000
        return False
    moments = cv2.moments(light)
    # MNIST's centres of mass are within half a pixel of index 14.
    return all(abs(moments[axis] / moments["m00"] - INPUT_SIDE / 2) < 0.55 for axis in ("m10", "m01"))


def _place(digit: GreyImage, smallest: float) -> ModelInput:
    """Scale a digit's box to MNIST's, adjust the line width to MNIST's range, and centre the digit.

    Args:
        digit: `(h, w)` uint8, the digit's box, light on dark.
        smallest: a longer side below this many pixels is not enlarged to full size.
    """
    longest = max(*digit.shape, smallest)
    if longest < BOX_SIDE * OVERSAMPLING:
        zoom = BOX_SIDE * OVERSAMPLING / longest
        digit = cv2.resize(digit, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC)
        longest = BOX_SIDE * OVERSAMPLING
    mask = above(digit, INK_THRESHOLD)
    depths = depths_of(mask)
    line = max(line_width(float(depths[depths > 0].mean())), 1.0)
    width = min(max(line * BOX_SIDE / longest, THINNEST_LINE), THICKEST_LINE)
    # As with ink, the box contains the line's centre and half a line width on either side.
    scale = (BOX_SIDE - width) / max(longest - line, longest / 2)
    grow = (width / scale - line) / 2
    if abs(grow * scale) > SMALLEST_GROWTH:
        digit = _grown(mask, grow)
    return _resample(digit, scale * OVERSAMPLING)


def _grown(mask: GreyImage, grow: float) -> GreyImage:
    """Widen lines by `grow` pixels on either side, or thin them if negative; edges stay soft, and the array grows."""
    margin = int(np.ceil(max(grow, 0))) + 1
    mask = np.pad(mask, margin)
    inside = cv2.distanceTransform(mask, cv2.DIST_L2, 3)
    outside = cv2.distanceTransform(cv2.bitwise_not(mask), cv2.DIST_L2, 3)
    return np.clip((inside - outside + grow) * 255, 0, 255).astype(np.uint8)


def _resample(digit: GreyImage, scale: float) -> ModelInput:
    """Scale a digit, place it in the oversampled field, and crop the input."""
    size = (max(1, round(digit.shape[1] * scale)), max(1, round(digit.shape[0] * scale)))
    small = cv2.resize(digit, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    field = np.zeros((FIELD_SIDE * OVERSAMPLING,) * 2, np.uint8)
    middle = FIELD_SIDE * OVERSAMPLING // 2
    y, x = middle - size[1] // 2, middle - size[0] // 2
    field[y : y + size[1], x : x + size[0]] = small
    return centre_window(field)
