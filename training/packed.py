"""Compact ink of training labels: bounded memory per drawing, however many points it was sent with."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from recognizer.preprocessing import Stroke
from recognizer.preprocessing.stored import thinned

MOST_POINTS = 500  # per drawing, besides the ends of its strokes: five times a usual one; more are not visible at 28×28
MOST_STROKES = 30  # a digit has one to six; distorting one stroke costs as much as a whole picture


@dataclass(frozen=True, slots=True)
class PackedInk:
    """Concatenated strokes: at most 5 KB, where the API's largest drawing would take 160 KB as arrays."""

    points: npt.NDArray[np.float32]  # (n, 2) in pixels of the drawing surface
    ends: npt.NDArray[np.uint16]  # end of each stroke but the last, as an index into `points`

    @classmethod
    def pack(cls, strokes: Sequence[Stroke]) -> "PackedInk | None":
        """Pack at most `MOST_POINTS` and the ends of each stroke; return None for no strokes or too many."""
        if not 0 < len(strokes) <= MOST_STROKES:
            return None
        kept = thinned(strokes, MOST_POINTS)
        ends = np.cumsum([len(stroke) for stroke in kept])[:-1]
        return cls(np.concatenate(kept).astype(np.float32), ends.astype(np.uint16))

    def strokes(self) -> list[Stroke]:
        """Return one `(n, 2)` array per stroke, in pixels of the drawing surface."""
        return np.split(self.points.astype(np.float64), self.ends)


def stored_strokes(text: str) -> tuple[list[Stroke], float]:
    """Parse a submission's ink from the stored JSON: strokes, and the longer side of the drawing surface in pixels."""
    ink: dict[str, Any] = orjson.loads(text)
    strokes = [np.array([point[:2] for point in stroke], np.float64) for stroke in ink["strokes"] if stroke]
    return strokes, float(max(ink["width"], ink["height"]))
