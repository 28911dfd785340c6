"""Whether the site learns people's handwriting and forgets nobody's: simulated people draw, correct and confirm.

    python -m benchmarks.quality.people --strokes FILE [--rounds 3] [--fold 0] [--bend]

Starts the whole site in a folder of its own and talks to it over HTTP. The people are the held-out writers whom the
bundled model reads worst. Half of their drawings are drawn on the site, round by round. An admin accepts every label,
and each round ends with a training run. The error is measured on drawings that the site has never seen: the other half,
and all drawings of the other held-out writers ("strangers"). `--fold 1` swaps the halves. `--bend` gives each of the
people an unusual handwriting: all of a person's drawings are rotated, slanted and stretched in the same way.
"""

import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.harness import (
    WHOLE_SITE,
    Client,
    accept_all,
    command_line,
    configure,
    random_hand,
    retrain,
    serving,
)
from training.strokes import PenDrawing, load_drawings

PEOPLE = 10
MIN_DRAWINGS = 20  # of a writer, to be one of the people


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--strokes", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--fold", type=int, choices=[0, 1], default=0)
    parser.add_argument("--bend", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="digits-people-") as folder:
        configure(folder, HDR_THROTTLES="off", HDR_REVIEW="all", WEB_CONCURRENCY="1")
        with serving(Path(folder, "site.log"), WHOLE_SITE):
            simulate(arguments.strokes, arguments.rounds, arguments.fold, bend=arguments.bend)


def simulate(strokes: Path, rounds: int, fold: int, *, bend: bool) -> None:
    staff = Client.staff()
    drawings = load_drawings(strokes, "test")
    by_writer: dict[str, list[PenDrawing]] = defaultdict(list)
    for drawing in drawings:
        by_writer[drawing.writer].append(drawing)
    error = {
        writer: staff.count_misread(written) / len(written)
        for writer, written in by_writer.items()
        if len(written) >= MIN_DRAWINGS
    }
    people = sorted(error, key=lambda writer: (-error[writer], writer))[:PEOPLE]
    rng = np.random.default_rng(0)
    taught: dict[str, list[PenDrawing]] = {}
    untaught: list[PenDrawing] = []
    for writer in people:
        order = [by_writer[writer][index] for index in rng.permutation(len(by_writer[writer]))]
        if bend:
            hand = random_hand(np.random.default_rng(people.index(writer)))
            order = [replace(drawing, strokes=[stroke @ hand for stroke in drawing.strokes]) for drawing in order]
        halves = order[: len(order) // 2], order[len(order) // 2 :]
        taught[writer] = halves[fold]
        untaught += halves[1 - fold]
    strangers = [drawing for drawing in drawings if drawing.writer not in people]
    print(
        f"{len(people)} people, {sum(map(len, taught.values()))} drawings for the site, {len(untaught)} others of "
        f"theirs, {len(strangers)} of {len({d.writer for d in strangers})} strangers\n"
    )
    print(f"{'misread':26} {'version':>8} {'other drawings':>20} {'strangers':>20} {'MNIST test':>11} {'seconds':>8}")
    print_row("before", staff, untaught, strangers)
    visitors = {writer: Client.visitor() for writer in people}
    for number in range(rounds):
        labels = {"confirmed": 0, "corrected": 0}
        for writer, visitor in visitors.items():
            for drawing in taught[writer][number::rounds]:
                labels[visitor.draw_and_label(drawing, drawing.digit)] += 1
        accepted = accept_all(staff)
        seconds = retrain(staff)
        name = f"round {number + 1}: {labels['corrected']} wrong of {accepted}"
        print_row(name, staff, untaught, strangers, seconds)


def print_row(
    name: str, staff: Client, untaught: Sequence[PenDrawing], strangers: Sequence[PenDrawing], seconds: float = 0.0
) -> None:
    version = staff.call("GET", "/api/v1/models/active")
    cells = []
    for drawings in (untaught, strangers):
        wrong = staff.count_misread(drawings)
        cells.append(f"{wrong}/{len(drawings)} = {wrong / len(drawings):.2%}")
    mnist = 1 - version["metrics"]["mnist_test"]["accuracy"]
    print(f"{name:26} {version['version']:8} {cells[0]:>20} {cells[1]:>20} {mnist:11.2%} {seconds:8.1f}", flush=True)


if __name__ == "__main__":
    main()
