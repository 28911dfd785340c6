"""What a running site makes of things that are not digits, over HTTP: held-out writers' letters, shapes, two digits.

    python -m benchmarks.quality.not_digits --strokes FILE --letters FILE [--address http://127.0.0.1:8000]

The site must run with HDR_THROTTLES=off. Neither these kinds of shapes nor these writers are in the training data.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from benchmarks.harness import Client, command_line, ink_body
from benchmarks.quality.shapes import NUMBERS, SHAPES, shape
from training.strokes import load_drawings

OF_EACH = 100  # shapes of a kind


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--strokes", type=Path, required=True)
    parser.add_argument("--letters", type=Path, required=True)
    parser.add_argument("--address", default="http://127.0.0.1:8000")
    arguments = parser.parse_args()
    site = Client(address=urlsplit(arguments.address).netloc)
    print(f"{'':34} {'n':>5} {'not a digit':>12} {'unsure':>8} {'sure':>6}   sure of")
    letters = [drawing.strokes for drawing in load_drawings(arguments.letters, "test")]
    verdicts = report(site, "letters and symbols", letters)
    digits = [drawing.strokes for drawing in load_drawings(arguments.strokes, "test")]
    rng = np.random.default_rng(0)
    for name in [*SHAPES, *NUMBERS]:
        verdicts += report(site, name, [shape(name, rng, digits) for _ in range(OF_EACH)])
    print_row("all together", verdicts, "")


def report(site: Client, name: str, inks: Sequence[Sequence[np.ndarray]]) -> Counter[str]:
    """Read ink, print a row, and return how often each verdict came."""
    answers = [answer.json for answer in site.ask_all("/api/v1/previews", map(ink_body, inks))]
    verdicts = Counter(answer["verdict"] for answer in answers)
    sure_of = Counter(answer["digit"] for answer in answers if answer["verdict"] == "sure")
    print_row(name, verdicts, ", ".join(f"{digit}: {count}" for digit, count in sure_of.most_common(4)))
    return verdicts


def print_row(name: str, verdicts: Counter[str], sure_of: str) -> None:
    shares = [verdicts[verdict] / verdicts.total() for verdict in ("not_a_digit", "unsure", "sure")]
    print(f"{name:34} {verdicts.total():5} {shares[0]:12.1%} {shares[1]:8.1%} {shares[2]:6.1%}   {sure_of}")


if __name__ == "__main__":
    main()
