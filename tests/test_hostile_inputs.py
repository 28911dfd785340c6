"""Invalid input gets a 4xx answer in JSON with a reason, stores nothing, and leaves the site working."""

import base64
import binascii
import io
import json
import struct
import time
import uuid
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from django.contrib.auth.models import User
from django.core import signing
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections
from django.test import Client
from django.test.client import BOUNDARY, MULTIPART_CONTENT, RequestFactory, encode_multipart
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from recognizer import registry
from recognizer.engine import Engine, engine
from recognizer.models import Correction, ModelVersion, Submission
from tests.conftest import Visitor
from tests.drawings import THREE, canary, encoded, picture_of
from web.middleware import without_charset
from web.visitors import COOKIE

pytestmark = pytest.mark.django_db

SUBMISSIONS = "/api/v1/submissions"
PREVIEWS = "/api/v1/previews"
JSON = "application/json"
LIMIT = 8 * 1024 * 1024  # of a body, bytes
REFUSED = (400,)
READ_OR_REFUSED = (200, 201, 400)  # odd but legitimate: the server must not fail

Headers = dict[str, str]
Make = Callable[[], bytes]


# --- Ink and other JSON -----------------------------------------------------------------------------------------------


def ink(strokes: Any, width: Any = 280, height: Any = 280) -> dict[str, Any]:
    return {"strokes": strokes, "width": width, "height": height}


def raw_ink(number: str) -> bytes:
    """Ink with a number that Python's own encoder does not write."""
    return b'{"strokes": [[[10, 10], [%s, 90]]], "width": 280, "height": 280}' % number.encode()


LINE = [[10, 10], [10, 200]]
BOMB = "' OR 1=1; DROP TABLE recognizer_submission; --"

BAD_JSON: dict[str, Any] = {
    "null instead of an object": None,
    "true instead of an object": True,
    "a number instead of an object": 7,
    "a string instead of an object": "strokes",
    "a list instead of an object": [THREE],
    "an object with nothing in it": {},
    "an object with other fields only": {"stroke": [LINE], "__class__": "x", "constructor": {}},
    "strokes are null": ink(None),
    "strokes are true": ink(True),
    "strokes are a number": ink(3),
    "strokes are a string": ink("[[[1,2],[3,4]]]"),
    "strokes are an object": ink({"0": LINE}),
    "a stroke is null": ink([None]),
    "a stroke is an object": ink([{"0": [1, 2]}]),
    "a stroke is a string": ink(["ab", "cd"]),
    "a stroke is a number beside a good one": ink([LINE, 5]),
    "a point is null": ink([[None, [1, 2]]]),
    "a point is a number": ink([[1, 2]]),
    "a point is an object": ink([[{"x": 1, "y": 2}]]),
    "a point is a string of two": ink([["12", "34"]]),
    "a point is empty": ink([[[], [1, 2]]]),
    "a point has x only": ink([[[1], [2]]]),
    "a point has five numbers": ink([[[1, 2, 3, 0.5, 5]]]),
    "a point has a hundred thousand numbers": ink([[[1] * 100_000]]),
    "x is null": ink([[[None, 2], [3, 4]]]),
    "x is true": ink([[[True, 2], [3, 4]]]),
    "x is a string": ink([[["1", 2], [3, 4]]]),
    "x is a list": ink([[[[1], 2], [3, 4]]]),
    "x is an object": ink([[[{}, 2], [3, 4]]]),
    "x is an SQL string": ink([[[BOMB, 2], [3, 4]]]),
    "time is a string": ink([[[1, 2, "now"], [3, 4, "later"]]]),
    "pressure is null": ink([[[1, 2, 3, None], [3, 4, 5, None]]]),
    "time is beyond what can be kept": ink([[[10, 10, 1e308], [10, 200, 1e308]]]),
    "pressure is beyond what can be kept": ink([[[10, 10, 0, -1.7e308], [10, 200, 1, 1.7e308]]]),
    "no stroke at all": ink([]),
    "one stroke without points": ink([[]]),
    "five hundred strokes without points": ink([[]] * 500),
    "one stroke more than allowed": ink([[[1, 2]]] * 501),
    "one point more than allowed": ink([[[1, 2]] * 10_001]),
    "a hundred thousand strokes": ink([[]] * 100_000),
    "a point far to the right": ink([[[10, 10], [1e9, 10]]]),
    "a point far above": ink([[[10, 10], [10, -1e9]]]),
    "a point just too far outside": ink([[[10, 10], [10, 561]]]),
    "a point at the end of all floats": ink([[[10, 10], [1.7e308, -1.7e308]]]),
    "the largest integers": ink([[[2**64 - 1, -(2**63)], [1, 2]]]),
    "width is missing": {"strokes": [LINE], "height": 280},
    "height is missing": {"strokes": [LINE], "width": 280},
    "width is zero": ink([LINE], width=0),
    "width is negative": ink([LINE], width=-280),
    "width is a string": ink([LINE], width="280"),
    "width is true": ink([LINE], width=True),
    "width is null": ink([LINE], width=None),
    "width is a list": ink([LINE], width=[280]),
    "width is huge": ink([LINE], width=1e300),
    "height is below one pixel": ink([LINE], height=0.5),
    "height is just too large": ink([LINE], height=20_001),
    "height is an object": ink([LINE], height={"value": 280}),
    "image is null": {"image": None},
    "image is true": {"image": True},
    "image is a number": {"image": 5},
    "image is a list of data URLs": {"image": ["data:image/png;base64,AAAA"]},
    "image is an object": {"image": {"data": "AAAA"}},
    "image is null beside good strokes": {"image": None} | THREE,
}

BAD_NUMBERS = {
    "NaN": raw_ink("NaN"),
    "Infinity": raw_ink("Infinity"),
    "minus Infinity": raw_ink("-Infinity"),
    "1e400": raw_ink("1e400"),
    "an integer of four hundred digits": raw_ink("9" * 400),
    "an integer of a hundred thousand digits": raw_ink("9" * 100_000),
    "a float of a hundred thousand decimals with a huge exponent": raw_ink("0." + "1" * 100_000 + "e999"),
    "a hexadecimal number": raw_ink("0x10"),
    "a number with a leading plus": raw_ink("+10"),
    "a width of NaN": b'{"strokes": [[[1,2],[3,4]]], "width": NaN, "height": 280}',
}

GOOD = json.dumps(THREE).encode()
BAD_BYTES = {
    "an empty body": b"",
    "one space": b" ",
    "JSON cut short": GOOD[:-40],
    "JSON with more behind it": GOOD + b"}",
    "two JSON documents": GOOD + GOOD,
    "a trailing comma": b'{"strokes": [],}',
    "single quotes": b"{'strokes': []}",
    "comments in JSON": b"/* */" + GOOD,
    "invalid UTF-8": b'{"strokes": "\xff\xfe"}',
    "a lone surrogate": b'{"image": "\\ud800"}',
    "a byte order mark": b"\xef\xbb\xbf" + GOOD,
    "UTF-16": json.dumps(THREE).encode("utf-16"),
    "UTF-32": json.dumps(THREE).encode("utf-32"),
    "ten thousand open brackets": b"[" * 10_000,
    "ten thousand nested lists": b"[" * 10_000 + b"]" * 10_000,
    "ten thousand nested objects": b'{"strokes":' * 10_000 + b"1" + b"}" * 10_000,
    "nine hundred nested lists as strokes": b'{"width":9,"height":9,"strokes":' + b"[" * 900 + b"]" * 900 + b"}",
    "NUL bytes": b"\0" * 1000,
    "an XML bomb": b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><x>&b;</x>',
    "a pickle": b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94.",
    "a form": b"strokes=1&width=2",
    "JSON with NUL in a key": b'{"str\\u0000okes": []}',
}

BAD_CONTENT_TYPES = {
    "no content type": "",
    "text": "text/plain",
    "HTML": "text/html",
    "XML": "application/xml",
    "a URL-encoded form": "application/x-www-form-urlencoded",
    "a picture sent bare": "image/png",
    "almost JSON": "application/jsonp",
    "a media type without a slash": "json",
    "nothing but semicolons": ";;;;;;;;",
    "a media type of eight thousand letters": "a" * 8000 + "/json",
    "eight thousand semicolons": "application/json" + ";" * 8000,
    "a template": "{{7*7}}/{% debug %}",
}


# --- Pictures ---------------------------------------------------------------------------------------------------------

DRAWN = picture_of(canary(3))
COLOURED = np.stack([DRAWN, DRAWN, np.full_like(DRAWN, 255)], axis=-1)
BLANK = np.full((60, 60), 255, np.uint8)


def chunk(kind: bytes, data: bytes, crc: int | None = None) -> bytes:
    check = zlib.crc32(kind + data) if crc is None else crc
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)


def png(width: int, height: int, pixels: bytes, extra: bytes = b"", depth: int = 8, colour: int = 0) -> bytes:
    """A hand-written PNG with valid CRCs; `pixels` is the compressed content of IDAT."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def zeros(count: int) -> bytes:
    """Compress zero bytes without holding them in memory."""
    compressor, block = zlib.compressobj(9), bytes(1 << 20)
    parts = [compressor.compress(block) for _ in range(count >> 20)]
    return b"".join([*parts, compressor.compress(bytes(count % (1 << 20))), compressor.flush()])


def saved(image: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


@cache
def good(form: str = "PNG") -> bytes:
    return encoded(DRAWN, form)


def flipped(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :]


def without_data(kind: bytes, **bad: Any) -> bytes:
    """A good PNG with one chunk more, right behind its header."""
    return good()[:33] + chunk(kind, **bad) + good()[33:]


def gif(width: int, height: int, frames: int = 1) -> bytes:
    """A GIF of one-pixel frames on a logical screen of any size."""
    frame = b"\x21\xf9\x04\0\x01\0\0\0\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\0"
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff" + frame * frames + b";"


def apng(frames: int) -> bytes:
    """An animated PNG: the good one, and frames of one pixel behind it."""
    body, control = [], struct.pack(">IIIIHHBB", 280, 280, 0, 0, 1, 10, 0, 0)
    small = struct.pack(">IIIIHHBB", 1, 1, 0, 0, 1, 10, 0, 0)
    for number in range(1, 2 * frames, 2):
        data = struct.pack(">I", number + 1) + zlib.compress(b"\0\0")
        body.append(chunk(b"fcTL", struct.pack(">I", number) + small) + chunk(b"fdAT", data))
    head = chunk(b"acTL", struct.pack(">II", frames + 1, 0)) + chunk(b"fcTL", struct.pack(">I", 0) + control)
    return good()[:33] + head + good()[33:-12] + b"".join(body) + good()[-12:]


def animated_webp(frames: int) -> bytes:
    """An animated WebP whose last frame is repeated many times."""
    pictures = [Image.fromarray(np.full((8, 8), shade, np.uint8)).convert("RGB") for shade in (0, 255)]
    two = saved(pictures[0], "WEBP", save_all=True, append_images=pictures[1:], lossless=True)
    last = two[two.rindex(b"ANMF") :]
    body = two[8:] + last * frames
    return b"RIFF" + struct.pack("<I", len(body)) + body


def bmp(width: int, height: int, *, bits: int = 8, packing: int = 0, pixels: bytes = b"") -> bytes:
    palette = b"".join(bytes((shade, shade, shade, 0)) for shade in range(256)) if bits == 8 else b""
    start = 54 + len(palette)
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, packing, len(pixels), 0, 0, len(palette) // 4, 0)
    return b"BM" + struct.pack("<IHHI", start + len(pixels), 0, 0, start) + header + palette + pixels


def jpeg_of_many_scans(scans: int) -> bytes:
    """A progressive JPEG that repeats its last scan: about thirty bytes each, and a pass over all pixels."""
    base = encoded(np.full((3000, 3000), 255, np.uint8), "JPEG", progressive=True, quality=50)
    scan = base[base.rindex(b"\xff\xda") : -2]
    return base[:-2] + scan * scans + b"\xff\xd9"


def with_exif(raw: bytes) -> bytes:
    return saved(Image.fromarray(DRAWN), "JPEG", exif=b"Exif\0\0" + raw)


def orientation(value: int) -> bytes:
    """An EXIF directory with the orientation entry only."""
    return struct.pack(">HHHIHHI", 1, 0x0112, 3, 1, value, 0, 0)


def with_text(text: str) -> bytes:
    notes = PngImagePlugin.PngInfo()
    notes.add_text("Comment", text, zip=True)
    return saved(Image.fromarray(DRAWN), "PNG", pnginfo=notes)


def noise(height: int, width: int, seed: int = 1) -> bytes:
    return encoded(np.random.default_rng(seed).integers(0, 256, (height, width), np.uint8))


def dotted_page() -> np.ndarray:
    """Dots so close to a blot, and to each other, that each might be part of the digit."""
    page = np.full((1000, 1000), 255, np.uint8)
    for shift in (0, 1):
        page[shift::4, 0::4] = page[shift::4, 1::4] = 0
    page[:30, :30] = 0
    return page


def palette_with_holes() -> bytes:
    return saved(Image.fromarray(DRAWN).convert("P"), "PNG", transparency=bytes(range(256)))


def see_through() -> bytes:
    return encoded(np.zeros((50, 50, 4), np.uint8))


BAD_PICTURES: dict[str, Make] = {
    "an empty file": lambda: b"",
    "one byte": lambda: b"\x89",
    "words": lambda: b"this is not a picture",
    "a thousand NUL bytes": lambda: bytes(1000),
    "an SVG with a script": lambda: b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
    "an HTML page": lambda: b"<!doctype html><script>alert(1)</script>",
    "a PDF": lambda: b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog >>\nendobj\n%%EOF",
    "an EPS, which would need Ghostscript": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EOF\n",
    "an ELF program": lambda: b"\x7fELF\x02\x01\x01" + bytes(57),
    "a Windows program": lambda: b"MZ\x90\0" + bytes(60),
    "a ZIP archive": lambda: b"PK\x03\x04" + bytes(60),
    "a gzip file": lambda: b"\x1f\x8b\x08" + bytes(60),
    "an MP4 film": lambda: b"\0\0\0\x18ftypmp42" + bytes(60),
    "a HEIC picture": lambda: b"\0\0\0\x18ftypheic" + bytes(60),
    "a TIFF, which is not taken": lambda: encoded(DRAWN, "TIFF"),
    "an icon, which is not taken": lambda: saved(Image.fromarray(DRAWN), "ICO"),
    "a PPM, which is not taken": lambda: encoded(DRAWN, "PPM"),
    "a TGA, which is not taken": lambda: encoded(DRAWN, "TGA"),
    "a JPEG 2000 header": lambda: b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(60),
    "a script behind a GIF's magic": lambda: b"GIF89a/*" + b" " * 100 + b"*/=1;alert(1)//",
    "a PNG's magic and nothing else": lambda: b"\x89PNG\r\n\x1a\n",
    "a PNG cut in its header": lambda: good()[:20],
    "a PNG cut in its pixels": lambda: good()[:-200],
    "a JPEG cut in its header": lambda: good("JPEG")[:100],
    "a JPEG cut in its pixels": lambda: good("JPEG")[:-1500],
    "a WebP cut short": lambda: good("WEBP")[:-100],
    "a GIF cut short": lambda: good("GIF")[:-300],
    "a BMP cut short": lambda: good("BMP")[:-300],
    "a PNG with a wrong CRC in its header": lambda: flipped(good(), 30),
    "a PNG with damaged zlib data": lambda: png(28, 28, b"\x78\x9c" + b"\xff" * 100),
    "a PNG without pixels": lambda: png(28, 28, b""),
    "a PNG with fewer pixels than it says": lambda: png(280, 280, zlib.compress(bytes(100))),
    "a PNG of width zero": lambda: png(0, 28, zeros(0)),
    "a PNG of size zero": lambda: png(0, 0, zeros(0)),
    "a PNG of a negative size": lambda: png(2**32 - 1, 2**32 - 28, zeros(28)),
    "a PNG of a colour type that does not exist": lambda: png(28, 28, zeros(28 * 29), colour=5),
    "a PNG of a depth that does not exist": lambda: png(28, 28, zeros(28 * 29), depth=3),
    "a PNG that says 60000 by 60000": lambda: png(60_000, 60_000, zeros(1000)),
    "a PNG that is 20000 by 20000": lambda: png(20_000, 20_000, zeros(20_000 * 2501), depth=1),
    "a PNG of one pixel more than allowed": lambda: png(24_000_001, 1, zeros(1000)),
    "a PNG of one row of 24 million pixels": lambda: png(24_000_000, 1, zeros(3_000_001), depth=1),
    "a PNG of one column of a million pixels": lambda: png(1, 1_000_000, zeros(2_000_000)),
    "a GIF with a screen of 65535 by 65535": lambda: gif(65_535, 65_535),
    "a GIF of no size": lambda: gif(0, 0),
    "a GIF of thousands of frames": lambda: gif(64, 64, 5000),
    "a WebP of thousands of frames": lambda: animated_webp(3000),
    "a BMP of a huge width": lambda: bmp(2**31 - 1, 1),
    "a BMP of a huge size": lambda: bmp(2**31 - 1, 2**31 - 1),
    "a BMP of a negative width": lambda: bmp(-28, 28, pixels=bytes(784)),
    "a BMP of the most negative height": lambda: bmp(28, -(2**31), pixels=bytes(784)),
    "a BMP of an unknown packing": lambda: bmp(28, 28, packing=99, pixels=bytes(784)),
    "a BMP of 13 bits": lambda: bmp(28, 28, bits=13, pixels=bytes(784)),
    "a blank white picture": lambda: encoded(BLANK),
    "a blank black picture": lambda: encoded(BLANK * 0),
    "a blank grey JPEG": lambda: encoded(BLANK // 2, "JPEG"),
    "a blank colour picture": lambda: encoded(np.full((60, 60, 3), (200, 30, 90), np.uint8)),
    "a picture transparent all over": see_through,
    "one white pixel": lambda: encoded(BLANK[:1, :1]),
    "one pixel by ten thousand": lambda: encoded(np.full((10_000, 1), 255, np.uint8)),
    "ten thousand pixels by one": lambda: encoded(np.full((1, 10_000), 255, np.uint8)),
    "pure noise": lambda: noise(300, 300),
    "pure noise of one row": lambda: noise(1, 500),
}

ODD_PICTURES: dict[str, Make] = {
    "16 bits of grey": lambda: saved(Image.fromarray(DRAWN.astype(np.uint16) * 257), "PNG"),
    "16 bits of grey with a transparent level": lambda: png(
        28, 28, zlib.compress(bytes(28 * 57)), chunk(b"tRNS", b"\xff\xff"), depth=16
    ),
    "16 bits of colour and alpha": lambda: png(28, 28, zeros(28 * (1 + 28 * 8)), depth=16, colour=6),
    "one bit": lambda: saved(Image.fromarray(DRAWN).convert("1"), "PNG"),
    "a CMYK JPEG": lambda: saved(Image.fromarray(COLOURED).convert("CMYK"), "JPEG"),
    "a palette with transparency": palette_with_holes,
    "a palette that does not reach its pixels": lambda: png(
        28, 28, zlib.compress(bytes([0, *range(200, 228)] * 28)), chunk(b"PLTE", b"\0\0\0\xff\xff\xff"), colour=3
    ),
    "grey with alpha": lambda: saved(Image.fromarray(DRAWN).convert("LA"), "PNG"),
    "garbage as its colour profile": lambda: without_data(b"iCCP", data=b"x\0\0" + zlib.compress(b"garbage" * 99)),
    "a colour profile that is no zlib": lambda: without_data(b"iCCP", data=b"x\0\0garbage"),
    "a wrong CRC behind its pixels": lambda: flipped(good(), -14 % len(good())),
    "an unknown chunk with a wrong CRC": lambda: without_data(b"abCd", data=b"x", crc=1),
    "garbage as EXIF": lambda: with_exif(b"MM\0*garbage" * 50),
    "EXIF that turns it over": lambda: with_exif(b"MM\0*\0\0\0\x08" + orientation(8)),
    "EXIF that says orientation 99": lambda: with_exif(b"MM\0*\0\0\0\x08" + orientation(99)),
    "EXIF whose directory is its own next": lambda: with_exif(b"MM\0*\0\0\0\x08\0\0\0\0\0\x08"),
    "a text bomb that stays packed": lambda: without_data(b"zTXt", data=b"Comment\0\0" + zeros(20 << 20)),
    "half a megabyte of text": lambda: with_text("x" * 500_000),
    "PNG and ZIP in one": lambda: good() + b"PK\x05\x06" + bytes(18),
    "GIF and script in one": lambda: good("GIF") + b"/*<script>alert(1)</script>*/",
    "JPEG and page in one": lambda: good("JPEG") + b"<html><script>alert(1)</script></html>",
    "an animated PNG of thousands of frames": lambda: apng(3000),
    "a PNG that says it has four billion frames": lambda: without_data(b"acTL", data=b"\xff" * 8),
    "a BMP from the top down": lambda: bmp(28, -28, pixels=bytes(784)),
    "a BMP with run lengths": lambda: bmp(28, 28, packing=1, pixels=b"\x1c\x00\x00\x00" * 28 + b"\0\1"),
    "one black pixel": lambda: encoded(BLANK[:1, :1] * 0),
    "two pixels": lambda: encoded(np.array([[0, 255]], np.uint8)),
    "three by three at random": lambda: noise(3, 3),
    "28 by 28 at random": lambda: noise(28, 28),
    "a chessboard": lambda: encoded((np.indices((400, 400)).sum(0) % 2 * 255).astype(np.uint8)),
    "a picture black in one half": lambda: encoded(np.repeat(np.array([[0, 255]], np.uint8), 100, 1).repeat(200, 0)),
    "a JPEG with one byte changed": lambda: flipped(good("JPEG"), len(good("JPEG")) // 2),
    "a WebP with one byte changed": lambda: flipped(good("WEBP"), len(good("WEBP")) // 2),
    "a GIF with one byte changed": lambda: flipped(good("GIF"), len(good("GIF")) // 2),
}

# Small files that keep a careless decoder busy for seconds or minutes.
SLOW_PICTURES: dict[str, Make] = {
    "a progressive JPEG of a thousand scans": lambda: jpeg_of_many_scans(1000),
    "a BMP of millions of runs": lambda: bmp(4000, 4000, packing=1, pixels=b"\x01\x00" * 2_600_000),
    "a PNG of nine million pixels of 64 bits": lambda: png(3000, 3000, zeros(3000 * 24_001), depth=16, colour=6),
    "a page of sixty thousand dots": lambda: encoded(dotted_page()),
}


def data_url(content: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


GOOD_URL = data_url(good())
BAD_DATA_URLS: dict[str, str] = {
    "empty": "",
    "a bare word": "digit.png",
    "base64 without a head": base64.b64encode(good()).decode(),
    "a path": "/etc/passwd",
    "a climbing path": "../../../../etc/passwd",
    "a file URL": "file:///etc/passwd",
    "a web address": "http://127.0.0.1:8000/admin/",
    "a script URL": "javascript:alert(1)",
    "an HTML data URL": data_url(b"<script>alert(1)</script>", "text/html"),
    "an SVG data URL": data_url(b"<svg onload='alert(1)'/>", "image/svg+xml"),
    "an application data URL": data_url(good(), "application/octet-stream"),
    "an upper-case scheme": GOOD_URL.replace("data:", "DATA:"),
    "without base64": GOOD_URL.replace(";base64", ""),
    "percent-encoded": "data:image/png," + quote(good()),
    "percent signs in base64": GOOD_URL.replace("A", "%41"),
    "a line break in base64": GOOD_URL[:60] + "\r\n" + GOOD_URL[60:],
    "a space in base64": GOOD_URL[:60] + " " + GOOD_URL[60:],
    "a space before": " " + GOOD_URL,
    "the URL-safe alphabet": GOOD_URL[:40] + "-_-_" + GOOD_URL[44:],
    "base64 without its padding": data_url(good() + b"x" * (3 - len(good()) % 3 + 1)).rstrip("="),
    "base64 with padding in the middle": GOOD_URL[:60] + "=" + GOOD_URL[60:],
    "letters outside ASCII": "data:image/png;base64,ÄÖÜ１２３",
    "a NUL": "data:image/png;base64,\0\0\0\0",
    "nothing behind the comma": "data:image/png;base64,",
    "no comma": "data:image/png;base64",
    "a template": "data:image/{{7*7}};base64,{% debug %}",
    "a text as PNG": data_url(b"hello"),
    "a blank picture": data_url(encoded(BLANK)),
}


# --- Uploads ----------------------------------------------------------------------------------------------------------


def part(disposition: str, content: bytes, *more: str) -> bytes:
    head = "\r\n".join([f"Content-Disposition: {disposition}", *more])
    return b"--B\r\n" + head.encode("utf-8", "surrogateescape") + b"\r\n\r\n" + content + b"\r\n"


IMAGE = 'form-data; name="image"; filename="digit.png"'
BASE64 = "Content-Transfer-Encoding: base64"
END = b"--B--\r\n"

BAD_UPLOADS: dict[str, Make] = {
    "no part": lambda: END,
    "nothing at all": lambda: b"",
    "no closing boundary and no content": lambda: b"--B\r\n",
    "only line breaks": lambda: b"\r\n" * 1000,
    "the field as text": lambda: part('form-data; name="image"', b"hello") + END,
    "the field as a path": lambda: part('form-data; name="image"', b"/etc/passwd") + END,
    "strokes as text": lambda: part('form-data; name="strokes"', b"[[[1,2],[3,4]]]") + END,
    "a picture under another name": lambda: part('form-data; name="file"; filename="a"', good()) + END,
    "a picture without a name": lambda: part('form-data; filename="a"', good()) + END,
    "an empty file": lambda: part(IMAGE, b"") + END,
    "a part cut short": lambda: part(IMAGE, good())[:300],
    "two files, the second a text": lambda: part(IMAGE, good()) + part(IMAGE, b"text") + END,
    "a hundred and one files": lambda: part(IMAGE, b"x") * 101 + END,
    "ten thousand fields": lambda: b"".join(part(f'form-data; name="f{i}"', b"x") for i in range(10_000)) + END,
    "a text field of three megabytes": lambda: part('form-data; name="note"', b"x" * (3 << 20)) + END,
    "a head of a hundred kilobytes": lambda: part(IMAGE, b"x", "X-Long: " + "x" * 100_000) + END,
    "a thousand heads": lambda: part(IMAGE, b"x", *["X-Many: 1"] * 1000) + END,
    "a base64 part that is none": lambda: part(IMAGE, b"%%%", BASE64) + END,
    "a base64 field that is none": lambda: part('form-data; name="image"', b"x", BASE64) + END,
    "a name in an unknown charset": lambda: part("form-data; name=\"image\"; filename*=bogus''%41", b"x") + END,
    "a climbing file name": lambda: part('form-data; name="image"; filename="../../../../etc/cron.d/x"', b"x") + END,
    "a file name with NUL": lambda: part('form-data; name="image"; filename="a\0b.png"', b"x") + END,
    "a file name of invalid UTF-8": lambda: part('form-data; name="image"; filename="\udcff\udcfe"', b"x") + END,
    "nested multipart": lambda: part(IMAGE, b"--C\r\n", "Content-Type: multipart/mixed; boundary=C") + END,
}

BAD_BOUNDARIES = {
    "no boundary": "multipart/form-data",
    "an empty boundary": "multipart/form-data; boundary=",
    "a boundary of letters outside ASCII": "multipart/form-data; boundary=é",
    "a boundary of a thousand letters": "multipart/form-data; boundary=" + "B" * 1000,
    "a boundary with a line break": "multipart/form-data; boundary=B\r\nX: y",
    "another boundary than the body's": "multipart/form-data; boundary=other",
    "multipart of another kind": "multipart/mixed; boundary=B",
}


# --- Labels, ids, cursors, cookies, methods ---------------------------------------------------------------------------

BAD_LABELS: dict[str, bytes] = {
    "ten": b'{"digit": 10}',
    "minus one": b'{"digit": -1}',
    "a float": b'{"digit": 1.0}',
    "a float that is no digit": b'{"digit": 3.7}',
    "a number too large for any database": b'{"digit": 1000000000000000000000000000000}',
    "a string": b'{"digit": "3"}',
    "an empty string": b'{"digit": ""}',
    "a full-width digit": '{"digit": "３"}'.encode(),
    "true": b'{"digit": true}',
    "a list": b'{"digit": []}',
    "a list of a digit": b'{"digit": [3]}',
    "an object": b'{"digit": {}}',
    "NaN": b'{"digit": NaN}',
    "SQL": json.dumps({"digit": BOMB}).encode(),
    "another field": b'{"label": 3}',
    "no field": b"{}",
    "a bare digit": b"3",
    "null alone": b"null",
    "a list alone": b"[3]",
    "an empty body": b"",
    "a body cut short": b'{"digit": ',
}

BAD_IDS = {
    "zero": "0",
    "minus one": "-1",
    "thirty nines": "9" * 30,
    "five thousand nines": "9" * 5000,
    "just above 64 bits": str(2**63),
    "an exponent": "1e3",
    "a decimal": "1.0",
    "a hexadecimal number": "0x1",
    "a plus sign": "+1",
    "a space": "1%20",
    "a full-width one": quote("１"),
    "an Arabic one": quote("١"),
    "a word": "abc",
    "null": "null",
    "SQL": quote(BOMB),
    "a union": quote("1 UNION SELECT 1"),
    "a template": quote("{{7*7}}{% debug %}"),
    "a climbing path": "..%2f..%2f..%2fetc%2fpasswd",
    "NUL": "1%00",
    "invalid UTF-8": "%ff%fe",
    "a line break": "1%0d%0aX-Injected:%20yes",
    "a UUID": str(uuid.UUID(int=0)),
}

ID_CALLS = [
    ("GET", "/submissions/{}"),
    ("DELETE", "/submissions/{}"),
    ("POST", "/submissions/{}/correction"),
    ("DELETE", "/submissions/{}/correction"),
    ("POST", "/corrections/{}/accept"),
    ("POST", "/corrections/{}/reject"),
    ("GET", "/models/{}"),
    ("GET", "/models/{}/artifact"),
    ("POST", "/models/{}/activate"),
]


def cursor(position: str) -> str:
    return quote(base64.b64encode(position.encode()).decode())


BAD_CURSORS = {
    "a word": "abc",
    "letters outside ASCII": "%C3%A9",
    "base64 of nothing known": cursor("hello"),
    "base64 of invalid UTF-8": quote(base64.b64encode(b"p=\xff\xfe").decode()),
    "SQL": quote(BOMB),
    "SQL as a position": cursor("p=" + quote(BOMB)),
    "a word as a position": cursor("p=abc"),
    "NUL as a position": cursor("p=%00"),
    "not a number as a position": cursor("p=nan"),
    "infinity as a position": cursor("p=inf&r=1"),
    "thirty digits as a position": cursor("p=" + "9" * 30),
    "five thousand digits as a position": cursor("p=" + "9" * 5000),
    "a negative offset": cursor("o=-1&p=1"),
    "a huge offset": cursor("o=" + "9" * 30 + "&p=1"),
    "two thousand fields": cursor("a=1&" * 2000),
}
PAGE_SIZES = ["0", "-1", "1000000000", "9" * 5000, "abc", "", "1.5", "１", quote(BOMB), "%00", "%ff"]
LISTS = [SUBMISSIONS, "/api/v1/corrections", "/api/v1/models"]
BAD_STATES = ["open", "PENDING", "pending%00", quote(BOMB), "..%2f..", "%ff", "null", "x" * 4000]

Request = tuple[str, str, tuple[int, ...]]
REQUESTS: dict[str, Request] = {
    "put to the submissions": ("PUT", SUBMISSIONS, (405,)),
    "patch of the submissions": ("PATCH", SUBMISSIONS, (405,)),
    "delete of all submissions": ("DELETE", SUBMISSIONS, (405,)),
    "get of the previews": ("GET", PREVIEWS, (405,)),
    "trace of the previews": ("TRACE", PREVIEWS, (405,)),
    "connect to the previews": ("CONNECT", PREVIEWS, (405,)),
    "an invented method": ("BREW", PREVIEWS, (405,)),
    "a method named like a Python attribute": ("__class__", PREVIEWS, (405,)),
    "a method named like a view's function": ("dispatch", SUBMISSIONS, (405,)),
    "post to one submission": ("POST", f"{SUBMISSIONS}/1", (405,)),
    "get of a correction": ("GET", f"{SUBMISSIONS}/1/correction", (405,)),
    "post to the models": ("POST", "/api/v1/models", (405,)),
    "put of the active model": ("PUT", "/api/v1/models/active", (405,)),
    "delete of a model": ("DELETE", "/api/v1/models/1", (405,)),
    "post to an artifact": ("POST", "/api/v1/models/1/artifact", (405,)),
    "the review queue as nobody": ("GET", "/api/v1/corrections", (401,)),
    "a decision as nobody": ("POST", "/api/v1/corrections/1/accept", (401,)),
    "an activation as nobody": ("POST", "/api/v1/models/1/activate", (401,)),
    "a submission as nobody": ("GET", f"{SUBMISSIONS}/1", (404,)),
    "deletion as nobody": ("DELETE", f"{SUBMISSIONS}/1", (404,)),
    "an unknown address": ("GET", "/api/v1/nothing", (404,)),
    "a post to an unknown address": ("POST", "/api/v1/nothing", (404,)),
    "the API's root": ("GET", "/api/v1/", (404,)),
    "an API of another version": ("GET", "/api/v2/submissions", (404,)),
    "a slash at the end": ("GET", f"{SUBMISSIONS}/", (404,)),
    "two slashes": ("GET", "/api/v1//submissions", (404,)),
    "a climbing path": ("GET", "/api/v1/../../etc/passwd", (404,)),
    "an encoded climbing path": ("GET", "/api/v1/%2e%2e/%2e%2e/etc/passwd", (404,)),
}
PAGE_REQUESTS: dict[str, Request] = {
    "a page that is not there": ("GET", "/wp-login.php", (404,)),
    "a page name of eight thousand letters": ("GET", "/" + "a" * 8000, (404,)),
    "a climbing path": ("GET", "/../../../etc/passwd", (404,)),
    "a climbing static path": ("GET", "/static/../hdr_site/settings.py", (404,)),
    "an encoded climbing static path": ("GET", "/static/%2e%2e/%2e%2e/hdr_site/settings.py", (404,)),
    "a static path with NUL": ("GET", "/static/%00", (404,)),
    "the settings": ("GET", "/.env", (404,)),
    "invalid UTF-8 in a path": ("GET", "/%ff%fe", (404,)),
    "a template in a path": ("GET", "/" + quote("{{7*7}}{% debug %}"), (404,)),
    "post to the home page": ("POST", "/", (403, 405)),
    "put to the home page": ("PUT", "/", (403, 405)),
    "delete of the home page": ("DELETE", "/", (403, 405)),
    "trace of the home page": ("TRACE", "/", (403, 405)),
    "a login without the CSRF token": ("POST", "/admin/login/", (403,)),
}

HeaderCase = tuple[Headers, tuple[int, ...]]
BAD_HEADERS: dict[str, HeaderCase] = {
    "a token that nobody has": ({"Authorization": "Token 0123456789abcdef0123456789abcdef01234567"}, (401,)),
    "a token of SQL": ({"Authorization": "Token '--"}, (401,)),
    "a token in two words": ({"Authorization": "Token a b"}, (401,)),
    "no token behind its scheme": ({"Authorization": "Token"}, (401,)),
    "a token of sixty kilobytes": ({"Authorization": "Token " + "a" * 60_000}, (401,)),
    "a token outside ASCII": ({"Authorization": "Token \xff\xfe"}, (401,)),
    "a token with NUL": ({"Authorization": "Token a\0b"}, (401,)),
    "basic authorization": ({"Authorization": "Basic !!!"}, (401,)),
    "an authorization of blanks": ({"Authorization": "   "}, (401,)),
    "an empty authorization": ({"Authorization": ""}, (401,)),
    "a foreign host": ({"Host": "evil.example"}, (400,)),
    "a host that is none": ({"Host": "[[["}, (400,)),
    "a host of SQL": ({"Host": "localhost' OR 1=1"}, (400,)),
    "two hosts": ({"Host": "localhost, evil.example"}, (400,)),
}
HARMLESS_HEADERS: dict[str, Headers] = {
    "an Accept of HTML alone": {"Accept": "text/html"},
    "an Accept that makes no sense": {"Accept": ";;;=,/,q=nan"},
    "an Accept in an unknown charset": {"Accept": "application/json; x*=bogus''%41"},
    "sixty kilobytes of nothing": {"X-Nothing": "x" * 60_000},
    "a foreign forwarded host": {"X-Forwarded-Host": "evil.example"},
    "an address of nonsense": {"X-Forwarded-For": "::%%%, " * 1000},
    "a method override": {"X-HTTP-Method-Override": "DELETE"},
    "a session cookie of SQL": {"Cookie": "sessionid=' OR 1=1; csrftoken=x"},
    "an owner cookie of nonsense": {"Cookie": "owner=abc:def:ghi"},
    "an owner cookie outside ASCII": {"Cookie": "owner=\xff\xfe:\xff:\xff"},
    "sixty kilobytes of cookies": {"Cookie": "; ".join(f"c{i}=x" for i in range(8000))},
    "a language of nonsense": {"Accept-Language": "../../x;q=nan"},
    "a range of nonsense": {"Range": "bytes=9-1", "If-None-Match": 'W/"', "If-Modified-Since": "Sun, 99 Foo 9999"},
}

# Django decodes with the charset that the client names. Here, queries and text in bodies are always UTF-8.
BAD_CHARSETS = {
    "a charset that decodes to bytes": "application/json; charset=hex",
    "a charset that compresses": "application/json; charset=zlib",
    "a charset for host names": "application/json; charset=idna",
    "a charset that is undefined": "application/json; charset=undefined",
    "a charset of another order": "application/json; charset=utf-16",
    "an encoded charset that is unknown": "application/json; charset*=bogus''%41",
    "an encoded charset of half an encoding": "application/json; charset*=utf-8'%41",
    "a multipart charset for host names": "multipart/form-data; boundary=B; charset=idna",
    "a multipart charset of ASCII by accident": "multipart/form-data; boundary=B; charset=punycode",
}


# --- Helpers ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def registered(django_db_setup: None, django_db_blocker: Any) -> Iterator[tuple[ModelVersion, dict[str, Any]]]:
    """The bundled model, registered and loaded once for all of these tests."""
    with django_db_blocker.unblock():
        version = registry.ensure_bundled()
        assert version is not None
        engine.__dict__.update(Engine().__dict__)
        engine.refresh()
    yield version, dict(engine.__dict__)
    with django_db_blocker.unblock():
        ModelVersion.objects.all().delete()


@pytest.fixture
def active_model(db: None, registered: tuple[ModelVersion, dict[str, Any]]) -> ModelVersion:
    version, loaded = registered
    engine.__dict__.update(loaded)
    return version


@pytest.fixture
def program(active_model: ModelVersion) -> Client:
    """A program with neither cookie nor token."""
    return Client(enforce_csrf_checks=True, raise_request_exception=False)


@pytest.fixture
def owner(visitor: Visitor) -> Visitor:
    visitor.raise_request_exception = False
    return visitor


def rows() -> tuple[list[Any], list[Any]]:
    """Return all stored drawings and corrections."""
    return list(Submission.objects.values()), list(Correction.objects.values())


def send(client: Client, path: str, body: Any = b"", kind: str = JSON, **more: Any) -> Any:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return client.generic("POST", path, content, content_type=kind, **more)


def upload(client: Client, path: str, content: bytes) -> Any:
    file = SimpleUploadedFile("digit.png", content or b" ")
    return client.generic("POST", path, encode_multipart(BOUNDARY, {"image": file}), content_type=MULTIPART_CONTENT)


def assert_explained(response: Any) -> None:
    """Assert that the body is `{"detail": "…"}` or `{field: ["…"]}`."""
    assert response["Content-Type"].startswith(JSON), response.content[:200]
    problem = response.json()
    assert isinstance(problem, dict) and problem
    for field, messages in problem.items():
        assert isinstance(messages, str) if field == "detail" else all(isinstance(text, str) for text in messages)


def assert_refused(response: Any, statuses: Iterable[int] = REFUSED) -> None:
    assert response.status_code in statuses, response.content[:300]
    assert_explained(response)


def assert_alive(client: Client | None = None) -> None:
    """Assert that the site still reads a good drawing and stores it."""
    before = Submission.objects.count()
    response = send(client or Client(), SUBMISSIONS, GOOD)
    assert (response.status_code, response.json()["digit"]) == (201, 3)
    assert Submission.objects.count() == before + 1


def each(table: dict[str, Any]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", table.values(), ids=table.keys())


# --- Drawings ---------------------------------------------------------------------------------------------------------


@each(BAD_JSON | BAD_NUMBERS | BAD_BYTES)
def test_invalid_body_is_refused(program: Client, case: Any) -> None:
    for path in (PREVIEWS, SUBMISSIONS):
        assert_refused(send(program, path, case))
    assert rows() == ([], [])
    assert_alive()


@each(BAD_CONTENT_TYPES)
def test_unsupported_content_type_is_415(program: Client, case: str) -> None:
    for path in (PREVIEWS, SUBMISSIONS):
        assert_refused(send(program, path, GOOD, case), (415,))
    assert rows() == ([], [])


@each(BAD_PICTURES)
def test_invalid_picture_is_refused(program: Client, case: Make) -> None:
    content = case()
    assert_refused(upload(program, PREVIEWS, content))
    assert_refused(send(program, SUBMISSIONS, {"image": data_url(content)}))
    assert rows() == ([], [])
    assert_alive()


@each(ODD_PICTURES)
def test_odd_picture_is_read_or_refused(program: Client, case: Make) -> None:
    content = case()
    answers = [upload(program, PREVIEWS, content), send(program, SUBMISSIONS, {"image": data_url(content)})]
    assert {answer.status_code for answer in answers} <= set(READ_OR_REFUSED)
    assert answers[0].json().get("input") == answers[1].json().get("input")
    assert Submission.objects.count() == (answers[1].status_code == 201)
    if stored := Submission.objects.first():
        assert bytes(stored.picture or b"").startswith(b"\x89PNG"), "what is kept is always encoded anew"
    assert_alive()


def thread_seconds(work: Callable[[], object]) -> float:
    """Return the processor time of the faster of two runs."""

    def once() -> float:
        started = time.thread_time()
        work()
        return time.thread_time() - started

    return min(once(), once())


@pytest.mark.slow
@each(SLOW_PICTURES)
def test_hostile_picture_costs_little_more_than_a_large_page(program: Client, case: Make) -> None:
    content, page = case(), encoded(np.kron(dotted_page(), np.ones((3, 3), np.uint8)))

    def cost(picture: bytes) -> float:
        return thread_seconds(lambda: upload(program, PREVIEWS, picture))

    assert upload(program, PREVIEWS, content).status_code in READ_OR_REFUSED
    assert cost(content) < 20 * cost(page)


@pytest.mark.slow
def test_body_of_millions_of_lists_costs_little_more_than_its_parsing(program: Client) -> None:
    body = b'{"width": 9, "height": 9, "strokes": [' + b"[]," * 2_700_000 + b"[]]}"
    assert_refused(send(program, PREVIEWS, body))
    assert thread_seconds(lambda: send(program, PREVIEWS, body)) < 10 * thread_seconds(lambda: json.loads(body))


@each(BAD_DATA_URLS)
def test_invalid_data_url_is_refused(program: Client, case: str) -> None:
    for path in (PREVIEWS, SUBMISSIONS):
        assert_refused(send(program, path, {"image": case}))
    assert rows() == ([], [])


@each(BAD_UPLOADS)
def test_upload_without_picture_is_refused(program: Client, case: Make) -> None:
    for path in (PREVIEWS, SUBMISSIONS):
        assert_refused(send(program, path, case(), "multipart/form-data; boundary=B"), (400, 413))
    assert rows() == ([], [])
    assert_alive()


@each(BAD_BOUNDARIES)
def test_upload_with_bad_boundary_is_refused(program: Client, owner: Visitor, case: str) -> None:
    for client in (program, owner):
        assert_refused(send(client, SUBMISSIONS, part(IMAGE, good()) + END, case), (400, 415))
    assert rows() == ([], [])


@pytest.mark.parametrize("client_is_known", [False, True], ids=["a program", "a visitor with a cookie"])
@pytest.mark.parametrize("path", [SUBMISSIONS, PREVIEWS])
def test_body_over_the_limit_is_413(program: Client, owner: Visitor, path: str, client_is_known: bool) -> None:
    client = owner if client_is_known else program
    long_json = b'{"image": "' + b"A" * LIMIT + b'"}'
    assert_refused(send(client, path, long_json), (413,))
    assert_refused(upload(client, path, bytes(LIMIT)), (413,))
    assert_refused(send(client, path, GOOD, CONTENT_LENGTH=str(10**15)), (413,))
    # A chunked body does not announce its length.
    chunked: dict[str, Any] = {"CONTENT_LENGTH": "", "HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}
    assert_refused(send(client, path, long_json, **chunked), (400, 411, 413))
    assert rows() == ([], [])
    assert_alive()


@pytest.mark.parametrize("length", ["", "-1", "abc", "1.5", "１", "9" * 5000, "0"])
def test_invalid_content_length_is_refused(program: Client, length: str) -> None:
    assert_refused(send(program, SUBMISSIONS, GOOD, CONTENT_LENGTH=length), (400, 411, 413))
    assert rows() == ([], [])


# --- Labels and other people's drawings -------------------------------------------------------------------------------


@each(BAD_LABELS)
def test_invalid_label_is_refused(owner: Visitor, case: bytes) -> None:
    drawn = owner.draw()["id"]
    before = rows()
    assert_refused(send(owner, f"{SUBMISSIONS}/{drawn}/correction", case))
    assert rows() == before
    assert owner.say(drawn, 8).status_code == 201


@pytest.mark.slow
@each(BAD_IDS)
def test_invalid_id_is_404(staff: Client, owner: Visitor, case: str) -> None:
    owner.say(owner.draw()["id"], 8)
    before = rows()
    staff.raise_request_exception = False
    for method, path in ID_CALLS:
        response = staff.generic(method, "/api/v1" + path.format(case), b'{"digit": 3}', content_type=JSON)
        assert_refused(response, (404,))
        assert "X-Injected" not in response
    assert rows() == before


def test_drawings_of_others_are_404(owner: Visitor, stranger: Visitor, program: Client) -> None:
    drawn = owner.draw()["id"]
    owner.say(drawn, 8)
    before = rows()
    account = Client(raise_request_exception=False)
    account.force_login(User.objects.create_user("somebody"))
    for client in (stranger, program, account):
        client.raise_request_exception = False
        assert_refused(client.get(f"{SUBMISSIONS}/{drawn}"), (404,))
        assert_refused(client.delete(f"{SUBMISSIONS}/{drawn}"), (404,))
        assert_refused(send(client, f"{SUBMISSIONS}/{drawn}/correction", {"digit": 5}), (404,))
        assert_refused(client.delete(f"{SUBMISSIONS}/{drawn}/correction"), (404,))
        assert client.get(SUBMISSIONS).json()["results"] == []
    assert rows() == before


def test_only_staff_decide_and_only_once(owner: Visitor, stranger: Visitor, program: Client, staff: Client) -> None:
    correction = owner.say(owner.draw()["id"], 8).json()["id"]
    account = Client()
    account.force_login(User.objects.create_user("somebody"))
    for client in (owner, stranger, program, account):
        for path in (f"corrections/{correction}/accept", f"corrections/{correction}/reject", "models/1/activate"):
            assert_refused(send(client, f"/api/v1/{path}"), (401, 403))
        assert_refused(client.get("/api/v1/corrections"), (401, 403))
    assert Correction.objects.get().state == Correction.State.PENDING

    assert send(staff, f"/api/v1/corrections/{correction}/reject").status_code == 200
    for decision in ("accept", "reject"):
        assert_refused(send(staff, f"/api/v1/corrections/{correction}/{decision}"), (409,))
    assert_refused(owner.say(Submission.objects.get().pk, 5), (409,))
    assert Correction.objects.get().state == Correction.State.REJECTED


# --- Cookies, tokens, headers, addresses ------------------------------------------------------------------------------


def test_cookie_without_csrf_token_writes_nothing(owner: Visitor, staff: Client, admin_user: User) -> None:
    drawn = owner.draw()["id"]
    correction = owner.say(drawn, 8).json()["id"]
    before = rows()
    owner.csrf = ""
    admin = Client(enforce_csrf_checks=True)
    admin.force_login(admin_user)
    for client in (owner, admin):
        for path in (SUBMISSIONS, PREVIEWS):
            assert_refused(send(client, path, GOOD), (403,))
            assert_refused(upload(client, path, good()), (403,))
        assert_refused(client.delete(f"{SUBMISSIONS}/{drawn}"), (403,))
        assert_refused(send(client, f"{SUBMISSIONS}/{drawn}/correction", {"digit": 1}), (403,))
    assert_refused(send(admin, f"/api/v1/corrections/{correction}/accept"), (403,))
    assert_refused(send(admin, "/api/v1/models/1/activate"), (403,))
    assert rows() == before


@pytest.mark.parametrize(
    "headers",
    [
        {"X-CSRFToken": "x"},
        {"X-CSRFToken": "a" * 64},
        {"X-CSRFToken": "é" * 64},
        {"X-CSRFToken": "a" * 60_000},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://["},
    ],
    ids=lambda headers: " ".join(f"{name} {value[:20]}" for name, value in headers.items()),
)
def test_wrong_csrf_token_or_origin_is_403(owner: Visitor, headers: Headers) -> None:
    assert_refused(send(owner, SUBMISSIONS, GOOD, headers=headers), (403,))
    assert rows() == ([], [])


@pytest.mark.parametrize("fault", ["altered", "expired", "of another name", "unsigned", "no UUID"])
def test_invalid_owner_cookie_owns_nothing(owner: Visitor, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = owner.draw()["id"]
    signed = owner.cookies[COOKIE].value
    owner_id = signed.split(":")[0]
    with monkeypatch.context() as past:
        past.setattr(time, "time", lambda real=time.time: real() - 400 * 86400)
        expired = signing.get_cookie_signer(salt=COOKIE).sign(owner_id)
    faulty = {
        "altered": f"{owner_id[:-1]}{'0' if owner_id[-1] != '0' else '1'}:{signed.split(':', 1)[1]}",
        "expired": expired,
        "of another name": signing.get_cookie_signer(salt="other").sign(owner_id),
        "unsigned": owner_id,
        "no UUID": signing.get_cookie_signer(salt=COOKIE).sign("' OR 1=1"),
    }
    owner.cookies[COOKIE] = faulty[fault]
    assert_refused(owner.get(f"{SUBMISSIONS}/{drawn}"), (404,))
    assert_refused(owner.delete(f"{SUBMISSIONS}/{drawn}"), (404,))
    assert_refused(owner.say(drawn, 5), (404,))
    assert owner.get(SUBMISSIONS).json()["results"] == []
    assert Submission.objects.count() == 1 and not Correction.objects.exists()


@each(BAD_HEADERS)
def test_bad_header_is_refused(program: Client, case: HeaderCase) -> None:
    headers, statuses = case
    for path in (PREVIEWS, SUBMISSIONS):
        response = send(program, path, GOOD, headers=headers)
        assert response.status_code in statuses, response.content[:300]
        if "Host" not in headers:  # Django refuses a host before it resolves the address
            assert_explained(response)
    assert rows() == ([], [])
    assert_alive()


@each(HARMLESS_HEADERS)
def test_harmless_header_changes_nothing(program: Client, case: Headers) -> None:
    assert send(program, PREVIEWS, GOOD, headers=case).status_code == 200
    for path in ("/", "/healthz", "/api/v1/models/active", "/api/v1/models/1/artifact", SUBMISSIONS):
        response = program.get(path, headers=case)
        assert response.status_code == 200
        assert b"evil.example" not in response.content


@pytest.fixture
def kept_connections() -> Iterator[None]:
    """Keep the test's own connection, which a WSGI application would close between requests."""
    signals = (request_started, request_finished)
    for signal in signals:
        signal.disconnect(close_old_connections)
    yield
    for signal in signals:
        signal.connect(close_old_connections)


@pytest.mark.usefixtures("kept_connections")
@each(BAD_CHARSETS)
def test_client_charset_causes_no_server_error(active_model: ModelVersion, case: str) -> None:
    application: Any = without_charset(get_wsgi_application())
    body = GOOD if case.startswith(JSON) else part('form-data; name="image"', b"x") + part(IMAGE, b"x") + END
    for method, path in (("POST", PREVIEWS), ("GET", "/api/v1/models"), ("GET", "/"), ("GET", "/nothing")):
        request = RequestFactory().generic(method, path, body, QUERY_STRING="x=%FF&cursor=").environ
        request["CONTENT_TYPE"] = case
        statuses: list[str] = []
        response = application(request, lambda status, headers, *_: statuses.append(status))  # noqa: B023
        list(response)
        response.close()
        assert int(statuses[0].split()[0]) < 500, (method, path)


@each(REQUESTS)
def test_unknown_api_call_is_refused(program: Client, case: Request) -> None:
    method, path, statuses = case
    assert_refused(program.generic(method, path, GOOD, content_type=JSON), statuses)
    assert rows() == ([], [])
    assert_alive()


@each(PAGE_REQUESTS)
def test_unknown_page_is_refused(program: Client, case: Request) -> None:
    method, path, statuses = case
    response = program.generic(method, path, GOOD, content_type=JSON)
    assert response.status_code in statuses
    assert b"SECRET_KEY" not in response.content and b"49{" not in response.content
    assert rows() == ([], [])


@pytest.mark.slow
@pytest.mark.parametrize("path", LISTS)
@each(BAD_CURSORS)
def test_invalid_cursor_is_404_or_an_empty_page(owner: Visitor, staff: Client, path: str, case: str) -> None:
    owner.say(owner.draw()["id"], 8)
    staff.raise_request_exception = False
    for client in (staff, owner) if path == SUBMISSIONS else (staff,):
        response = client.get(f"{path}?cursor={case}")
        assert response.status_code in (200, 404), response.content[:300]
        if response.status_code == 404:
            assert_explained(response)


@pytest.mark.slow
@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("size", PAGE_SIZES, ids=lambda size: size[:20])
def test_page_size_is_limited(owner: Visitor, staff: Client, path: str, size: str) -> None:
    owner.say(owner.draw()["id"], 8)
    response = staff.get(f"{path}?page_size={size}")
    assert response.status_code == 200 and len(response.json()["results"]) == 1


@pytest.mark.parametrize("state", BAD_STATES, ids=lambda state: state[:20])
def test_unknown_review_status_is_refused(staff: Client, state: str) -> None:
    assert_refused(staff.get(f"/api/v1/corrections?status={state}"))


# --- Arbitrary input --------------------------------------------------------------------------------------------------

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)
NUMBERS = st.integers(-600, 900) | st.floats() | st.integers() | st.none() | st.booleans()
NEARLY_INK = st.fixed_dictionaries(
    {"strokes": st.lists(st.lists(st.lists(NUMBERS, max_size=5), max_size=6) | ANY_JSON, max_size=4) | ANY_JSON},
    optional={"width": st.just(280) | NUMBERS, "height": st.just(280) | NUMBERS, "image": ANY_JSON},
)
PLAUSIBLE_INK = st.fixed_dictionaries(
    {
        "strokes": st.lists(
            st.lists(st.lists(st.floats(-280, 560) | st.floats(allow_nan=False), min_size=2, max_size=4), max_size=9),
            min_size=1,
            max_size=4,
        ),
        "width": st.floats(1, 20_000),
        "height": st.just(280),
    }
)
MAGIC = [good(form)[:size] for form in ("PNG", "JPEG", "WEBP", "GIF", "BMP") for size in (4, 16, 60)]
MANY = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.slow
@MANY
@given(body=ANY_JSON | NEARLY_INK | PLAUSIBLE_INK)
def test_any_json_is_read_or_refused(program: Client, body: Any) -> None:
    for path in (PREVIEWS, SUBMISSIONS):
        response = send(program, path, body)
        assert response.status_code in READ_OR_REFUSED
        if response.status_code == 400:
            assert_explained(response)


@pytest.mark.slow
@MANY
@given(content=st.binary(max_size=300))
def test_random_bytes_are_refused(program: Client, content: bytes) -> None:
    assert_refused(upload(program, PREVIEWS, content))


@MANY
@given(head=st.sampled_from(MAGIC), tail=st.binary(max_size=300))
def test_random_bytes_after_valid_magic_are_read_or_refused(program: Client, head: bytes, tail: bytes) -> None:
    assert upload(program, PREVIEWS, head + tail).status_code in READ_OR_REFUSED


@pytest.mark.slow
@MANY
@given(
    form=st.sampled_from(["PNG", "JPEG", "WEBP", "GIF", "BMP"]),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=8),
)
def test_damaged_picture_is_read_or_refused(program: Client, form: str, changes: list[tuple[float, int]]) -> None:
    content = bytearray(good(form))
    for place, value in changes:
        content[int(place * len(content))] = value
    if form == "PNG" and changes[0][1] % 2:  # every other one with its checksum put right, to get past it
        end = len(content) - 12
        start = content.find(b"IDAT")
        if start > 0:
            struct.pack_into(">I", content, end - 4, binascii.crc32(content[start : end - 4]))
    assert upload(program, PREVIEWS, bytes(content)).status_code in READ_OR_REFUSED
