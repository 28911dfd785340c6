"""Pictures of kinds that `scenes.py` lacks: enlarged, cropped, boxed, of several digits, and of no digit.

    python -m benchmarks.quality.kinds --strokes FILE --numbers FILE [--split validation|test] [--of-each N]
                                       [--only NAME] [--show FOLDER]

Each picture takes the path of an upload, in this process, and is read by the bundled model. Single digits should be
read right; everything else should be called anything but a sure digit. MNIST's test digits and held-out writers' ink
are used, and random numbers are seeded by kind and picture. MNIST's folder is `HDR_MNIST_DIR`.

Tune on the validation writers, measure on the test writers.
"""

import gzip
import io
import json
import zlib
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from benchmarks.harness import command_line
from benchmarks.quality.bundled import bundled_model
from benchmarks.quality.pictures import SHOWN, VariantResult, write_sheet
from benchmarks.quality.scenes import CANVAS, trace
from recognizer.mnist import Digits, find_mnist, load_test_digits
from recognizer.parsing import parse_drawing
from recognizer.preprocessing import PreprocessingError, Stroke
from training.strokes import PenDrawing, load_drawings, writer_split

Rng = np.random.Generator
Grey = np.ndarray
"""`(h, w)` uint8, dark ink on light paper unless a kind says otherwise."""

ENLARGED = 280  # pixels
FILTERS = {
    "nearest": cv2.INTER_NEAREST,
    "linear": cv2.INTER_LINEAR,
    "cubic": cv2.INTER_CUBIC,
    "lanczos": cv2.INTER_LANCZOS4,
}
MIRROR_IMAGES = (2, 3, 4, 5, 6, 7, 9)  # digits that are no digits in a mirror


@dataclass(frozen=True, slots=True)
class Sources:
    """What pictures are made from."""

    mnist: Digits
    pens: list[PenDrawing]  # one digit each
    numbers: list[list[Stroke]]  # two digits or more each


Make = Callable[[Sources, Rng], tuple[Grey, int | None]]
"""Draws a picture and returns it with its digit; None if it does not show exactly one digit."""

KINDS: dict[str, Make] = {}


def kind(name: str) -> Callable[[Make], Make]:
    """Register a function as a kind."""

    def register(make: Make) -> Make:
        KINDS[name] = make
        return make

    return register


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--strokes", type=Path, required=True)
    parser.add_argument("--numbers", type=Path, required=True)
    parser.add_argument("--split", choices=["validation", "test"], default="validation")
    parser.add_argument("--of-each", type=int, default=500, metavar="N", help="pictures of a kind")
    parser.add_argument("--only", action="append", help="a kind's name; can be repeated")
    parser.add_argument("--show", type=Path, help="folder for sheets of pictures and model inputs")
    arguments = parser.parse_args()
    folder = find_mnist()
    if folder is None:
        raise SystemExit("Set HDR_MNIST_DIR to a folder with MNIST's files.")
    sources = Sources(
        load_test_digits(folder),
        [drawing for drawing in load_drawings(arguments.strokes, arguments.split) if drawing.digit is not None],
        _load_numbers(arguments.numbers, arguments.split),
    )
    names = [name for name in KINDS if not arguments.only or name in arguments.only]
    print(f"{'':40} {'right %':>8} {'sure %':>8} {'wrong and sure %':>17} {'no digit %':>11}")
    with ProcessPoolExecutor() as pool:
        task = partial(measure, sources=sources, pictures=arguments.of_each, show=arguments.show)
        for name, result in zip(names, pool.map(task, names), strict=True):
            counts = (result.right, result.sure, result.wrong_and_sure, result.no_digit)
            right, sure, wrong, none = (100 * count / result.pictures for count in counts)
            print(f"{name:40} {right:8.2f} {sure:8.2f} {wrong:17.2f} {none:11.2f}", flush=True)


def measure(name: str, sources: Sources, pictures: int, show: Path | None = None) -> VariantResult:
    """Draw pictures of a kind, and read them like uploads. Of what is no single digit, a sure answer is wrong."""
    model = bundled_model()
    right = sure = wrong_and_sure = no_digit = 0
    seen: list[tuple[bytes, np.ndarray]] = []
    for number in range(pictures):
        picture, expected = KINDS[name](sources, np.random.default_rng([zlib.crc32(name.encode()), number]))
        content = _png(picture)
        try:
            image = parse_drawing({"image": io.BytesIO(content)}).input
            reading = model.read(image)
            digit, is_sure = reading.digit, reading.verdict == "sure"
        except PreprocessingError:
            image, digit, is_sure = np.zeros((28, 28), np.uint8), None, False
        good = digit == expected if expected is not None else not is_sure
        right, sure, no_digit = right + good, sure + is_sure, no_digit + (digit is None)
        wrong_and_sure += is_sure and digit != expected
        if len(seen) < SHOWN or (not good and len(seen) < 2 * SHOWN):
            seen.append((content, image))
    if show:
        write_sheet(show / f"{name}.png", seen)
    return VariantResult(pictures, right, sure, wrong_and_sure, no_digit)


def _png(picture: Grey) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


def _load_numbers(path: Path, split: str) -> list[list[Stroke]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = json.load(file)
    return [
        [np.asarray(stroke, np.float64)[:, :2] for stroke in row["strokes"]]
        for row in rows
        if writer_split(row["writer"]) == split
    ]


def _mnist_digit(sources: Sources, rng: Rng) -> tuple[Grey, int]:
    place = int(rng.integers(len(sources.mnist.labels)))
    return sources.mnist.images[place], int(sources.mnist.labels[place])


def _pen_digit(sources: Sources, rng: Rng) -> tuple[PenDrawing, int]:
    drawing = sources.pens[int(rng.integers(len(sources.pens)))]
    assert drawing.digit is not None
    return drawing, drawing.digit


# --- One digit --------------------------------------------------------------------------------------------------------


@kind("MNIST, 28×28")
def _(sources: Sources, rng: Rng) -> tuple[Grey, int | None]:
    return _mnist_digit(sources, rng)


def _enlarged(sources: Sources, rng: Rng, how: int, dark: bool) -> tuple[Grey, int | None]:
    image, digit = _mnist_digit(sources, rng)
    large = cv2.resize(image, (ENLARGED, ENLARGED), interpolation=how)
    return 255 - large if dark else large, digit


for _name, _how in FILTERS.items():
    kind(f"MNIST enlarged, {_name}, dark on light")(partial(_enlarged, how=_how, dark=True))
    kind(f"MNIST enlarged, {_name}, light on dark")(partial(_enlarged, how=_how, dark=False))


@kind("MNIST enlarged, JPEG")
def _(sources: Sources, rng: Rng) -> tuple[Grey, int | None]:
    large, digit = _enlarged(sources, rng, cv2.INTER_CUBIC, dark=True)
    quality = int(rng.integers(20, 70))
    packed = cv2.imencode(".jpg", large, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(packed, cv2.IMREAD_GRAYSCALE)), digit


def _bold(drawing: PenDrawing, rng: Rng, side: int) -> Grey:
    """Draw black on white with a pen of 8 to 20 % of the digit's size, cropped to the ink, within `side` pixels."""
    cover = trace(drawing, (CANVAS + 160, CANVAS + 160), 200, 120, 120, 200 * rng.uniform(0.08, 0.2))
    x, y, width, height = cv2.boundingRect(cover)
    scale = side / max(width, height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small: Grey = cv2.resize(cover[y : y + height, x : x + width], size, interpolation=cv2.INTER_AREA)
    return 255 - small


@kind("32 black and white pixels that it fills")
def _(sources: Sources, rng: Rng) -> tuple[Grey, int | None]:
    drawing, digit = _pen_digit(sources, rng)
    small = np.where(_bold(drawing, rng, 32) < 128, 0, 255).astype(np.uint8)
    return cv2.resize(small, None, fx=8, fy=8, interpolation=cv2.INTER_NEAREST), digit


@kind("the same, smoothed when enlarged")
def _(sources: Sources, rng: Rng) -> tuple[Grey, int | None]:
    drawing, digit = _pen_digit(sources, rng)
    small = np.where(_bold(drawing, rng, 32) < 128, 0, 255).astype(np.uint8)
    return cv2.resize(small, None, fx=8, fy=8, interpolation=cv2.INTER_CUBIC), digit


@kind("a bold brush, cropped tightly")
def _(sources: Sources, rng: Rng) -> tuple[Grey, int | None]:
    drawing, digit = _pen_digit(sources, rng)
    return np.pad(_bold(drawing, rng, 200), int(rng.integers(0, 12)), constant_values=255), digit


@kind("a later stroke is paler")
def _(sources: Sources, rng: Rng) -> tuple[Grey, int | None]:
    several = [drawing for drawing in sources.pens if len(drawing.strokes) > 1]
    drawing = several[int(rng.integers(len(several)))]
    points = np.concatenate(drawing.strokes)
    low, scale = points.min(axis=0), 180 / max(float(np.ptp(points, axis=0).max()), 1e-6)
    picture, pen = np.full((CANVAS, CANVAS), 250, np.uint8), int(rng.integers(5, 14))
    for number, stroke in enumerate(drawing.strokes):
        placed = np.rint(((stroke - low) * scale + 50) * 16).astype(np.int32)
        level = 40 if number == 0 else int(rng.integers(110, 190))
        cover = np.full_like(picture, 250)
        cv2.polylines(cover, [placed if len(placed) > 1 else np.repeat(placed, 2, axis=0)], False, level, pen, 16, 4)
        picture = np.minimum(picture, cover)
    return picture, drawing.digit


@kind("in a printed box")
def _(sources: Sources, rng: Rng) -> tuple[Grey, int | None]:
    drawing, digit = _pen_digit(sources, rng)
    side, margin, line = int(rng.integers(90, 200)), int(rng.integers(0, 40)), int(rng.integers(1, 5))
    size = side * rng.uniform(0.5, 0.8)
    room = max(side - size - 8, 1)
    height = side if rng.random() < 0.5 else round(side * rng.uniform(1, 1.4))
    picture = np.full((height + 2 * margin, side + 2 * margin), 245, np.uint8)
    left, top = margin + 4 + rng.uniform(0, room), margin + 4 + rng.uniform(0, height - size - 8)
    cover = trace(drawing, picture.shape, size, left, top, max(3, size * rng.uniform(0.04, 0.09)))
    picture = np.minimum(picture, np.where(cover > 0, 245 - (cover * 0.8).astype(np.uint8), 245).astype(np.uint8))
    corner = margin + side - 1, margin + height - 1
    cv2.rectangle(picture, (margin, margin), corner, int(rng.integers(0, 140)), line)
    return picture, digit


# --- Anything else ----------------------------------------------------------------------------------------------------


@kind("a number of several digits")
def _(sources: Sources, rng: Rng) -> tuple[Grey, int | None]:
    strokes = sources.numbers[int(rng.integers(len(sources.numbers)))]
    extent = np.ptp(np.concatenate(strokes), axis=0)
    width, height = np.ceil(500 * extent / max(float(extent.max()), 1e-6)).astype(int) + 60
    drawing = PenDrawing(None, strokes, "", 1.0, "")
    return 255 - trace(drawing, (int(height), int(width)), 500, 30, 30, int(rng.integers(3, 8))), None


@kind("a strip of MNIST's digits")
def _(sources: Sources, rng: Rng) -> tuple[Grey, int | None]:
    count = int(rng.integers(5, 40))
    return 255 - np.hstack([_mnist_digit(sources, rng)[0] for _ in range(count)]), None


@kind("a page of MNIST's digits")
def _(sources: Sources, rng: Rng) -> tuple[Grey, int | None]:
    rows, columns = rng.integers(4, 12, 2)
    strips = [np.hstack([_mnist_digit(sources, rng)[0] for _ in range(columns)]) for _ in range(rows)]
    return 255 - np.vstack(strips), None


@kind("a mirrored digit")
def _(sources: Sources, rng: Rng) -> tuple[Grey, int | None]:
    while True:
        drawing, digit = _pen_digit(sources, rng)
        if digit in MIRROR_IMAGES:
            return 255 - trace(drawing, (CANVAS, CANVAS), 200, 40, 40, 14)[:, ::-1], None


@kind("a filled shape")
def _(sources: Sources, rng: Rng) -> tuple[Grey, int | None]:
    picture = np.full((CANVAS, CANVAS), 255, np.uint8)
    centre, size = rng.uniform(100, 180, 2), rng.uniform(30, 90)
    corners = int(rng.choice([3, 4, 40]))
    angles = np.linspace(0, 2 * np.pi, corners, endpoint=False) + rng.uniform(0, 6)
    points = centre + size * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    cv2.fillPoly(picture, [np.rint(points).astype(np.int32)], 0)
    return picture if rng.random() < 0.5 else 255 - picture, None


@kind("a tick")
def _(sources: Sources, rng: Rng) -> tuple[Grey, int | None]:
    picture = np.full((CANVAS, CANVAS), 255, np.uint8)
    x, y, size = *rng.uniform(60, 120, 2), rng.uniform(60, 120)
    points = np.array([[x, y + 0.6 * size], [x + 0.35 * size, y + size], [x + rng.uniform(0.9, 1.3) * size, y]])
    cv2.polylines(picture, [np.rint(points).astype(np.int32)], False, 0, int(rng.integers(4, 16)), cv2.LINE_AA)
    return picture, None


if __name__ == "__main__":
    main()
