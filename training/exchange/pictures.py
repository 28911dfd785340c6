"""PNG: a zip with one 28×28 picture per drawing and a CSV file of labels."""

import csv
import io
import zipfile
from collections.abc import Iterable, Iterator
from tempfile import TemporaryFile
from typing import BinaryIO, TextIO

import numpy as np
from PIL import Image

from recognizer.labels import DIGITS, LABELS, NOT_A_DIGIT, encode
from recognizer.preprocessing import INPUT_SIDE, ModelInput
from recognizer.submissions import Drawing
from training.exchange.archives import find_entry, new_entry, open_archive, read_entry
from training.exchange.examples import LIMITS, Example, ExchangeError

TABLE = "labels.csv"
COLUMNS = ("file", "label", "answer", "model_version")
FORM = (INPUT_SIDE, INPUT_SIDE), "L"  # Pillow's size and mode
CODES = {str(encode(label)): label for label in LABELS}


def write_png(examples: Iterable[Example], out: BinaryIO) -> None:
    """Write `images/0000001.png` … and `labels.csv`: file, label, the model's answer and its version; -1: not a digit.

    Raises:
        ExchangeError: there are more pictures than a zip's central directory should list.
    """
    with TemporaryFile("w+", newline="", encoding="ascii") as lines, zipfile.ZipFile(out, "w") as archive:
        table = csv.writer(lines, lineterminator="\n")
        table.writerow(COLUMNS)
        for number, example in enumerate(examples, 1):
            if number > LIMITS.pictures:
                raise ExchangeError(f"There are more than {LIMITS.pictures:,} drawings: export npz or idx.")
            name = f"images/{number:07}.png"
            archive.writestr(zipfile.ZipInfo(name), _png(example.drawing.input))  # PNG is already compressed
            table.writerow([name, encode(example.digit), encode(example.answer), example.model_version])
        lines.seek(0)
        with new_entry(archive, TABLE) as entry:
            for line in lines:
                entry.write(line.encode("ascii"))


def read_png(file: BinaryIO) -> Iterator[Example]:
    """Read the pictures listed in `labels.csv` as model inputs. Columns other than file and label are ignored.

    Raises:
        ExchangeError: the CSV file or a picture is missing, too large or malformed.
    """
    with open_archive(file) as archive:
        content = read_entry(archive, find_entry(archive, TABLE), LIMITS.table)
        for where, row in _rows(io.TextIOWrapper(io.BytesIO(content), "utf-8-sig", newline="")):
            if row["label"] not in CODES:
                raise ExchangeError(
                    f"{where}: the label is {str(row['label'])[:40]!r}; expected {NOT_A_DIGIT} to {DIGITS[-1]}."
                )
            try:
                info = archive.getinfo(row["file"])
            except KeyError as error:
                raise ExchangeError(f"{where}: the zip has no file {str(row['file'])[:100]!r}.") from error
            image = _model_input(read_entry(archive, info, LIMITS.picture), where)
            yield Example(CODES[row["label"]], Drawing(image))


def _rows(text: TextIO) -> Iterator[tuple[str, dict[str, str]]]:
    """Read a table's rows, each with where it is."""
    table = csv.DictReader(_lines(text), strict=True)
    try:
        if not {"file", "label"} <= set(table.fieldnames or ()):
            raise ExchangeError(f"The first line of {TABLE} must name the columns `file` and `label`.")
        for row in table:
            yield f"{TABLE}, line {table.line_num}", row
    except (csv.Error, UnicodeDecodeError) as error:
        raise ExchangeError(f"{TABLE}, after line {table.line_num}: {error}.") from error


def _lines(text: TextIO) -> Iterator[str]:
    """Read lines of bounded length: a long line may have millions of columns, each an object in memory."""
    number = 0
    while line := text.readline(LIMITS.table_line + 1):
        number += 1
        if len(line) > LIMITS.table_line:
            raise ExchangeError(f"{TABLE}, line {number} is longer than {LIMITS.table_line:,} characters.")
        yield line


def _png(image: ModelInput) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def _model_input(content: bytes, where: str) -> ModelInput:
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            form = image.size, image.mode
            pixels = np.array(image) if form == FORM else None
    except Exception as error:  # hostile files make the decoder raise many kinds of errors
        raise ExchangeError(f"{where}: the picture is not a complete PNG file.") from error
    if pixels is None:
        raise ExchangeError(f"{where}: expected 28×28 pixels of 8 bits grey (L); got {form}.")
    return pixels
