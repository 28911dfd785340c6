"""Pen strokes of known writers: the file format, and a split that never divides a writer's drawings.

The file is gzipped JSON, `[{"label", "strokes": [[[x, y], …], …], "writer", "res", …}]`: `label` is a digit or another
character, `strokes` are in tablet units with y down, `res` is the longer side of the drawing in tablet units.
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
FOLDS = 5  # each holds out a different fifth of the writers, two buckets
BUNDLED_FOLD = 3  # of the bundled model: its test writers are never used for training or tuning


@dataclass(frozen=True, slots=True)
class PenDrawing:
    """One character drawn by one person: `digit` is 0–9, or None for a non-digit."""

    digit: int | None
    strokes: list[Stroke]
    writer: str
    size: float  # the longer side, tablet units
    character: str  # the character that the writer was asked for

    def to_input(self) -> ModelInput:
        """Preprocess it as production does: `(28, 28)` uint8."""
        return ink_to_input(self.strokes, self.size)


def writer_split(writer: str, fold: int = BUNDLED_FOLD) -> str:
    """Return a writer's split, `train`, `validation` or `test`, by a stable hash that is equal on every machine.

    Two of ten buckets are for test, one for validation (calibration, thresholds and the choice between recipes).
    """
    bucket = writer_bucket(writer)
    if bucket % FOLDS == fold:
        return "test"
    return "validation" if bucket == (fold + 8) % SPLIT_BUCKETS else "train"


def writer_bucket(writer: str) -> int:
    """Return a writer's bucket, 0 to `SPLIT_BUCKETS` - 1; equal on every machine."""
    return int.from_bytes(hashlib.sha256(writer.encode()).digest()[:4], "big") % SPLIT_BUCKETS


def load_drawings(path: Path, split: str | None = None, fold: int = BUNDLED_FOLD) -> list[PenDrawing]:
    """Load a strokes file, or one split of a fold.

    Characters flagged as `lookalike` (O, l) are left out: without context they can be read as digits.

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
    """Preprocess all drawings: `(n, 28, 28)` uint8."""
    return np.stack([drawing.to_input() for drawing in drawings])
