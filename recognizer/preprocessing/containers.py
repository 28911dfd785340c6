"""Strips an uploaded file to the blocks that Pillow needs: the first picture and its orientation.

Pillow walks a file's blocks in Python and decompresses every colour profile, text and EXIF entry: 8 MB of them took
17 s, and EXIF entries that share their bytes can fill the memory.
"""

import io
import re
import struct
from collections.abc import Iterator

from recognizer.preprocessing.geometry import PreprocessingError

MOST_BLOCKS = 20_000  # in a PNG, or in a JPEG before its pixels; libpng writes 1,024 in 8 MB
MOST_READS = 100_000  # by Pillow: one to four per block

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
# APP0 and APP14 describe a JPEG's channels; the other APP segments and comments are metadata.
PICTURE = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}
PICTURE |= {b"\xff" + bytes([marker]) for marker in range(1, 0xFE) if not 0xE0 < marker < 0xF0 or marker == 0xEE}
JPEG_MARKER = re.compile(rb"\xff[^\x00\xff]")
JPEG_BARE = {b"\xff" + bytes([marker]) for marker in (0x01, *range(0xD0, 0xDA))}  # markers without a length field
JPEG_SCAN = b"\xff\xda"

Blocks = Iterator[tuple[bytes, bytes]]
"""The kind of each block, and all of its bytes."""


class BlockFile(io.BytesIO):
    """An in-memory file that ends after `MOST_READS` reads."""

    reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads += 1
        return super().read(size) if self.reads <= MOST_READS else b""


def without_metadata(content: bytes) -> bytes:
    """Remove everything from a PNG or JPEG except its first picture and the first EXIF block.

    Other files are returned unchanged.

    Raises:
        PreprocessingError: the file has more than `MOST_BLOCKS` blocks.
        struct.error: it ends within the header of a block.
    """
    if content.startswith(PNG):
        return PNG + b"".join(_picture_of(_png_blocks(content)))
    if content.startswith(JPEG):
        return JPEG + b"".join(_picture_of(_jpeg_blocks(content)))
    return content


def is_deep_png(content: bytes) -> bool:
    """Return whether a file is a PNG with 16 bits per sample."""
    return content.startswith(PNG) and content[24:25] == b"\x10"  # in the header, which comes first


def _picture_of(blocks: Blocks) -> Iterator[bytes]:
    has_exif = False
    for count, (kind, block) in enumerate(blocks, 1):
        if count > MOST_BLOCKS:
            raise PreprocessingError(f"The picture's file has more than {MOST_BLOCKS} blocks.")
        is_exif = kind == b"eXIf" or (kind == b"\xff\xe1" and block.startswith(b"Exif\0\0", 4))
        if kind in PICTURE or (is_exif and not has_exif):
            yield block
        has_exif |= is_exif


def _png_blocks(content: bytes) -> Blocks:
    """Yield chunks with their type: https://www.w3.org/TR/png-3/#5Chunk-layout."""
    start, kind = len(PNG), b""
    while start < len(content) and kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", content, start)
        yield kind, content[start : start + 12 + length]
        start += 12 + length


def _jpeg_blocks(content: bytes) -> Blocks:
    """Yield segments with their marker: ITU-T T.81, B.1.1. The last one is everything from the first scan on."""
    end = len(JPEG)
    while marker := JPEG_MARKER.search(content, end):
        start, kind = marker.start(), marker[0]
        if kind == JPEG_SCAN:
            yield kind, content[start:]
            return
        end = start + 2
        if kind not in JPEG_BARE:
            end += struct.unpack_from(">H", content, end)[0]
        yield kind, content[start:end]
