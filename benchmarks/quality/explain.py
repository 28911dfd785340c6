"""How true explanations are: how often the answer changes without the marked ink, and without as much other ink.

    python -m benchmarks.quality.explain --strokes FILE [--others FILE] [--digits 10000]

Measured with the bundled model on MNIST's test set and on the pen digits of held-out writers. `--others` names a
strokes file of other characters, and adds those that are read as not a digit.
"""

import time
from collections import defaultdict
from pathlib import Path

import numpy as np

from benchmarks.harness import command_line
from benchmarks.quality.bundled import bundled_model
from recognizer.engine import DigitModel
from recognizer.explanation import Heat, Ink, explain
from recognizer.mnist import ensure_mnist, load_mnist
from recognizer.models import Verdict
from recognizer.preprocessing import ModelInput
from training.strokes import load_drawings, to_inputs

SHARES = (0.1, 0.2, 0.3)  # of the ink
BLOTS = 3  # random ones per drawing and share


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--strokes", type=Path, required=True)
    parser.add_argument("--others", type=Path)
    parser.add_argument("--digits", type=int, default=10_000, help="of MNIST's test set")
    arguments = parser.parse_args()
    model = bundled_model()
    test = load_mnist(ensure_mnist())[1].images[: arguments.digits]
    pens = to_inputs(load_drawings(arguments.strokes, "test"))
    both = [*test, *pens]
    report(model, "MNIST's test set", list(test))
    report(model, "held-out writers", list(pens))
    report(model, "both, unsure only", [image for image in both if model.read(image).verdict == Verdict.UNSURE])
    if arguments.others:
        others = to_inputs(load_drawings(arguments.others, "test"))
        none = [image for image in others if model.read(image).verdict == Verdict.NOT_A_DIGIT]
        report(model, "others, read as not a digit", none)


def report(model: DigitModel, name: str, images: list[ModelInput]) -> None:
    """Print in what percentage of drawings each erasure changes the digit that is read."""
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
                "a random blot": [blot(image, image > 0, share, rng) for _ in range(BLOTS)],
                "a random blot of other ink": [
                    blot(image, (image > 0) & ~explanation.marked.ink, share, rng) for _ in range(BLOTS)
                ],
                "the least marked ink": [hottest(image, -explanation.heat, share)],
            }
            for erasure, inks in erased.items():
                reads = [model.read(np.where(ink, 0, image).astype(np.uint8)).digit for ink in inks]
                changed[f"{share:.0%} {erasure}"] += [read != digit for read in reads]
                if erasure == "a random blot":
                    changed[f"{share:.0%} … changes it to the runner-up"] += [read == runner_up for read in reads]
        marked = explanation.marked
        changed["the ink marked on the page, 30% at most"].append(marked.reading.digit != digit)
        changed["… a random blot of the same size"] += [
            model.read(np.where(blot(image, image > 0, marked.share, rng), 0, image).astype(np.uint8)).digit != digit
            for _ in range(BLOTS)
        ]
        changed["ink found without which the runner-up is read"].append(explanation.overtaking is not None)
    print(f"\n{name}: {len(images)} drawings, p50 {1000 * np.median(seconds):.1f} ms")
    for erasure, outcomes in changed.items():
        print(f"  {erasure:50} {100 * np.mean(outcomes):5.1f}")


def hottest(image: ModelInput, heat: Heat, share: float) -> Ink:
    """Mark the hottest share of the ink."""
    rows, columns = np.nonzero(image)
    order = np.argsort(-heat[rows, columns], kind="stable")
    return first(image, rows[order], columns[order], share)


def blot(image: ModelInput, among: Ink, share: float, rng: np.random.Generator) -> Ink:
    """Mark a share of all ink around a random place, taking only ink from `among`."""
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
