"""What the bundled model misreads: a list, and a sheet of pictures to look at.

    python -m benchmarks.quality.errors --strokes FILE [--letters FILE] [--out FOLDER]

Reads in this process, with the preprocessing and engine of production. A sheet shows the pictures in the list's order.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from benchmarks.harness import command_line
from benchmarks.quality.bundled import bundled_model
from recognizer.engine import DigitModel, Reading
from recognizer.mnist import ensure_mnist, load_mnist
from recognizer.preprocessing import ModelInput
from training.strokes import load_drawings

COLUMNS = 12
MAGNIFICATION = 4  # of the pictures in a sheet


@dataclass(frozen=True, slots=True)
class Sample:
    """An input with its source and its label: None if it is not a digit."""

    name: str
    label: int | None
    image: ModelInput


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--strokes", type=Path, required=True)
    parser.add_argument("--letters", type=Path)
    parser.add_argument("--split", default="test", help="of the writers: train, validation or test")
    parser.add_argument("--out", type=Path, default=Path("var/errors"))
    arguments = parser.parse_args()
    model = bundled_model()
    arguments.out.mkdir(parents=True, exist_ok=True)
    test = load_mnist(ensure_mnist())[1]
    digits = [Sample(f"test digit {i}", int(test.labels[i]), image) for i, image in enumerate(test.images)]
    show("mnist", model, digits, arguments.out)
    show("writers", model, written(arguments.strokes, arguments.split), arguments.out)
    if arguments.letters:
        show("letters", model, written(arguments.letters, arguments.split), arguments.out)


def written(path: Path, split: str) -> Iterable[Sample]:
    for drawing in load_drawings(path, split):
        yield Sample(f"{drawing.character} by {drawing.writer}", drawing.digit, drawing.to_input())


def show(name: str, model: DigitModel, samples: Iterable[Sample], folder: Path) -> None:
    """List what is misread, and write a sheet of it."""
    misread = [(s, r) for s in samples if is_wrong(s, r := model.read(s.image))]
    print(f"\n{name}: {len(misread)} misread")
    for sample, reading in misread:
        read = f"read as {reading.digit} ({reading.verdict}, {reading.confidence:.2f})"
        print(f"    {sample.name:32} {sample.label} {read}")
    if misread:
        tiles = [255 - cv2.resize(s.image, None, fx=MAGNIFICATION, fy=MAGNIFICATION) for s, _ in misread]
        tiles += [np.full_like(tiles[0], 230)] * (-len(tiles) % COLUMNS)
        rows = [np.hstack(tiles[start : start + COLUMNS]) for start in range(0, len(tiles), COLUMNS)]
        cv2.imwrite(str(folder / f"{name}.png"), np.vstack(rows))


def is_wrong(sample: Sample, reading: Reading) -> bool:
    """Say whether a digit is read as another, or something else as a digit without doubt."""
    if sample.label is None:
        return reading.verdict == "sure"
    return reading.digit != sample.label


if __name__ == "__main__":
    main()
