"""IDX and NPZ: a zip with one array of images and one of labels. Both are streamed, never held in memory whole."""

import shutil
import tokenize
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from tempfile import TemporaryFile
from typing import IO, BinaryIO

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

from recognizer.labels import DIGITS, NOT_A_DIGIT, decode, encode
from recognizer.preprocessing import INPUT_SIDE
from recognizer.submissions import Drawing
from training.exchange.archives import expect_end, find_entry, new_entry, open_archive, open_entry, read_exactly
from training.exchange.examples import BATCH, LIMITS, Example, ExchangeError

PIXELS = INPUT_SIDE * INPUT_SIDE
Labels = npt.NDArray[np.int64]


@contextmanager
def _gathered(examples: Iterable[Example]) -> Iterator[tuple[BinaryIO, npt.NDArray[np.int8]]]:
    """Write the images to a temporary file, because the number of images is known only at the end."""
    labels = bytearray()
    with TemporaryFile() as images:
        for example in examples:
            images.write(example.drawing.input.tobytes())
            labels.append(encode(example.digit) & 0xFF)
        images.seek(0)
        yield images, np.frombuffer(labels, np.int8)


def _batches(stream: IO[bytes], labels: Labels) -> Iterator[Example]:
    for start in range(0, len(labels), BATCH):
        some = labels[start : start + BATCH].tolist()
        images = np.frombuffer(read_exactly(stream, len(some) * PIXELS), np.uint8)
        for label, image in zip(some, images.reshape(-1, INPUT_SIDE, INPUT_SIDE), strict=True):
            yield Example(decode(label), Drawing(image))
    expect_end(stream)


def _check_labels(labels: Labels, lowest: int) -> Labels:
    if len(labels) and not (lowest <= labels.min() and labels.max() <= DIGITS[-1]):
        raise ExchangeError(f"The labels are {labels.min()} to {labels.max()}; expected {lowest} to {DIGITS[-1]}.")
    return labels


# --- IDX: two zero bytes, 0x08 for uint8, the number of axes, big-endian sizes, data (Y. LeCun) -----------------------

IMAGES_IDX, LABELS_IDX = "images-idx3-ubyte", "labels-idx1-ubyte"


def write_idx(examples: Iterable[Example], out: BinaryIO) -> None:
    """Write a zip with an images and a labels file as MNIST has them, named `digits-…`. All labels must be digits."""
    with _gathered(examples) as (images, labels), zipfile.ZipFile(out, "w") as archive:
        with new_entry(archive, f"digits-{IMAGES_IDX}") as entry:
            entry.write(_idx_header(len(labels), INPUT_SIDE, INPUT_SIDE))
            shutil.copyfileobj(images, entry)
        with new_entry(archive, f"digits-{LABELS_IDX}") as entry:
            entry.write(_idx_header(len(labels)) + labels.tobytes())


def read_idx(file: BinaryIO) -> Iterator[Example]:
    """Read a zip with an images and a labels file, each gzipped or not.

    Raises:
        ExchangeError: they do not have MNIST's format, or do not match each other.
    """
    with (
        open_archive(file) as archive,
        open_entry(archive, find_entry(archive, IMAGES_IDX, f"{IMAGES_IDX}.gz")) as images,
        open_entry(archive, find_entry(archive, LABELS_IDX, f"{LABELS_IDX}.gz")) as labels,
    ):
        shape, (count,) = _idx_shape(images, 3), _idx_shape(labels, 1)
        _check_shapes(shape, (count,))
        values = np.frombuffer(read_exactly(labels, count), np.uint8).astype(np.int64)
        expect_end(labels)
        yield from _batches(images, _check_labels(values, lowest=0))


def _idx_header(*shape: int) -> bytes:
    return bytes([0, 0, 8, len(shape)]) + np.array(shape, ">u4").tobytes()


def _idx_shape(stream: IO[bytes], axes: int) -> tuple[int, ...]:
    if (magic := read_exactly(stream, 4)) != bytes([0, 0, 8, axes]):
        raise ExchangeError(f"Expected IDX with {axes} axes of uint8, magic 0000080{axes}; got {magic.hex()}.")
    return tuple(np.frombuffer(read_exactly(stream, 4 * axes), ">u4").tolist())


# --- NPZ: images.npy and labels.npy -----------------------------------------------------------------------------------


def write_npz(examples: Iterable[Example], out: BinaryIO) -> None:
    """Write `images` (n, 28, 28) uint8 and `labels` (n,) int8, -1 for not a digit, as `numpy.savez_compressed` does."""
    with _gathered(examples) as (images, labels), zipfile.ZipFile(out, "w") as archive:
        shape = (len(labels), INPUT_SIDE, INPUT_SIDE)
        with new_entry(archive, "images.npy") as entry:
            npy.write_array_header_1_0(entry, {"descr": "|u1", "fortran_order": False, "shape": shape})
            shutil.copyfileobj(images, entry)
        with new_entry(archive, "labels.npy") as entry:
            npy.write_array(entry, labels, allow_pickle=False)


def read_npz(file: BinaryIO) -> Iterator[Example]:
    """Read `images` and `labels`; the headers are checked before any data is read, and nothing is unpickled.

    Raises:
        ExchangeError: they have another shape or type.
    """
    with (
        open_archive(file) as archive,
        archive.open(find_entry(archive, "images.npy")) as images,
        archive.open(find_entry(archive, "labels.npy")) as labels,
    ):
        (shape, pixel), (lengths, label) = _npy_header(images), _npy_header(labels)
        if pixel != np.uint8 or label.kind not in "iu":
            raise ExchangeError(f"Expected images of uint8 and labels of int8; got {pixel} and {label}.")
        _check_shapes(shape, lengths)
        values = np.frombuffer(read_exactly(labels, lengths[0] * label.itemsize), label)
        expect_end(labels)
        yield from _batches(images, _check_labels(values, lowest=NOT_A_DIGIT).astype(np.int64))


def _npy_header(stream: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[np.generic]]:
    try:
        if npy.read_magic(stream) != (1, 0):
            raise ExchangeError("Expected .npy files of version 1.0.")  # later versions allow headers of any length
        shape, fortran_order, dtype = npy.read_array_header_1_0(stream)
    except (ValueError, SyntaxError, TypeError, tokenize.TokenError) as error:  # not a valid NumPy header
        raise ExchangeError("A file in the zip has no NumPy header.") from error
    if fortran_order:
        raise ExchangeError("The arrays are in Fortran order. Save them after numpy.ascontiguousarray.")
    return shape, dtype


def _check_shapes(images: tuple[int, ...], labels: tuple[int, ...]) -> None:
    if len(labels) != 1 or images != (*labels, INPUT_SIDE, INPUT_SIDE):
        raise ExchangeError(f"Expected images (n, 28, 28) and labels (n,); got {images} and {labels}.")
    if not 0 <= labels[0] <= LIMITS.rows:
        raise ExchangeError(f"The file has {labels[0]:,} drawings; at most {LIMITS.rows:,} are allowed.")
