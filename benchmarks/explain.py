"""How true the explanations are: how often the answer changes without the marked ink, and without as much other ink.

    python -m benchmarks.explain --strokes FILE [--others FILE] [--digits 10000]

Measured with the bundled model on MNIST's test set and on the pen digits of held-out writers; with `--others`, a
strokes file of other characters, also on those that are read as no digit.
"""

import argparse
import json
import os
import time
from collections import defaultdict
from pathlib import Path

import django
import numpy as np

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hdr_site.settings")
django.setup()

from recognizer.engine import DigitModel  # noqa: E402 - needs Django's settings
from recognizer.explanation import Heat, Ink, explain  # noqa: E402
from recognizer.mnist import ensure_mnist, load_mnist  # noqa: E402
from recognizer.models import Verdict  # noqa: E402
from recognizer.preprocessing import ModelInput  # noqa: E402
from recognizer.registry import BUNDLED  # noqa: E402
from recognizer.verdicts import Thresholds  # noqa: E402
from training.strokes import load_drawings, to_inputs  # noqa: E402

SHARES = (0.1, 0.2, 0.3)  # of the ink
BLOTS = 3  # by chance, for each drawing and share


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--strokes", type=Path, required=True)
    parser.add_argument("--others", type=Path)
    parser.add_argument("--digits", type=int, default=10_000, help="of MNIST's test set")
    arguments = parser.parse_args()
    card = json.loads((BUNDLED / "model.json").read_text())
    model = DigitModel((BUNDLED / "digits.tflite").read_bytes(), Thresholds(**card["thresholds"]))

    test = load_mnist(ensure_mnist())[1].images[: arguments.digits]
    pens = to_inputs(load_drawings(arguments.strokes, "test"))
    both = [*test, *pens]
    report(model, "MNIST's test set", list(test))
    report(model, "held-out writers", list(pens))
    report(model, "of both, unsure", [image for image in both if model.read(image).verdict == Verdict.UNSURE])
    if arguments.others:
        others = to_inputs(load_drawings(arguments.others, "test"))
        none = [image for image in others if model.read(image).verdict == Verdict.NOT_A_DIGIT]
        report(model, "others, read as no digit", none)


def report(model: DigitModel, name: str, images: list[ModelInput]) -> None:
    """Print in how many of a hundred drawings each erasure changes the digit that is read."""
    changed: defaultdict[str, list[bool]] = defaultdict(list)
    seconds = []
    rng = np.random.default_rng(0)
    for image in images:
        start = time.perf_counter()
        explanation = explain(model, image)
        seconds.append(time.perf_counter() - start)
        digit, runner_up = explanation.reading.digit, explanation.runner_up
        for share in SHARES:
            erased = {
                "the marked ink": [hottest(image, explanation.heat, share)],
                "a blot by chance": [blot(image, image > 0, share, rng) for _ in range(BLOTS)],
                "a blot of other ink": [
                    blot(image, (image > 0) & ~explanation.marked.ink, share, rng) for _ in range(BLOTS)
                ],
                "the least marked ink": [hottest(image, -explanation.heat, share)],
            }
            for what, inks in erased.items():
                reads = [model.read(np.where(ink, 0, image).astype(np.uint8)).digit for ink in inks]
                changed[f"{share:.0%} {what}"] += [read != digit for read in reads]
                if what == "a blot by chance":
                    changed[f"{share:.0%} … and to the runner-up"] += [read == runner_up for read in reads]
        marked = explanation.marked
        changed["what is marked, of three tenths at most"].append(marked.reading.digit != digit)
        changed["… and a blot of as much by chance"] += [
            model.read(np.where(blot(image, image > 0, marked.share, rng), 0, image).astype(np.uint8)).digit != digit
            for _ in range(BLOTS)
        ]
        changed["found: ink without which the runner-up is read"].append(explanation.overtaking is not None)
    print(f"\n{name}: {len(images)} drawings, p50 {1000 * np.median(seconds):.1f} ms")
    for what, outcomes in changed.items():
        print(f"  {what:50} {100 * np.mean(outcomes):5.1f}")


def hottest(image: ModelInput, heat: Heat, share: float) -> Ink:
    """Mark so much of the ink, the hottest."""
    rows, columns = np.nonzero(image)
    order = np.argsort(-heat[rows, columns], kind="stable")
    return first(image, rows[order], columns[order], share)


def blot(image: ModelInput, among: Ink, share: float, rng: np.random.Generator) -> Ink:
    """Mark so much of all ink, among some of it, around a place that chance chooses."""
    rows, columns = np.nonzero(among)
    place = rng.integers(len(rows))
    order = np.argsort((rows - rows[place]) ** 2 + (columns - columns[place]) ** 2, kind="stable")
    return first(image, rows[order], columns[order], share)


def first(image: ModelInput, rows: np.ndarray, columns: np.ndarray, share: float) -> Ink:
    mass = image[rows, columns].cumsum(dtype=np.int64)
    enough = np.searchsorted(mass, share * image.sum(dtype=np.int64)) + 1
    ink = np.zeros(image.shape, np.bool_)
    ink[rows[:enough], columns[:enough]] = True
    return ink


if __name__ == "__main__":
    main()
