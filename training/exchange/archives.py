"""Zip files: written without timestamps, read as untrusted input."""

import gzip
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import IO, BinaryIO

from training.exchange.examples import LIMITS, ExchangeError

ENTRY = b"PK\x01\x02"  # signature of an entry in a zip's central directory
OTHER_FILES = 100  # allowed besides the pictures
SCAN_BLOCK = 1024 * 1024  # bytes
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
ENCRYPTED = 0x1  # flag


@contextmanager
def new_entry(archive: zipfile.ZipFile, name: str) -> Iterator[IO[bytes]]:
    """Open a new file in an archive for streamed writing; its date is always 1980, so it reveals nothing."""
    info = zipfile.ZipInfo(name)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o644 << 16
    with archive.open(info, "w", force_zip64=True) as entry:
        yield entry


@contextmanager
def open_archive(file: BinaryIO) -> Iterator[zipfile.ZipFile]:
    """Open a zip after checking that its central directory fits into memory and lists plain files only.

    Raises:
        ExchangeError: it has too many files, or one that is outside its folder, encrypted, or not stored or deflated.
    """
    if _entries_at_most(file) > LIMITS.pictures + OTHER_FILES:
        raise ExchangeError(f"The zip has more than {LIMITS.pictures:,} files.")
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            if not _is_inside(info.orig_filename):
                raise ExchangeError(f"The zip names a file outside its folder: {info.orig_filename[:100]!r}.")
            if info.compress_type not in METHODS or info.flag_bits & ENCRYPTED:
                raise ExchangeError(f"{info.filename[:100]!r} is encrypted or not compressed with deflate.")
        yield archive


def find_entry(archive: zipfile.ZipFile, *endings: str) -> zipfile.ZipInfo:
    """Return the only file whose name has one of these endings.

    Raises:
        ExchangeError: there is none, or more than one.
    """
    found = [info for info in archive.infolist() if info.filename.endswith(endings)]
    if len(found) != 1:
        raise ExchangeError(f"Expected one file …{endings[0]} in the zip, found {len(found)}.")
    return found[0]


def open_entry(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> IO[bytes]:
    """Open a file of the archive for streamed reading; a gzipped file is decompressed on the fly."""
    entry = archive.open(info)
    return gzip.GzipFile(fileobj=entry) if info.filename.endswith(".gz") else entry  # type: ignore[return-value]


def read_entry(archive: zipfile.ZipFile, info: zipfile.ZipInfo, most: int) -> bytes:
    """Read a file of the archive completely.

    Raises:
        ExchangeError: it is larger than `most` bytes.
    """
    if info.file_size > most:  # zipfile never decompresses more than this size
        raise ExchangeError(f"{info.filename[:100]!r} is larger than {most:,} bytes.")
    return archive.read(info)


def read_exactly(stream: IO[bytes], size: int) -> bytes:
    """Read exactly `size` bytes.

    Raises:
        ExchangeError: the stream has fewer.
    """
    content = stream.read(size)
    if len(content) != size:
        raise ExchangeError("The file is shorter than its header says.")
    return content


def expect_end(stream: IO[bytes]) -> None:
    """Check that the stream is at its end.

    Raises:
        ExchangeError: it has more data.
    """
    if stream.read(1):
        raise ExchangeError("The file is longer than its header says.")


def _entries_at_most(file: BinaryIO) -> int:
    """Return an upper bound of the entries without parsing the central directory, which could fill the memory."""
    file.seek(0)
    count, tail = 0, b""
    while block := file.read(SCAN_BLOCK):
        count += (tail + block).count(ENTRY)
        tail = block[1 - len(ENTRY) :]
    return count


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not (path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name or "\0" in name)
