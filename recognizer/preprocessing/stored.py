"""Stored form of ink: rounded to the precision of a pen and limited in size. The model reads the stored form."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from recognizer.preprocessing.geometry import ModelInput
from recognizer.preprocessing.ink import GRID, Stroke, draw_paths, ink_to_input, pen_paths, pixels_per_unit

Points = npt.NDArray[np.float64]
"""Points of one stroke, `(n, 2…4)`: x, y, optionally time in ms and pressure."""

Lists = list[list[list[float]]]
"""Strokes of points, as in JSON."""


@dataclass(frozen=True, slots=True)
class StoredInk:
    """Precision and size limits of stored ink."""

    largest: int = 64_000  # bytes of JSON
    shortest_point: int = 12  # bytes of JSON: `[1.0, 2.0], `
    decimals: int = 1  # minimum for x and y: pens resolve a tenth of a pixel
    extra_decimals: tuple[int, ...] = (0, 1, 2, 4, 6)  # tried in order, until the input is the same as without rounding
    latest: int = 10**13 - 1  # ms: a time since 1970 has 13 digits until the year 2286
    pressure_decimals: int = 3
    shrink: float = 0.9  # of the points that would fit on average, because the kept points may be longer


STORED = StoredInk()


def stored_form(strokes: Sequence[Points], surface: float) -> tuple[Lists, ModelInput]:
    """Return the stored form of strokes, and its model input.

    x and y are rounded to the fewest decimals, at least one, that leave the input unchanged byte for byte. Times become
    whole milliseconds, and pressures are clipped to 0…1 and rounded to three decimals. If the JSON would exceed 64 KB
    (about 2,400 points with time and pressure; a digit has a hundred), the drawing is rounded to the resolution of the
    input and thinned.

    Args:
        strokes: each with at least one point.
        surface: the longer side of the drawing surface, in the same pixels.

    Raises:
        NoInkError: there is no point at all.
    """
    places = [stroke[:, :2] for stroke in strokes]
    paths = pen_paths(places, surface)
    coarsest = _decimals_seen(places, surface)
    if sum(map(len, strokes)) * STORED.shortest_point <= STORED.largest:
        for decimals in (coarsest + extra for extra in STORED.extra_decimals):
            rounded = [np.round(place, decimals) for place in places]
            if all(map(np.array_equal, pen_paths(rounded, surface), paths)):
                kept = [_rounded(stroke, decimals).tolist() for stroke in strokes]
                if json_size(kept) > STORED.largest:
                    break  # more decimals would make it even larger
                return kept, draw_paths(paths)
    kept = _bounded([_rounded(stroke, coarsest) for stroke in strokes])
    return kept, ink_to_input([np.array(stroke)[:, :2] for stroke in kept], surface)


def thinned(strokes: Sequence[Points], most: int) -> list[Points]:
    """Thin out points, so that at most `most` stay, besides the two ends of each stroke.

    The kept points are spread evenly: along the path, each removed point is at most 1/`most` of the path's length after
    the kept point before it.
    """
    if sum(map(len, strokes)) <= most:
        return list(strokes)
    ends = np.cumsum([len(stroke) for stroke in strokes])
    points = np.concatenate([stroke[:, :2] for stroke in strokes])
    lengths = np.hypot(*np.diff(points, axis=0, prepend=points[:1]).T)
    lengths[ends[:-1]] = 0  # the pen was up between two strokes
    way = lengths.cumsum()
    stays = np.diff(np.floor(way / (way[-1] or 1.0) * most), prepend=0) > 0
    stays[0] = stays[ends[:-1]] = stays[ends - 1] = True
    return [stroke[stay] for stroke, stay in zip(strokes, np.split(stays, ends[:-1]), strict=True)]


def _decimals_seen(places: Sequence[Stroke], surface: float) -> int:
    """Return the number of decimals of a coordinate that the model input can resolve, at least one."""
    scale = pixels_per_unit(np.concatenate(places), surface)
    return max(STORED.decimals, math.ceil(math.log10(scale * GRID)))


def _rounded(stroke: Points, decimals: int) -> Points:
    rounded = np.round(stroke, decimals)
    if stroke.shape[1] > 2:
        rounded[:, 2] = np.rint(np.clip(stroke[:, 2], 0, STORED.latest))
    if stroke.shape[1] > 3:
        rounded[:, 3] = np.round(np.clip(stroke[:, 3], 0, 1), STORED.pressure_decimals)
    return rounded


def _bounded(strokes: Sequence[Points]) -> Lists:
    """Thin strokes until they fit. This terminates: 500 strokes (the maximum) fit when only their ends are left."""
    most = STORED.largest // STORED.shortest_point
    while (size := json_size(kept := [stroke.tolist() for stroke in thinned(strokes, most)])) > STORED.largest:
        most = int(most * STORED.shrink * STORED.largest / size)
    return kept


def json_size(ink: Any) -> int:
    """Return the size in bytes of the JSON that the database stores, with a space after each comma."""
    text = orjson.dumps(ink)
    return len(text) + text.count(b",")
