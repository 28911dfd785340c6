"""A grey picture → model input: its ink is found on whatever paper and brought into MNIST's geometry.

A picture that already is in MNIST's geometry goes through unchanged.
"""

import cv2
import numpy as np
import numpy.typing as npt

from recognizer.preprocessing.geometry import (
    BOX_SIDE,
    FIELD_SIDE,
    INPUT_SIDE,
    OVERSAMPLING,
    GreyImage,
    ModelInput,
    NoInkError,
    centre_window,
)
from recognizer.preprocessing.rules import COARSE_SIDE, INK_THRESHOLD, above, without_rules

# How ink is told from paper. Shares are of the picture's longer side unless they say otherwise.
GROUND_WINDOW = 0.3  # wider than any pen: light and shadow vary slower than this, ink does not
SMALLEST_GROUND_WINDOW = 9  # pixels; the same for tiny pictures
SHORTEST_PATH = 0.2  # a digit has at least this many pixels of full ink
LOWEST_CONTRAST = 16  # grey levels between ink and paper
LOWEST_SIGNAL = 6.0  # contrast in standard deviations of the paper's own grain
THUMBNAIL_SIDE = 48  # pixels; whether ink is dark or light is seen on a picture this small
SMALLEST_DIGIT = 0.03  # a figure below this is a dot or dirt: it is not blown up to a digit's size

# Which parts are the digit's. Shares are of the largest part's longer side or ink.
MOST_PARTS = 500
JOINING_DISTANCE = 0.1
SPECK = 0.05  # smaller parts are dirt
LARGE_PART = 0.2  # a part with this share of the ink belongs to the digit wherever it is
EDGE = 0.015  # of the picture: this near to an edge is at the edge
FRAME_COVER = 0.9  # a part that runs along so much of one edge is a frame or what lies beside the paper
SMALLEST_FRAMED = 0.1  # of the largest part's longer side: something at least so large is inside the frame

# Line widths that are left as they are, pixels of the model input; MNIST's lie between them.
THINNEST_LINE = 1.9
THICKEST_LINE = 3.6
SMALLEST_GROWTH = 0.05  # on either side


def picture_to_input(grey: GreyImage) -> ModelInput:
    """Find the digit in a picture and bring it into MNIST's geometry.

    Light or dark ink, shadows, ruled paper, frames and specks are dealt with; grey levels are kept, and a line is
    widened or thinned only where it is far from any pen in MNIST.

    Args:
        grey: `(h, w)` uint8 of any size, one digit anywhere in it.

    Returns:
        `(28, 28)` uint8, light on dark. A picture that already is in MNIST's geometry comes back as it is,
        inverted if it is dark on light.

    Raises:
        NoInkError: it is blank, noise, or shows nothing that could be ink.
    """
    light = _light_on_dark(grey)
    if _is_in_geometry(light):
        return light.copy()
    digit = _cut_digit(without_rules(_lift_ink(light)))
    return _place(digit, SMALLEST_DIGIT * max(grey.shape))


def _light_on_dark(grey: GreyImage) -> GreyImage:
    """Invert a picture whose ink is dark; ground is what most of it looks like, most of all along its edges."""
    scale = THUMBNAIL_SIDE / max(grey.shape)
    size = (max(1, round(grey.shape[1] * scale)), max(1, round(grey.shape[0] * scale)))
    small = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    if min(size) > 8:  # without a thin frame
        small = small[1:-1, 1:-1]
    # Repeated outwards, the edges outvote a bold 1 that fills the picture.
    margin = THUMBNAIL_SIDE // 4
    padded = cv2.copyMakeBorder(small, margin, margin, margin, margin, cv2.BORDER_REPLICATE)
    ground = cv2.medianBlur(padded, THUMBNAIL_SIDE - 1)[margin:-margin, margin:-margin]
    deviation = small.astype(np.float32) - ground
    return grey if float((deviation**3).sum()) > 0 else 255 - grey


def _is_in_geometry(light: GreyImage) -> bool:
    """Tell whether a picture is 28×28 on clean ground with its box and centre of mass where MNIST has them."""
    if light.shape != (INPUT_SIDE, INPUT_SIDE):
        return False
    _, _, width, height = cv2.boundingRect(light)
    if max(width, height) not in (BOX_SIDE - 1, BOX_SIDE):  # 19: a handful of MNIST's 70,000
        return False
    moments = cv2.moments(light)
    # MNIST's centres of mass lie within half a pixel of index 14.
    return all(abs(moments[axis] / moments["m00"] - INPUT_SIDE / 2) < 0.55 for axis in ("m10", "m01"))


def _lift_ink(light: GreyImage) -> GreyImage:
    """Take the paper away: `(h, w)` uint8, 0 where it shows and 255 at full ink, whatever the light was."""
    side = max(light.shape)
    if side >= COARSE_SIDE:
        light = cv2.GaussianBlur(light, (3, 3), 0)
    window = max(round(GROUND_WINDOW * side), SMALLEST_GROUND_WINDOW)
    ink = cv2.morphologyEx(light, cv2.MORPH_TOPHAT, np.ones((window, window), np.uint8))
    counts = np.cumsum(cv2.calcHist([ink], [0], None, [256], [0, 256]))
    # The lower quarter is paper even under a thick digit, so its spread is the paper's grain.
    lowest, paper, full = np.searchsorted(counts, (0.05 * ink.size, 0.25 * ink.size, ink.size - SHORTEST_PATH * side))
    if full - paper < max(LOWEST_CONTRAST, LOWEST_SIGNAL * (paper - lowest)):
        raise NoInkError("There is no ink in it.")
    levels = (np.arange(256) - paper) / (full - paper)  # 0 … 1
    lifted: GreyImage = cv2.LUT(ink, np.clip(levels * 255, 0, 255).astype(np.uint8))
    return lifted


def _cut_digit(ink: GreyImage) -> GreyImage:
    """Cut the digit's box out, with nothing in it but the digit's parts: `(h, w)` uint8."""
    mask = above(ink, INK_THRESHOLD)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    if count == 1:
        raise NoInkError("There is no ink in it.")
    parts = _digit_parts(labels, stats)
    left, top = stats[parts, :2].min(axis=0)
    right, bottom = (stats[parts, :2] + stats[parts, 2:4]).max(axis=0)
    chosen = np.zeros(count, np.uint8)  # a look-up table: part → mask
    chosen[parts] = 255
    box = slice(top, bottom), slice(left, right)
    # The soft edge of a line lies just outside its part.
    near = cv2.dilate(chosen[labels[box]], np.ones((3, 3), np.uint8))
    digit: GreyImage = cv2.bitwise_and(ink[box], near)
    return digit


def _digit_parts(labels: npt.NDArray[np.int32], stats: npt.NDArray[np.int32]) -> npt.NDArray[np.intp]:
    """Say which connected parts are the digit: the largest, its neighbours, and others nearly as large.

    Args:
        labels, stats: from `cv2.connectedComponentsWithStats`; part 0 is the ground.
    """
    area = stats[:, cv2.CC_STAT_AREA].copy()
    longest = stats[:, cv2.CC_STAT_WIDTH : cv2.CC_STAT_HEIGHT + 1].max(axis=1)
    area[0] = longest[0] = 0
    frames = _frames(labels)
    framed = longest >= SMALLEST_FRAMED * longest.max()
    framed[frames] = False
    if framed.any():
        area[frames] = 0
    main = int(area.argmax())
    kept = (area > 0) & (longest >= SPECK * longest[main])
    parts = np.flatnonzero(kept)
    if len(parts) > MOST_PARTS:  # the largest of them: each round below walks over all
        parts = parts[np.argpartition(area[parts], -MOST_PARTS)[-MOST_PARTS:]]
    digit = area[parts] >= LARGE_PART * area[main]
    low, high = stats[parts, :2], stats[parts, :2] + stats[parts, 2:4]
    while True:
        box_low, box_high = low[digit].min(axis=0), high[digit].max(axis=0)
        gap = np.maximum(low - box_high, box_low - high).max(axis=1)
        grown = digit | (gap <= JOINING_DISTANCE * longest[main])
        if (grown == digit).all():
            return parts[digit]
        digit = grown


def _frames(labels: npt.NDArray[np.int32]) -> list[int]:
    """Return the parts that run along a whole edge of the picture: frames, scan edges, the table beside the paper."""
    edge = max(1, round(EDGE * max(labels.shape)))
    sides = labels[:edge], labels[-edge:], labels[:, :edge].T, labels[:, -edge:].T  # (edge, length)
    return [
        part
        for side in sides
        if side.any()
        for part in np.unique(side).tolist()
        if part and (side == part).any(axis=0).mean() >= FRAME_COVER
    ]


def _place(digit: GreyImage, smallest: float) -> ModelInput:
    """Scale a digit's box to MNIST's, with a line as wide as pens make it there, and centre it.

    Args:
        digit: `(h, w)` uint8, the digit's box, light on dark.
        smallest: the longer side in pixels below which it is not blown up.
    """
    longest = max(*digit.shape, smallest)
    if longest < BOX_SIDE * OVERSAMPLING:
        zoom = BOX_SIDE * OVERSAMPLING / longest
        digit = cv2.resize(digit, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC)
        longest = BOX_SIDE * OVERSAMPLING
    mask = above(digit, INK_THRESHOLD)
    line = _line_width(mask)
    width = min(max(line * BOX_SIDE / longest, THINNEST_LINE), THICKEST_LINE)
    # As with ink, the box holds the line's middle and half a line's width on either side.
    scale = (BOX_SIDE - width) / max(longest - line, longest / 2)
    grow = (width / scale - line) / 2
    if abs(grow * scale) > SMALLEST_GROWTH:
        digit = _grown(mask, grow)
    return _resample(digit, scale * OVERSAMPLING)


def _line_width(mask: GreyImage) -> float:
    """Measure the mean width of lines, pixels: inside one, the distance to its edge averages a quarter of it."""
    inside = cv2.distanceTransform(np.pad(mask, 1), cv2.DIST_L2, 3)
    return max(4 * (float(inside[inside > 0].mean()) - 0.5), 1.0)


def _grown(mask: GreyImage, grow: float) -> GreyImage:
    """Widen (or, negative, thin) lines by `grow` pixels on either side; edges stay soft, the array becomes larger."""
    margin = int(np.ceil(max(grow, 0))) + 1
    mask = np.pad(mask, margin)
    inside = cv2.distanceTransform(mask, cv2.DIST_L2, 3)
    outside = cv2.distanceTransform(cv2.bitwise_not(mask), cv2.DIST_L2, 3)
    return np.clip((inside - outside + grow) * 255, 0, 255).astype(np.uint8)


def _resample(digit: GreyImage, scale: float) -> ModelInput:
    """Lay a digit, scaled, into the oversampled field and cut the input out."""
    size = (max(1, round(digit.shape[1] * scale)), max(1, round(digit.shape[0] * scale)))
    small = cv2.resize(digit, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    field = np.zeros((FIELD_SIDE * OVERSAMPLING,) * 2, np.uint8)
    middle = FIELD_SIDE * OVERSAMPLING // 2
    y, x = middle - size[1] // 2, middle - size[0] // 2
    field[y : y + size[1], x : x + size[0]] = small
    return centre_window(field)
