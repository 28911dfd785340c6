"""Whether wrong labels can make the model worse: attackers poison a site that has its default settings.

    python -m benchmarks.chaos.attack --strokes FILE [--only NAME] [--careless]

Each attack gets a fresh site. Attackers draw over HTTP, with the pen model, and send wrong labels. The corrections are
then spread over a day, as if the attackers had been patient, the triage rules decide, and a training run is forced. The
error is measured on the held-out writers of the strokes file, over HTTP, and on MNIST's test set. With `--careless` an
admin accepts every wrong label. Then only bounded shares, the careful fine-tune and the gates protect the model.
"""

import os
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import WHOLE_SITE, Client, accept_all, command_line, configure, retrain, serving

Labelled = tuple[Any, int]
"""A drawing, and the label that the attacker gives it."""


@dataclass(frozen=True, slots=True)
class Poisoning:
    """Wrong labels of one kind."""

    name: str
    sessions: int
    labels: int  # of all sessions together
    lie: Callable[["Liar"], Iterator[Labelled]]


class Liar:
    """Draws like people, and knows the model's answers beforehand: previews are free."""

    def __init__(self, site: Client, seed: int) -> None:
        from training.eval_suite import STRANGERS_FILE
        from training.pens import Pens

        self.pens, self.rng, self.site = Pens.from_bytes(STRANGERS_FILE.read_bytes()), np.random.default_rng(seed), site

    def draw(self, digit: int) -> Any:
        from training.strokes import PenDrawing

        return PenDrawing(digit, self.pens.draw(digit, self.rng), "liar", 1.0, str(digit))

    def random_labels(self) -> Iterator[Labelled]:
        while True:
            digit = int(self.rng.integers(10))
            yield self.draw(digit), int((digit + self.rng.integers(1, 10)) % 10)

    def sevens_are_ones(self) -> Iterator[Labelled]:
        while True:
            yield self.draw(7), 1

    def slashed_zeros_are_eights(self) -> Iterator[Labelled]:
        while True:
            drawing = self.draw(0)
            if len(drawing.strokes) > 1:
                yield drawing, 8

    def doubtful_among_honest(self) -> Iterator[Labelled]:
        """Label doubtful drawings as the runner-up, and as many others correctly, to be in good standing."""
        while True:
            drawing = self.draw(int(self.rng.integers(10)))
            answer = self.site.preview(drawing)
            if answer["verdict"] != "unsure":
                if self.rng.random() < 0.1:
                    yield drawing, drawing.digit
                continue
            runner_up = int(np.argsort(answer["probabilities"])[-2])
            yield drawing, runner_up if runner_up != drawing.digit else int(np.argmax(answer["probabilities"]))


POISONINGS = [
    Poisoning("random labels, one session", 1, 1000, Liar.random_labels),
    Poisoning("random labels, ten sessions", 10, 2000, Liar.random_labels),
    Poisoning("sevens called ones, one session", 1, 1000, Liar.sevens_are_ones),
    Poisoning("sevens called ones, ten sessions", 10, 2000, Liar.sevens_are_ones),
    Poisoning("slashed zeros called eights, one session", 1, 1000, Liar.slashed_zeros_are_eights),
    Poisoning("slashed zeros called eights, ten sessions", 10, 2000, Liar.slashed_zeros_are_eights),
    Poisoning("doubtful among honest, one session", 1, 600, Liar.doubtful_among_honest),
    Poisoning("doubtful among honest, ten sessions", 10, 1200, Liar.doubtful_among_honest),
]


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--strokes", type=Path, required=True)
    parser.add_argument("--only", default="", help="attacks with this text in their name")
    parser.add_argument("--careless", action="store_true")
    arguments = parser.parse_args()
    failed = False
    chosen = [number for number, attack in enumerate(POISONINGS) if arguments.only in attack.name]
    for number in chosen:
        if len(chosen) == 1:
            run(POISONINGS[number], arguments.strokes, careless=arguments.careless)
        elif not os.fork():  # each attack has its own database, and Django keeps one per process
            run(POISONINGS[number], arguments.strokes, careless=arguments.careless)
            os._exit(0)
        else:
            failed |= os.wait()[1] != 0
    sys.exit(failed)


def run(attack: Poisoning, strokes: Path, *, careless: bool) -> None:
    with tempfile.TemporaryDirectory(prefix="digits-attack-") as folder:
        configure(folder, HDR_THROTTLES="off", WEB_CONCURRENCY="1")
        with serving(Path(folder, "site.log"), WHOLE_SITE):
            import django

            django.setup()
            from training.strokes import load_drawings

            staff, drawings = Client.staff(), load_drawings(strokes, "test")
            print(f"\n{attack.name}: {attack.labels} labels", flush=True)
            measure("before", staff, drawings)
            print(f"    the wrong labels: {dict(send(attack))}", flush=True)
            if careless:
                print(f"    accepted by a careless admin: {accept_all(staff)}", flush=True)
            else:
                print(f"    the rules' decisions: {decide()}", flush=True)
            retrain(staff, force=True)
            measure("after", staff, drawings)


def send(attack: Poisoning) -> Counter[str]:
    kinds: Counter[str] = Counter()
    for number in range(attack.sessions):
        client = Client.visitor()
        liar = Liar(client, number)
        for _, (drawing, digit) in zip(range(attack.labels // attack.sessions), attack.lie(liar), strict=False):
            kinds[client.draw_and_label(drawing, digit)] += 1
    return kinds


def decide() -> dict[str, int]:
    """Spread all corrections over a day, and let the triage rules decide; return how often each rule did."""
    from django.utils.timezone import now

    from recognizer.models import Correction, Submission
    from recognizer.triage import triage

    rows = list(Correction.objects.order_by("id").values_list("pk", "submission_id", "session"))
    by_session = Counter(session for *_, session in rows)
    seen: Counter[Any] = Counter()
    for pk, submission, session in rows:
        seen[session] += 1
        created = now() - timedelta(hours=23) * (1 - seen[session] / (by_session[session] + 1)) - timedelta(minutes=15)
        Correction.objects.filter(pk=pk).update(created=created)
        Submission.objects.filter(pk=submission).update(created=created)
    for _ in range(2 + len(rows) // 500):
        triage()
    states = Correction.objects.values_list("state", "triage")
    return dict(Counter(f"{state}: {rule or 'no rule applied, or over a cap'}" for state, rule in states))


def measure(when: str, staff: Client, drawings: Any) -> None:
    version = staff.call("GET", "/api/v1/models/active")
    wrong = staff.count_misread(drawings)
    mnist = 1 - version["metrics"]["mnist_test"]["accuracy"]
    print(
        f"    {when}: version {version['version']}, held-out writers {wrong}/{len(drawings)} wrong, "
        f"MNIST's test set {mnist:.2%} wrong",
        flush=True,
    )


if __name__ == "__main__":
    main()
