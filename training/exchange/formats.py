"""The four file formats, and how to detect them."""

import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from training.exchange.archives import open_archive
from training.exchange.arrays import IMAGES_IDX, read_idx, read_npz, write_idx, write_npz
from training.exchange.examples import Example, ExchangeError
from training.exchange.pictures import TABLE, read_png, write_png
from training.exchange.quickdraw import read_ndjson, write_ndjson


@dataclass(frozen=True, slots=True)
class Format:
    """A file format for labelled digits."""

    name: str
    suffix: str
    title: str
    lacks: str  # examples that it cannot hold and leaves out
    ink: bool  # whether it holds strokes
    holds: Callable[[Example], bool]
    write: Callable[[Iterable[Example], BinaryIO], None]
    read: Callable[[BinaryIO], Iterator[Example]]


def _anything(example: Example) -> bool:
    return True


def _digit(example: Example) -> bool:
    return example.digit is not None


def _ink(example: Example) -> bool:
    return example.drawing.ink is not None


FORMATS = {
    each.name: each
    for each in (
        Format(
            "idx", "zip", "IDX, the format of MNIST", "drawings that are not digits", False, _digit, write_idx, read_idx
        ),
        Format("npz", "npz", "NPZ, NumPy's arrays", "", False, _anything, write_npz, read_npz),
        Format("png", "zip", "PNG pictures with a CSV", "", False, _anything, write_png, read_png),
        Format(
            "ndjson",
            "ndjson",
            "Strokes, the format of Quick, Draw!",
            "drawings without ink",
            True,
            _ink,
            write_ndjson,
            read_ndjson,
        ),
    )
}


def guess_format(file: BinaryIO) -> Format:
    """Detect a file's format from its content.

    Raises:
        ExchangeError: it has none of the four formats.
    """
    file.seek(0)
    start = file.read(64).lstrip()
    if start.startswith(b"{"):
        return FORMATS["ndjson"]
    if zipfile.is_zipfile(file):
        with open_archive(file) as archive:
            names = " ".join(archive.namelist())
        for sign, name in ((IMAGES_IDX, "idx"), ("images.npy", "npz"), (TABLE, "png")):
            if sign in names:
                return FORMATS[name]
    raise ExchangeError(
        "The file is incomplete or in no known format: IDX in a zip, NPZ, PNG with labels.csv in a zip, ndjson strokes."
    )
