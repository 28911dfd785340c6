"""Selects the connected components of the ink that are the digit: not frames, boxes, neighbours, blots and dirt."""

import cv2
import numpy as np
import numpy.typing as npt

from recognizer.preprocessing.geometry import GreyImage, NoInkError
from recognizer.preprocessing.ground import GROUND_SIDE, thumbnail
from recognizer.preprocessing.rules import INK_THRESHOLD, above

# A picture may have 250,000 components. Properties of all of them are computed in one pass over the pixels. Only the
# largest are examined one by one or compared with all others.
MOST_PARTS = 500  # of a digit, which may be dashed or dotted
MOST_BOXES = 64  # examined candidates: boxes of a form, and digits of the same size

# Lengths are shares of the largest part's longer side; amounts of ink are shares of the largest part's.
JOINING_DISTANCE = 0.1
SPECK = 0.05  # smaller parts count as dirt
LARGE_PART = 0.2  # a part with this share of the ink belongs to the digit, wherever it is …
AS_STRONG = 0.65  # … if its ink is strong enough; remains of a shadow are weaker
SMALLEST_WHOLE = 0.5  # from this size on, a part not cut off by the picture's edge is preferred to larger cut ones

# Frames and boxes.
EDGE = 0.015  # of the picture: width of its edge zone
FRAME_COVER = 0.5  # share of an edge: a part along more of it is a frame or lies beside the paper
SMALLEST_FRAMED = 0.1  # minimum size of content in a frame
BOX_SIDE_DEPTH = 0.1  # of the box: width of the zone where its sides are
BOX_COVER = 0.9  # minimum share of each side that is drawn
SMALLEST_BOXED = 0.25  # of the box's shorter side: minimum size of its content
SAME_BOX = 0.1  # of a box's longer side: maximum difference to the next box
SHEET_RIM = 3  # pixels

# Blots: fingers, and remains of shadows.
MAIN_PARTS = 0.25  # of the longest whole part: longer parts are used to measure the line width
BLOT = 4  # minimum width relative to the line width …
SMALLEST_BLOT = 0.06  # … and relative to the picture's longer side

Labels = npt.NDArray[np.int32]
"""`(h, w)`, the part of each pixel, from `cv2.connectedComponentsWithStats`; part 0 is the background."""

Stats = npt.NDArray[np.int32]
"""`(parts, 5)`: left, top, width, height and area of each part."""

Parts = npt.NDArray[np.intp]
"""Indices of parts."""


def cut_digit(ink: GreyImage, inside: GreyImage | None = None) -> GreyImage:
    """Crop the digit's bounding box, with only the digit's parts in it: `(h, w)` uint8.

    Args:
        ink: `(h, w)` uint8, light on dark.
        inside: `(h, w)` uint8, 0 outside the sheet; None if all of it is sheet.

    Raises:
        NoInkError: there is no ink.
    """
    mask = above(ink, INK_THRESHOLD)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    if count == 1:
        raise NoInkError("No ink was found.")
    parts = _digit_parts(ink, labels, stats, _cut_off(labels, inside))
    left, top = stats[parts, :2].min(axis=0)
    right, bottom = (stats[parts, :2] + stats[parts, 2:4]).max(axis=0)
    chosen = np.zeros(count, np.uint8)  # look-up table: part → mask
    chosen[parts] = 255
    box = slice(top, bottom), slice(left, right)
    # A line's soft edge lies just outside its part.
    near = cv2.dilate(chosen[labels[box]], np.ones((3, 3), np.uint8))
    digit: GreyImage = cv2.bitwise_and(ink[box], near)
    return digit


def _digit_parts(ink: GreyImage, labels: Labels, stats: Stats, cut_off: Parts) -> Parts:
    """Return the parts of the digit: the largest part, its neighbours, and others of similar size.

    Args:
        ink: `(h, w)` uint8.
        labels, stats: from `cv2.connectedComponentsWithStats`; part 0 is the background.
        cut_off: parts that extend beyond the picture or the sheet.
    """
    area = stats[:, cv2.CC_STAT_AREA]
    longest = stats[:, cv2.CC_STAT_WIDTH : cv2.CC_STAT_HEIGHT + 1].max(axis=1)
    longest[0] = 0
    usable = longest >= 1
    framed = usable.copy()
    framed[_frames(labels)] = False
    if longest[framed].max(initial=0) >= SMALLEST_FRAMED * longest.max():
        usable = framed
    whole = usable.copy()
    whole[cut_off] = False
    boxes = _boxes(labels, stats, whole)
    for box in boxes:  # and the empty boxes beside it
        alike = np.abs(stats[:, 2:4] - stats[box, 2:4]).max(axis=1) <= SAME_BOX * longest[box]
        usable[alike] = whole[alike] = False
    if not usable.any():
        raise NoInkError("No ink was found.")
    if longest[whole].max(initial=0) >= SMALLEST_WHOLE * longest[usable].max():
        usable = whole
    main = int(np.where(usable, area, 0).argmax())
    parts = np.flatnonzero(usable & (longest >= SPECK * longest[main]))
    parts = _largest(MOST_PARTS, parts, area)
    strengths = _strengths(parts, ink, labels)
    weakest = AS_STRONG * strengths[area[parts].argmax()]
    digit = (area[parts] >= LARGE_PART * area[main]) & (strengths >= weakest)
    low, high = stats[parts, :2], stats[parts, :2] + stats[parts, 2:4]
    while True:
        box_low, box_high = low[digit].min(axis=0), high[digit].max(axis=0)
        gap = np.maximum(low - box_high, box_low - high).max(axis=1)
        grown = digit | (gap <= JOINING_DISTANCE * longest[main])
        if (grown == digit).all():
            return parts[digit]
        digit = grown


def _largest(most: int, parts: Parts, area: npt.NDArray[np.int32]) -> Parts:
    """Return the `most` largest of some parts, in no particular order."""
    return parts if len(parts) <= most else parts[np.argpartition(area[parts], -most)[-most:]]


def _frames(labels: Labels) -> Parts:
    """Return the parts that run along an edge of the picture: frames, scan borders, the table beside the paper."""
    edge = max(1, round(EDGE * max(labels.shape)))
    sides = labels[:edge], labels[-edge:], labels[:, :edge].T, labels[:, -edge:].T  # (edge, length)
    frames = [np.flatnonzero(_columns_of_each(side) >= FRAME_COVER * side.shape[1]) for side in sides]
    return np.concatenate(frames)


def _columns_of_each(labels: Labels) -> npt.NDArray[np.intp]:
    """Count the columns in which each part has a pixel: `(largest label + 1,)`."""
    ordered = np.sort(labels, axis=0)
    new = np.ones(ordered.shape, np.bool_)  # first pixel of a part in its column
    new[1:] = ordered[1:] != ordered[:-1]
    return np.bincount(ordered[new])


def _cut_off(labels: Labels, inside: GreyImage | None) -> Parts:
    """Return the parts that touch the edge of the picture or of the sheet."""
    edge = np.ones(labels.shape, np.bool_)
    edge[1:-1, 1:-1] = False
    if inside is not None:
        rim = 2 * SHEET_RIM + 1
        edge |= (cv2.erode(inside, np.ones((rim, rim), np.uint8), borderValue=255) == 0) & (inside > 0)
    return np.flatnonzero(np.bincount(labels[edge]))


def _boxes(labels: Labels, stats: Stats, whole: npt.NDArray[np.bool_]) -> list[int]:
    """Return large parts with four sides and content: printed boxes, or a frame around the digit.

    Args:
        labels, stats: from `cv2.connectedComponentsWithStats`; part 0 is the background.
        whole: `(parts,)`, mask of the parts that may be the content of a box.
    """
    left, top, width, height, _ = stats.T
    longest = np.maximum(width, height)
    longest[0] = 0
    large = _largest(MOST_BOXES, np.flatnonzero(longest >= longest.max() / 2), width * height)
    smallest = SMALLEST_BOXED * np.minimum(width, height)
    content = np.flatnonzero(whole & (longest >= smallest[large].min()))
    x, y, right, bottom, size = (of[content] for of in (left, top, left + width, top + height, longest))

    def has_content(part: int) -> bool:
        within = (x > left[part]) & (y > top[part]) & (right < left[part] + width[part])
        within &= (bottom < top[part] + height[part]) & (size >= smallest[part])
        return bool(within.any())

    return [part for part in large.tolist() if has_content(part) and _has_four_sides(part, labels, stats)]


def _has_four_sides(part: int, labels: Labels, stats: Stats) -> bool:
    left, top, width, height = stats[part, :4].tolist()
    view = labels[top : top + height, left : left + width]
    down, across = max(2, round(BOX_SIDE_DEPTH * height)), max(2, round(BOX_SIDE_DEPTH * width))
    sides = view[:down], view[-down:], view[:, :across].T, view[:, -across:].T
    return all((side == part).any(axis=0).mean() >= BOX_COVER for side in sides)


def _strengths(parts: Parts, ink: GreyImage, labels: Labels) -> npt.NDArray[np.float64]:
    """Return the 75th percentile of each part's ink levels, `(len(parts),)`."""
    places = np.zeros(labels.max() + 1, np.int32)
    places[parts] = np.arange(1, len(parts) + 1)
    place = places[labels]
    seen = place > 0
    counts = np.bincount((place[seen] - 1) * 256 + ink[seen], minlength=256 * len(parts)).reshape(-1, 256)
    ranked = counts.cumsum(axis=1)
    rank = 0.75 * (ranked[:, -1:] - 1)
    below, beyond = ((ranked <= whole).sum(axis=1) for whole in (np.floor(rank), np.ceil(rank)))
    strengths: npt.NDArray[np.float64] = below + (beyond - below) * (rank[:, 0] % 1)
    return strengths


def without_blots(ink: GreyImage, inside: GreyImage | None = None) -> GreyImage:
    """Remove everything much wider than the lines: fingers, and remains of shadows.

    Args:
        ink, inside: as for `cut_digit`.
    """
    shrink = max(ink.shape) > GROUND_SIDE
    small = thumbnail(ink, GROUND_SIDE) if shrink else ink
    mask = above(small, INK_THRESHOLD)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    if count == 1:
        return ink
    longest = stats[:, cv2.CC_STAT_WIDTH : cv2.CC_STAT_HEIGHT + 1].max(axis=1)
    longest[0] = 0
    whole = longest.copy()
    whole[_cut_off(labels, thumbnail(inside, max(small.shape)) if shrink and inside is not None else inside)] = 0
    if whole.any():
        longest = whole
    long = (longest >= MAIN_PARTS * longest.max()).astype(np.uint8)
    depth = cv2.distanceTransform(np.pad(long[labels], 1), cv2.DIST_L2, 3)
    ridge = (depth > 0) & (depth == cv2.dilate(depth, np.ones((3, 3), np.uint8)))
    wide = round(max(BLOT * 2 * float(np.median(depth[ridge])), SMALLEST_BLOT * max(small.shape)))
    if wide >= min(small.shape):
        return ink
    core = cv2.morphologyEx(small, cv2.MORPH_OPEN, np.ones((wide, wide), np.uint8))
    if not above(core, INK_THRESHOLD).any():
        return ink
    blots = _grown_into(core, small, wide)
    if shrink:
        blots = cv2.resize(blots, ink.shape[::-1], interpolation=cv2.INTER_LINEAR)
    left: GreyImage = cv2.subtract(ink, blots)
    return left


def _grown_into(core: GreyImage, ink: GreyImage, steps: int) -> GreyImage:
    """Grow a part of the ink over the ink connected to it, at most `steps` pixels, and one pixel beyond."""
    nearest = np.ones((3, 3), np.uint8)
    for _ in range(steps):
        core = cv2.min(cv2.dilate(core, nearest), ink)
    return np.asarray(cv2.dilate(core, nearest), np.uint8)
