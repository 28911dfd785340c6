"""What the bundled model still misreads: a list, and a sheet of pictures to look at.

    python -m benchmarks.errors --strokes FILE [--letters FILE] [--out FOLDER]

In-process, through the production preprocessing and engine. A sheet has a row of pictures in the list's order.
"""

import argparse
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import django
import numpy as np

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hdr_site.settings")
django.setup()

from recognizer.engine import DigitModel, Reading  # noqa: E402 - needs Django's settings
from recognizer.mnist import ensure_mnist, load_mnist  # noqa: E402
from recognizer.preprocessing import ModelInput  # noqa: E402
from recognizer.registry import BUNDLED  # noqa: E402
from recognizer.verdicts import Thresholds  # noqa: E402
from training.strokes import load_drawings  # noqa: E402

COLUMNS = 12
MAGNIFIED = 4  # times a picture is shown in a sheet


@dataclass(frozen=True, slots=True)
class Sample:
    """An input with its label, None for what is not a digit, and where it is from."""

    name: str
    label: int | None
    image: ModelInput


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--strokes", type=Path, required=True)
    parser.add_argument("--letters", type=Path)
    parser.add_argument("--split", default="test", help="of the writers: train, validation or test")
    parser.add_argument("--out", type=Path, default=Path("var/errors"))
    arguments = parser.parse_args()
    card = json.loads((BUNDLED / "model.json").read_text())
    model = DigitModel((BUNDLED / "digits.tflite").read_bytes(), Thresholds(**card["thresholds"]))
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
    """List what is misread; what is not a digit is misread if the model is not even in doubt of it."""
    misread = [(s, r) for s in samples if is_wrong(s, r := model.read(s.image))]
    print(f"\n{name}: {len(misread)} misread")
    for sample, reading in misread:
        said = f"read as {reading.digit} ({reading.verdict}, {reading.confidence:.2f})"
        print(f"    {sample.name:32} {sample.label} {said}")
    if misread:
        tiles = [255 - cv2.resize(s.image, None, fx=MAGNIFIED, fy=MAGNIFIED) for s, _ in misread]
        tiles += [np.full_like(tiles[0], 230)] * (-len(tiles) % COLUMNS)
        rows = [np.hstack(tiles[start : start + COLUMNS]) for start in range(0, len(tiles), COLUMNS)]
        cv2.imwrite(str(folder / f"{name}.png"), np.vstack(rows))


def is_wrong(sample: Sample, reading: Reading) -> bool:
    if sample.label is None:
        return reading.verdict == "sure"
    return reading.digit != sample.label


if __name__ == "__main__":
    main()
