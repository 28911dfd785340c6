"""Sheet detection: finds the paper in a picture that also shows a table, a board's frame or the next box of a form.

A sheet is a region with straight sides that is lighter or darker than its surroundings and has writing on it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

import cv2
import numpy as np
import numpy.typing as npt

from recognizer.preprocessing.geometry import GreyImage, depths_of, line_width
from recognizer.preprocessing.ground import COARSE_SIDE, LOWEST_CONTRAST, is_flat, lines_of, thumbnail

# If only lines contrast with the level along the picture's edges, the whole picture is the sheet.
FAINTEST = 0.25  # of the maximum contrast; more counts as standing out
BROADEST_PEN = 0.2  # maximum line width, share of the longer side of what stands out

# Regions are found on a thumbnail, with thresholds between its darkest and lightest levels.
THRESHOLDS = 12
NARROWEST = 16  # pixels; a thumbnail narrower than this is not searched
SMALLEST_SIDE = 8  # pixels of the thumbnail
SMALLEST, LARGEST = 0.05, 0.97  # area, share of the picture
SOLID = 0.9  # minimum share of its convex hull that a sheet covers; the rest is ink at its edge
STEADY = 0.8  # pixels, maximum mean movement of its outline from one threshold to the next
STEADY_BOX = 3  # pixels, the same for the sides of its box
MOST_REGIONS = 20  # examined closely, each at the cost of reading a digit; a photo of a table has up to twelve

# A sheet that touches a finger, a shadow or another sheet.
OPENINGS = (9, 15)  # pixels of the thumbnail; narrower parts are cut off
LARGEST_CUT = 0.15, 0.1  # of the picture: minimum area of a region before and after the cut
UNBROKEN = 0.8  # minimum share of the rest that is on the same side of the threshold

# Its shape.
MOSTLY_IN_VIEW = 0.75  # of the outline; if more is in view, it must have four sides
FOUR_SIDED = 0.91  # minimum share of the smallest enclosing quadrilateral that it covers

# The writing on it. Shares are of the region's longer side.
RIM = 4  # pixels of the region's thumbnail, or 2 of the picture's thumbnail if fewer: margin without ink
RIM_SHARE = 0.012  # of the picture's longer side: margin that is cut off
SHORTEST_LINE = 0.1
BROADEST_LINE = 0.35  # maximum width, share of its own length
LINE_SIGNAL = 6  # minimum contrast, relative to the median contrast (the paper's grain)
MOST_INK = 0.4  # of the region; with more it is a pattern
FOREMOST = 0.2  # minimum share of all ink in the longest line
LIKE = 0.85  # ratio of line lengths from which on the smaller of two sheets wins

# Things that look like a sheet.
LOOP_LINE = 0.5  # of the line's contrast: maximum difference of the background inside and outside a loop
LOOP_CONTENT = 0.4  # of the line's contrast: maximum contrast of the content of a loop
LONGER = 1.15  # a line this many times longer than the longest on the sheet …
CROSSING = 0.2, 0.9  # … with this share of it on the sheet means that the edge is a shadow


@dataclass(frozen=True, slots=True)
class Sheet:
    """The sheet that the digit is on."""

    outline: npt.NDArray[np.float64]  # (n, 2) corners of a convex polygon, x and y in pixels of the picture
    dark: bool  # its writing is darker than the sheet


@dataclass(frozen=True)
class _Region:
    """A connected part of a thresholded thumbnail; lengths in its pixels."""

    grey: GreyImage  # the whole picture
    small: GreyImage  # its thumbnail
    contour: npt.NDArray[np.int32]  # (n, 1, 2)

    @cached_property
    def hull(self) -> npt.NDArray[np.int32]:
        hull: npt.NDArray[np.int32] = cv2.convexHull(self.contour)
        return hull

    @cached_property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, width and height."""
        left, top, width, height = cv2.boundingRect(self.contour)
        return left, top, width, height

    @cached_property
    def area(self) -> float:
        return _area(self.contour, len(self.contour))

    @cached_property
    def is_solid(self) -> bool:
        return self.area >= SOLID * _area(self.hull, len(self.contour))

    @cached_property
    def edge(self) -> int:
        """The number of outline pixels that are not at the picture's edge."""
        last = np.array(self.small.shape[::-1]) - 1
        return int(((self.contour[:, 0] > 0) & (self.contour[:, 0] < last)).all(axis=1).sum())

    def is_steady(self, other: "_Region") -> bool:
        """Return whether it equals a region of the next threshold, because its edge is steep."""
        if abs(self.area - other.area) >= STEADY * other.edge:
            return False
        return max(abs(one - two) for one, two in zip(self.box, other.box, strict=True)) <= STEADY_BOX

    def filled(self) -> GreyImage:
        mask = np.zeros_like(self.small)
        cv2.fillConvexPoly(mask, self.hull, 1)
        return mask

    @cached_property
    def writing(self) -> "_Writing | None":
        """The longest line on it; None if it does not have the shape of a sheet or has no writing."""
        if not self._has_straight_sides():
            return None
        scale = max(self.grey.shape) / max(self.small.shape)
        left, top, width, height = self.box
        rows = slice(round(top * scale), round((top + height) * scale))
        columns = slice(round(left * scale), round((left + width) * scale))
        view = thumbnail(self.grey[rows, columns])
        zoom = max(view.shape) / max(width, height)
        inside = np.zeros_like(view)
        corners = (self.hull[:, 0] - (left, top) + 0.5) * zoom - 0.5
        cv2.fillConvexPoly(inside, np.rint(corners).astype(np.int32), 1)
        down, across = self.small.shape
        cut = (top == 0, top + height == down, left == 0, left + width == across)
        inside = _without_rim(inside, min(round(2 * zoom), RIM), cut)
        if not inside.any():
            return None
        view[inside == 0] = np.uint8(np.median(view[inside > 0]))
        light, dark = (_longest_line(contrast, inside) for contrast in lines_of(view))
        line = max((line for line in (dark, light) if line), key=lambda line: line.length, default=None)
        if line is None or self._is_loop(line.contrast):
            return None
        return _Writing(line.length / zoom, line is dark)

    def _has_straight_sides(self) -> bool:
        if self.edge <= MOSTLY_IN_VIEW * len(self.contour):
            return True
        sides = cv2.approxPolyN(self.contour, 4, ensure_convex=True)
        return bool(self.area >= FOUR_SIDED * cv2.contourArea(sides))

    def _is_loop(self, content: float) -> bool:
        """Return whether it is the inside of a loop of a large digit: the background beyond the line is the same."""
        mask = self.filled()
        near = (cv2.dilate(mask, np.ones((7, 7))) > 0) & (mask == 0)
        far = (cv2.dilate(mask, np.ones((21, 21))) > 0) & (cv2.dilate(mask, np.ones((13, 13))) == 0)
        if not far.any():
            return False
        within = float(np.median(self.small[mask > 0]))
        line = float(np.percentile(np.abs(self.small[near] - within), 60))
        beyond = abs(float(np.median(self.small[far])) - within)
        return beyond < LOOP_LINE * line and content < LOOP_CONTENT * line


@dataclass(frozen=True, slots=True)
class _Writing:
    """The longest line on a sheet."""

    length: float  # pixels of the thumbnail
    dark: bool


@dataclass(frozen=True, slots=True)
class _Line:
    length: float  # pixels
    contrast: float  # grey levels
    mask: npt.NDArray[np.bool_]


def find_sheet(grey: GreyImage) -> Sheet | None:
    """Find the sheet with the digit in a `(h, w)` uint8 picture; return None if the whole picture is the sheet."""
    small = thumbnail(grey)
    if max(grey.shape) < COARSE_SIDE or min(small.shape) < NARROWEST:
        return None
    small = cv2.medianBlur(small, 3)
    low, high = np.percentile(small, (2, 98))
    if high - low < LOWEST_CONTRAST or _has_only_lines(small):
        return None
    best: _Region | None = None
    regions = _steady_regions(grey, small, np.linspace(low, high, THRESHOLDS + 1)[1:-1])
    for region in islice(regions, MOST_REGIONS):
        if region.writing and (best is None or _is_better(region, best)):
            best = region
    if best is None or best.writing is None or _is_in_shadow(best):
        return None
    scale = (np.array(grey.shape[::-1]) - 1) / (np.array(small.shape[::-1]) - 1)
    return Sheet(best.hull[:, 0] * scale, best.writing.dark)


def cut_sheet(grey: GreyImage, sheet: Sheet) -> tuple[GreyImage, GreyImage]:
    """Crop a sheet: return `(crop, inside)`, both `(h, w)` uint8. Outside `inside` the crop has the sheet's level."""
    low = np.floor(sheet.outline.min(axis=0)).astype(int)
    high = np.ceil(sheet.outline.max(axis=0)).astype(int) + 1
    crop = grey[low[1] : high[1], low[0] : high[0]].copy()
    inside = np.zeros_like(crop)
    cv2.fillConvexPoly(inside, np.rint(sheet.outline - low).astype(np.int32), 255)
    rim = max(2, round(RIM_SHARE * max(grey.shape)))
    near = rim // 2
    cut = low[1] <= near, high[1] >= grey.shape[0] - near, low[0] <= near, high[0] >= grey.shape[1] - near
    inside = _without_rim(inside, rim, cut)
    crop[inside == 0] = np.uint8(np.median(crop[inside > 0]))
    return crop, inside


def _has_only_lines(small: GreyImage) -> bool:
    edge = np.concatenate([small[0], small[-1], small[:, 0], small[:, -1]])
    contrast = np.abs(small - np.median(edge))
    ink = (contrast > FAINTEST * contrast.max()).astype(np.uint8)
    if ink[0].any() or ink[-1].any() or ink[:, 0].any() or ink[:, -1].any():
        return False
    _, _, width, height = cv2.boundingRect(ink)
    depth = cv2.distanceTransform(ink, cv2.DIST_L2, 3)
    return bool(2 * depth.max() <= BROADEST_PEN * max(width, height))


def _line_widths(ink: GreyImage, labels: npt.NDArray[np.int32]) -> npt.NDArray[np.float64]:
    """Measure the mean width of each part, in pixels."""
    return line_width(np.bincount(labels.ravel(), depths_of(ink).ravel()) / np.bincount(labels.ravel()))


def _without_rim(inside: GreyImage, rim: int, cut: tuple[bool, bool, bool, bool]) -> GreyImage:
    """Erode a mask by `rim` pixels, except on sides cut off by the picture's edge: top, bottom, left, right."""
    top, bottom, left, right = (rim if side else 0 for side in cut)
    padded = cv2.copyMakeBorder(inside, top, bottom, left, right, cv2.BORDER_REPLICATE)
    top, bottom, left, right = rim - top, rim - bottom, rim - left, rim - right
    padded = cv2.copyMakeBorder(padded, top, bottom, left, right, cv2.BORDER_CONSTANT, value=0)
    shrunk: GreyImage = cv2.erode(padded, np.ones((2 * rim + 1, 2 * rim + 1), np.uint8))[rim:-rim, rim:-rim]
    return shrunk


def _area(contour: npt.NDArray[np.int32], outline: int) -> float:
    """Return the area that a contour of `outline` pixels encloses, including these pixels."""
    return float(cv2.contourArea(contour)) + outline / 2 + 1


def _steady_regions(grey: GreyImage, small: GreyImage, thresholds: npt.NDArray[np.float64]) -> Iterator[_Region]:
    """Yield, once each, the regions with such a steep edge that they exist at two consecutive thresholds."""
    cut = not is_flat(small)
    for side in (np.greater, np.less):
        before: list[tuple[_Region, bool]] = []  # with whether they were yielded
        for threshold in thresholds:
            now = []
            for region in _regions(grey, small, side(small, threshold).astype(np.uint8), cut):
                known = [known for other, known in before if other.is_steady(region)]
                if known and not any(known):
                    yield region
                now.append((region, bool(known)))
            before = now


def _regions(grey: GreyImage, small: GreyImage, mask: GreyImage, cut: bool) -> Iterator[_Region]:
    """Yield the solid regions of a mask; if `cut`, also regions that become solid when attached parts are cut off."""
    whole = mask.size
    # An outline of n pixels encloses at most (n + 2)² / 8 + 1 / 2, a diamond. Most outlines in a pattern are too short.
    shortest = (8 * (SMALLEST * whole - 0.5)) ** 0.5 - 2
    contours, tree = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    for contour, node in zip(contours, tree[0] if tree is not None else (), strict=True):
        if node[3] >= 0 or len(contour) <= shortest:
            continue
        region = _Region(grey, small, contour)
        if min(region.box[2:]) < SMALLEST_SIDE or not SMALLEST < region.area / whole < LARGEST:
            continue
        if region.is_solid:
            yield region
        elif cut and region.area > LARGEST_CUT[0] * whole:
            yield from _cut_free(region, mask)


def _cut_free(region: _Region, mask: GreyImage) -> list[_Region]:
    filled = np.zeros_like(mask)
    cv2.drawContours(filled, [region.contour], -1, 1, -1)
    for side in OPENINGS:
        opened = cv2.morphologyEx(filled, cv2.MORPH_OPEN, np.ones((side, side), np.uint8))
        left = [
            part
            for part in _regions(region.grey, region.small, opened, cut=False)
            if part.area > LARGEST_CUT[1] * mask.size and mask[part.filled() > 0].mean() >= UNBROKEN
        ]
        if left:
            return left
    return []


def _is_better(one: _Region, other: _Region) -> bool:
    """Return whether `one` has the longer line on it or, if they are about equal, is smaller."""
    assert one.writing and other.writing
    if one.writing.length > other.writing.length / LIKE:
        return True
    return one.writing.length > other.writing.length * LIKE and one.area < other.area


def _longest_line(contrast: npt.NDArray[np.float32], inside: GreyImage) -> _Line | None:
    """Return the longest line that does not touch the rim of `inside`; None if nothing looks like ink.

    Args:
        contrast: `(h, w)` float32, light or dark from `lines_of`.
        inside: `(h, w)` uint8 mask, not 0 inside.
    """
    contrast = np.where(inside > 0, contrast, 0)
    shortest = SHORTEST_LINE * max(contrast.shape)
    rank = contrast.size - max(1, round(shortest))
    full = float(np.partition(contrast.ravel(), rank)[rank])
    if full < max(LOWEST_CONTRAST, LINE_SIGNAL * float(np.median(contrast[inside > 0]))):
        return None
    ink = (contrast > full / 2).astype(np.uint8)
    if ink.sum() > MOST_INK * inside.astype(bool).sum():
        return None
    _, labels, stats, _ = cv2.connectedComponentsWithStats(ink, connectivity=8)
    rim = (inside > 0) & (
        cv2.erode(inside, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0) == 0
    )
    length, area = stats[:, 2:4].max(axis=1), stats[:, cv2.CC_STAT_AREA]
    is_line = (length >= shortest) & (_line_widths(ink, labels) <= BROADEST_LINE * length)
    is_line[0] = is_line[labels[rim]] = False
    longest = int(np.where(is_line, length, 0).argmax())
    if not is_line[longest] or area[longest] < FOREMOST * ink.sum():
        return None
    return _Line(int(length[longest]), full, labels == longest)


def _is_in_shadow(sheet: _Region) -> bool:
    """Return whether a longer line crosses the edge: then it is the edge of a shadow or of light, not of paper."""
    assert sheet.writing
    everywhere = np.ones_like(sheet.small)
    light, dark = lines_of(sheet.small)
    line = _longest_line(dark if sheet.writing.dark else light, everywhere)
    if line is None or line.length <= LONGER * sheet.writing.length:
        return False
    share = float(sheet.filled()[line.mask].mean())
    return CROSSING[0] < share < CROSSING[1]
