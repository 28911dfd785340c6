"""How well pictures of one digit are read: ink of held-out writers, turned into pictures in many ways.

    python -m benchmarks.quality.pictures --strokes FILE [--split validation|test] [--every N] [--only NAME]
                                          [--show FOLDER]

Each picture takes the path of an upload, in this process: its bytes are checked, decoded, turned into the model's input
and read by the bundled model. `benchmarks/quality/scenes.py` has the variants. Random numbers are seeded by variant and
drawing, so a run can be repeated. `--show` writes a sheet for each variant: pictures with the model's input below.

Tune on the validation writers, measure on the test writers.
"""

import io
import zlib
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.harness import command_line
from benchmarks.quality.bundled import bundled_model
from benchmarks.quality.scenes import NO_DIGIT, VARIANTS
from recognizer.parsing import parse_drawing
from recognizer.preprocessing import PreprocessingError
from training.strokes import PenDrawing, load_drawings

SHOWN = 24  # pictures on a sheet
THUMBNAIL = 168  # pixels


@dataclass(frozen=True, slots=True)
class VariantResult:
    """Counts of a variant's pictures."""

    pictures: int
    right: int
    sure: int
    wrong_and_sure: int
    no_digit: int  # refused, or read as not a digit

    def row(self, name: str, plain: float) -> str:
        right = 100 * self.right / self.pictures
        sure, wrong, none = (100 * n / self.pictures for n in (self.sure, self.wrong_and_sure, self.no_digit))
        return f"{name:36} {right:7.2f} {right - plain:+8.2f} {sure:7.1f} {wrong:9.2f} {none:9.2f}"


HEAD = f"{'':36} {'right %':>7} {'to plain':>8} {'sure %':>7} {'and wrong':>9} {'no digit':>9}"


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--strokes", type=Path, required=True)
    parser.add_argument("--split", choices=["validation", "test"], default="validation")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="take only every Nth drawing")
    parser.add_argument("--only", action="append", help="a variant's name; can be repeated")
    parser.add_argument("--show", type=Path, help="folder for sheets of pictures and model inputs")
    arguments = parser.parse_args()
    drawings = [drawing for drawing in load_drawings(arguments.strokes, arguments.split) if drawing.digit is not None]
    drawings = drawings[:: arguments.every]
    names = [name for name in VARIANTS | NO_DIGIT if not arguments.only or name in arguments.only or name == "plain"]
    print(f"{len(drawings)} drawings of {len({d.writer for d in drawings})} {arguments.split} writers\n\n{HEAD}")
    plain = 0.0
    with ProcessPoolExecutor() as pool:
        results = pool.map(partial(measure, drawings=drawings, show=arguments.show), names)
        for name, result in zip(names, results, strict=True):
            plain = plain or 100 * result.right / result.pictures
            print(result.row(name, plain if name in VARIANTS else 100.0), flush=True)


def measure(name: str, drawings: list[PenDrawing], show: Path | None = None) -> VariantResult:
    """Make a variant of each drawing, and read it like an upload."""
    model = bundled_model()
    right = sure = wrong_and_sure = no_digit = 0
    seen: list[tuple[bytes, np.ndarray]] = []
    for place, drawing in enumerate(drawings):
        content = (VARIANTS | NO_DIGIT)[name](drawing, np.random.default_rng([zlib.crc32(name.encode()), place]))
        expected = drawing.digit if name in VARIANTS else None
        try:
            image = parse_drawing({"image": io.BytesIO(content)}).input
            reading = model.read(image)
        except PreprocessingError:
            image, digit, is_sure = np.zeros((28, 28), np.uint8), None, False
        else:
            digit, is_sure = reading.digit, reading.verdict == "sure"
        right += digit == expected
        sure += is_sure
        wrong_and_sure += is_sure and digit != expected
        no_digit += digit is None
        if len(seen) < SHOWN or (digit != expected and len(seen) < 2 * SHOWN):
            seen.append((content, image))
    if show:
        write_sheet(show / f"{name}.png", seen)
    return VariantResult(len(drawings), right, sure, wrong_and_sure, no_digit)


def write_sheet(path: Path, seen: list[tuple[bytes, np.ndarray]]) -> None:
    """Write pictures with the model's inputs below: the first ones, then some misread ones."""
    columns, step = 12, THUMBNAIL + 4
    sheet = Image.new("RGB", (columns * step, -(-len(seen) // columns) * 2 * step), "steelblue")
    for place, (content, image) in enumerate(seen):
        left, top = place % columns * step, place // columns * 2 * step
        picture = Image.open(io.BytesIO(content)).convert("RGBA")
        picture.thumbnail((THUMBNAIL, THUMBNAIL))
        sheet.paste(picture.convert("RGB"), (left, top))
        sheet.paste(Image.fromarray(image).resize((THUMBNAIL, THUMBNAIL)), (left, top + step))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)


if __name__ == "__main__":
    main()
