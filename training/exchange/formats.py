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
    begins: bytes  # the first bytes of a file; empty for zips
    contains: str  # part of the name of an entry that only this kind of zip has; empty for other files
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
            name="idx",
            suffix="zip",
            title="IDX, the format of MNIST",
            lacks="drawings that are not digits",
            ink=False,
            begins=b"",
            contains=IMAGES_IDX,
            holds=_digit,
            write=write_idx,
            read=read_idx,
        ),
        Format(
            name="npz",
            suffix="npz",
            title="NPZ, NumPy's arrays",
            lacks="",
            ink=False,
            begins=b"",
            contains="images.npy",
            holds=_anything,
            write=write_npz,
            read=read_npz,
        ),
        Format(
            name="png",
            suffix="zip",
            title="PNG pictures with a CSV",
            lacks="",
            ink=False,
            begins=b"",
            contains=TABLE,
            holds=_anything,
            write=write_png,
            read=read_png,
        ),
        Format(
            name="ndjson",
            suffix="ndjson",
            title="Strokes, the format of Quick, Draw!",
            lacks="drawings without ink",
            ink=True,
            begins=b"{",
            contains="",
            holds=_ink,
            write=write_ndjson,
            read=read_ndjson,
        ),
    )
}


def guess_format(file: BinaryIO) -> Format:
    """Detect a file's format from its content.

    Raises:
        ExchangeError: it has none of the formats.
    """
    file.seek(0)
    start = file.read(64).lstrip()
    names = ""
    if zipfile.is_zipfile(file):
        with open_archive(file) as archive:
            names = " ".join(archive.namelist())
    for form in FORMATS.values():
        if start.startswith(form.begins) if form.begins else form.contains in names:
            return form
    titles = "; ".join(form.title for form in FORMATS.values())
    raise ExchangeError(f"The file is incomplete or in no known format: {titles}.")
