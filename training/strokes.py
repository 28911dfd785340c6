"""Pen strokes of known writers: the file format, and the split that keeps a writer on one side of it.

The file is gzipped JSON, `[{"label", "strokes": [[[x, y], …], …], "writer", "res", …}]`: `label` a digit or another
character, `strokes` in tablet units with y down, `res` the longer side of the drawing in them.
"""

import gzip
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recognizer.preprocessing.geometry import ModelInput
from recognizer.preprocessing.ink import Stroke, ink_to_input

SPLIT_BUCKETS = 10
FOLDS = 5  # each holds out another fifth of the writers, two buckets
BUNDLED_FOLD = 3  # the bundled model's: these writers are never trained on, never tuned on


@dataclass(frozen=True, slots=True)
class PenDrawing:
    """One character that one person drew: `digit` is 0–9, or None for what is not a digit."""

    digit: int | None
    strokes: list[Stroke]
    writer: str
    size: float  # the longer side, tablet units
    character: str  # what was asked for, a digit or another sign

    def to_input(self) -> ModelInput:
        """Draw it as production does: `(28, 28)` uint8."""
        return ink_to_input(self.strokes, self.size)


def writer_split(writer: str, fold: int = BUNDLED_FOLD) -> str:
    """Say which of `train`, `validation` and `test` a writer belongs to: a stable hash, equal on every machine.

    Of ten buckets two are for the test, one is for validation: calibration, thresholds and the choice between recipes.
    """
    bucket = writer_bucket(writer)
    if bucket % FOLDS == fold:
        return "test"
    return "validation" if bucket == (fold + 8) % SPLIT_BUCKETS else "train"


def writer_bucket(writer: str) -> int:
    """Map a writer to one of `SPLIT_BUCKETS` numbers, equal on every machine."""
    return int.from_bytes(hashlib.sha256(writer.encode()).digest()[:4], "big") % SPLIT_BUCKETS


def load_drawings(path: Path, split: str | None = None, fold: int = BUNDLED_FOLD) -> list[PenDrawing]:
    """Read a strokes file, all of it or one split of a fold.

    Characters flagged as `lookalike` (an O, an l) are left out: alone they can be read as a digit.

    Raises:
        ValueError: the file is not in the format of this module's docstring.
    """
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = json.load(file)
    try:
        return [
            PenDrawing(
                digit=row["label"] if isinstance(row["label"], int) else None,
                strokes=[np.asarray(stroke, np.float64)[:, :2] for stroke in row["strokes"]],
                writer=row["writer"],
                size=float(row["res"]),
                character=str(row["label"]),
            )
            for row in rows
            if not row.get("lookalike") and (split is None or writer_split(row["writer"], fold) == split)
        ]
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(f"{path} is not a strokes file: {error!r}") from error


def to_inputs(drawings: Iterable[PenDrawing]) -> np.ndarray:
    """Draw them all: `(n, 28, 28)` uint8."""
    return np.stack([drawing.to_input() for drawing in drawings])
