"""Picture files that keep a decoder busy: many blocks, decompression bombs, many scans, the largest of each format."""

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from PIL import Image

from recognizer.preprocessing.containers import PNG

LARGEST = 4000, 3000  # pixels
LARGEST_JPEG = 8000, 6000
SIZE = 8_000_000  # bytes
SMALL = 400, 300

GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6  # a PNG's colour types
CHANNELS = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGBA: 4}


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def filled(chunk: bytes) -> bytes:
    """Repeat a chunk as often as it fits into a file."""
    return chunk * (SIZE // len(chunk))


def png(
    size: tuple[int, int] = SMALL,
    colour: int = GREY,
    bits: int = 8,
    before: bytes = b"",
    after: bytes = b"",
    part: int = 8192,
    grain: int = 0,
) -> bytes:
    """A PNG that uses the Paeth filter in every row, with blocks before and after its pixels."""
    width, height = size
    rows = np.full((height, 1 + width * CHANNELS[colour] * bits // 8), 0, np.uint8)
    if grain:
        rows[:, 1:] = np.random.default_rng(0).integers(0, grain, (height, rows.shape[1] - 1))
    rows[0, 1:] = 255
    rows[:, 0] = 4
    pixels = zlib.compress(rows.tobytes(), 1)
    parts = b"".join(chunk(b"IDAT", pixels[start : start + part]) for start in range(0, len(pixels), part))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    return PNG + header + before + parts + after + chunk(b"IEND")


def saved(form: str, size: tuple[int, int], mode: str = "RGB", grain: int = 8, **options: object) -> bytes:
    shape = size[::-1] if mode in "LP" else (*size[::-1], len(mode))
    image = Image.fromarray(np.random.default_rng(0).integers(0, grain, shape).astype(np.uint8))
    buffer = io.BytesIO()
    image.convert(mode).save(buffer, form, **options)
    return buffer.getvalue()


def jpeg(before: bytes) -> bytes:
    """A JPEG with blocks before its pixels."""
    content = saved("JPEG", SMALL)
    return content[:2] + before + content[2:]


def gif(before: bytes) -> bytes:
    """A GIF with blocks before its pixels."""
    content = saved("GIF", SMALL, "P")
    start = 13 + 3 * (2 << (content[10] & 7))
    return content[:start] + before + content[start:]


def scans(count: int, size: tuple[int, int] = LARGEST_JPEG, mode: str = "RGB") -> bytes:
    """A progressive JPEG that repeats its first scan."""
    content = saved("JPEG", size, mode, 1, progressive=True, subsampling=0)
    first, second = list(_scans(content))[:2]
    return content[:-2] + content[first:second] * (count - content.count(b"\xff\xda")) + content[-2:]


def _scans(content: bytes) -> Iterator[int]:
    """Yield the positions where scans begin, including their tables."""
    end = 0
    while (scan := content.find(b"\xff\xda", end)) >= 0:
        table = content.find(b"\xff\xc4", end, scan)
        yield table if table >= 0 else scan
        end = scan + 2


def exif(entries: int, shared: int = 0) -> bytes:
    """EXIF with many entries, which may share their bytes."""
    kind, count = (7, shared) if shared else (3, 1)
    rest = (struct.pack("<HHII", 0x0113 + entry, kind, count, 8) for entry in range(entries - 1))
    return (
        b"II*\0" + struct.pack("<IHHHII", 8, entries, 0x0112, 3, 1, 6) + b"".join(rest) + bytes(4 + max(shared - 20, 0))
    )


MEGABYTE = zlib.compress(bytes(1_000_000), 9)

FILES: dict[str, Callable[[], bytes]] = {
    "PNG of colour profiles": lambda: png(before=filled(chunk(b"iCCP", b"a\0\0" + MEGABYTE))),
    "PNG of packed texts": lambda: png(before=chunk(b"zTXt", b"a\0\0" + MEGABYTE) * 63),
    "PNG of empty texts": lambda: png(before=filled(chunk(b"tEXt", b"a\0"))),
    "PNG of unknown blocks": lambda: png(before=filled(chunk(b"prVt"))),
    "PNG of unknown blocks at the end": lambda: png(after=filled(chunk(b"prVt"))),
    "PNG of palettes": lambda: png(colour=PALETTE, before=filled(chunk(b"PLTE", bytes(768)))),
    "PNG in parts of one byte": lambda: png((900, 900), part=1, grain=4),
    "PNG of 60,000 EXIF entries": lambda: png(before=chunk(b"eXIf", exif(60_000))),
    "PNG of EXIF entries that share 100 KB": lambda: png(before=chunk(b"eXIf", exif(1000, 100_000))),
    "PNG of EXIF entries that share 32 KB": lambda: png(before=chunk(b"eXIf", exif(2500, 32_000))),
    "JPEG of EXIF entries that share 32 KB": lambda: jpeg(
        b"\xff\xe1" + struct.pack(">H", 8 + len(exif(2500, 32_000))) + b"Exif\0\0" + exif(2500, 32_000)
    ),
    "JPEG of comments": lambda: jpeg(filled(b"\xff\xfe\0\2")),
    "JPEG of fill bytes": lambda: jpeg(filled(b"\xff")),
    "JPEG of escaped bytes": lambda: jpeg(filled(b"\xff\0")),
    "GIF of comments": lambda: gif(b"!\xfe" + filled(b"\1a") + b"\0"),
    "GIF of extensions": lambda: gif(filled(b"!\xfe\0")),
    "GIF of zeros": lambda: gif(filled(b"\0")),
    "JPEG of 32 scans, 48 MP": lambda: scans(32),
    "JPEG of 32 scans, 18 MP": lambda: scans(32, (4900, 3700)),
    "JPEG of 12 scans, 48 MP": lambda: scans(12),
    "JPEG, 48 MP": partial(saved, "JPEG", LARGEST_JPEG),
    "PNG of 16-bit RGBA, 12 MP": partial(png, LARGEST, RGBA, 16),
    "PNG of 8-bit RGBA, 12 MP": partial(png, LARGEST, RGBA),
    "PNG of 16-bit grey with alpha, 12 MP": partial(png, LARGEST, GREY_ALPHA, 16),
    "PNG of 16-bit grey, 12 MP": partial(png, LARGEST, GREY, 16),
    "PNG of noise, 12 MP": partial(png, LARGEST, RGB, grain=2),
    "PNG of one row, 12 MP": partial(png, (12_000_000, 1)),
    "PNG of one column, 12 MP": partial(png, (1, 12_000_000)),
    "WebP, 12 MP": partial(saved, "WEBP", LARGEST, grain=64, method=0),
    "WebP without loss, 12 MP": partial(saved, "WEBP", LARGEST, "RGBA", grain=2, lossless=True, method=0),
    "GIF, 12 MP": partial(saved, "GIF", LARGEST, "P"),
    "BMP, 8 MB": partial(saved, "BMP", (1800, 1400)),
}
"""Functions that make a file, by its name."""
