"""What the running site says of things that are not digits, over HTTP: held-out writers' letters, shapes, numbers.

    python -m benchmarks.not_digits --strokes FILE --letters FILE [--address http://127.0.0.1:8000]

The site must run with HDR_THROTTLES=off. No kind of shape, and none of these writers, is in the training data.
"""

import argparse
from collections import Counter
from pathlib import Path

import numpy as np

from benchmarks.accuracy import Site, as_ink
from benchmarks.shapes import NUMBERS, SHAPES, shape
from training.strokes import PenDrawing, load_drawings

OF_EACH = 100  # shapes of a kind
SIDE = 200.0  # pixels, of a shape


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--strokes", type=Path, required=True)
    parser.add_argument("--letters", type=Path, required=True)
    parser.add_argument("--address", default="http://127.0.0.1:8000")
    arguments = parser.parse_args()
    site = Site(arguments.address)
    print(f"{'':34} {'n':>5} {'not a digit':>12} {'unsure':>8} {'sure':>6}   sure of")
    everything = report(site, "letters and symbols", load_drawings(arguments.letters, "test"))
    inks = [drawing.strokes for drawing in load_drawings(arguments.strokes, "test")]
    rng = np.random.default_rng(0)
    for name in [*SHAPES, *NUMBERS]:
        everything += report(site, name, [drawn(shape(name, rng, inks)) for _ in range(OF_EACH)])
    line("all together", everything, "")


def report(site: Site, name: str, drawings: list[PenDrawing]) -> Counter[str]:
    """Read drawings, print a line, and return how many had which verdict."""
    answers = site.read_all(as_ink(drawing) for drawing in drawings)
    verdicts = Counter(answer["verdict"] for answer in answers)
    taken_for = Counter(answer["digit"] for answer in answers if answer["verdict"] == "sure")
    line(name, verdicts, ", ".join(f"{digit}: {count}" for digit, count in taken_for.most_common(4)))
    return verdicts


def line(name: str, verdicts: Counter[str], taken_for: str) -> None:
    shares = [verdicts[verdict] / verdicts.total() for verdict in ("not_a_digit", "unsure", "sure")]
    print(f"{name:34} {verdicts.total():5} {shares[0]:12.1%} {shares[1]:8.1%} {shares[2]:6.1%}   {taken_for}")


def drawn(strokes: list[np.ndarray]) -> PenDrawing:
    points = np.concatenate(strokes)
    low, size = points.min(axis=0), float(np.ptp(points, axis=0).max())
    return PenDrawing(None, [(stroke - low) * (SIDE / size) for stroke in strokes], "", SIDE, "")


if __name__ == "__main__":
    main()
