"""Whether liars can make the model worse: sessions send wrong labels to a site with its default settings.

    python -m benchmarks.attack --strokes FILE [--only NAME] [--careless]

Each attack gets a fresh site. Attackers draw over HTTP, in the manner of the pen model, and say what is not true. Their
rows are then spread over a day, as if they had been patient, the rules decide, and a training run is forced. What is
measured are the held-out writers of the strokes file, over HTTP, and MNIST's test set. With `--careless` an admin
accepts every lie, so that only bounded shares, the careful fine-tune and the gates are left.
"""

import argparse
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

from benchmarks.harness import WHOLE_SITE, configure, serving
from benchmarks.people import Client, accept_all, retrain, staff_token

Said = tuple[Any, int]
"""A drawing, and what the attacker says it is."""


@dataclass(frozen=True, slots=True)
class Attack:
    """What liars do."""

    name: str
    sessions: int
    labels: int  # in all
    lie: Callable[["Liar"], Iterator[Said]]


class Liar:
    """Draws like people, and knows what the model will say, as everybody can: previews cost nothing."""

    def __init__(self, site: Client, seed: int) -> None:
        from training.eval_suite import STRANGERS_FILE
        from training.pens import Pens

        self.pens, self.rng, self.site = Pens.from_bytes(STRANGERS_FILE.read_bytes()), np.random.default_rng(seed), site

    def draw(self, digit: int) -> Any:
        from training.strokes import PenDrawing

        return PenDrawing(digit, self.pens.draw(digit, self.rng), "liar", 1.0, str(digit))

    def random_labels(self) -> Iterator[Said]:
        while True:
            digit = int(self.rng.integers(10))
            yield self.draw(digit), int((digit + self.rng.integers(1, 10)) % 10)

    def sevens_are_ones(self) -> Iterator[Said]:
        while True:
            yield self.draw(7), 1

    def slashed_zeros_are_eights(self) -> Iterator[Said]:
        while True:
            drawing = self.draw(0)
            if len(drawing.strokes) > 1:
                yield drawing, 8

    def doubtful_ones_with_honest_ones_between(self) -> Iterator[Said]:
        """Mislabel what the model doubts as its runner-up, and label as many others truly, to be in good standing."""
        while True:
            drawing = self.draw(int(self.rng.integers(10)))
            answer = self.site.preview(drawing)
            if answer["verdict"] != "unsure":
                if self.rng.random() < 0.1:
                    yield drawing, drawing.digit
                continue
            runner_up = int(np.argsort(answer["probabilities"])[-2])
            yield drawing, runner_up if runner_up != drawing.digit else int(np.argmax(answer["probabilities"]))


ATTACKS = [
    Attack("random labels, one session", 1, 1000, Liar.random_labels),
    Attack("random labels, ten sessions", 10, 2000, Liar.random_labels),
    Attack("sevens called ones, one session", 1, 1000, Liar.sevens_are_ones),
    Attack("sevens called ones, ten sessions", 10, 2000, Liar.sevens_are_ones),
    Attack("slashed zeros called eights, one session", 1, 1000, Liar.slashed_zeros_are_eights),
    Attack("slashed zeros called eights, ten sessions", 10, 2000, Liar.slashed_zeros_are_eights),
    Attack("doubtful ones among honest ones, one session", 1, 600, Liar.doubtful_ones_with_honest_ones_between),
    Attack("doubtful ones among honest ones, ten sessions", 10, 1200, Liar.doubtful_ones_with_honest_ones_between),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--strokes", type=Path, required=True)
    parser.add_argument("--only", default="", help="attacks with this in their name")
    parser.add_argument("--careless", action="store_true")
    arguments = parser.parse_args()
    failed = False
    chosen = [number for number, attack in enumerate(ATTACKS) if arguments.only in attack.name]
    for number in chosen:
        if len(chosen) == 1:
            run(ATTACKS[number], arguments.strokes, careless=arguments.careless)
        elif not os.fork():  # Django's database is the process's, and each attack has its own
            run(ATTACKS[number], arguments.strokes, careless=arguments.careless)
            os._exit(0)
        else:
            failed |= os.wait()[1] != 0
    sys.exit(failed)


def run(attack: Attack, strokes: Path, *, careless: bool) -> None:
    with tempfile.TemporaryDirectory(prefix="digits-attack-") as folder:
        configure(folder, HDR_THROTTLES="off", WEB_CONCURRENCY="1")
        with serving(Path(folder, "site.log"), WHOLE_SITE):
            import django

            django.setup()
            from training.strokes import load_drawings

            staff, drawings = Client(token=staff_token()), load_drawings(strokes, "test")
            print(f"\n{attack.name}: {attack.labels} labels", flush=True)
            measure("before", staff, drawings)
            said = send(attack)
            print(f"    what it said to them: {dict(said)}", flush=True)
            if careless:
                print(f"    accepted by a careless admin: {accept_all(staff)}", flush=True)
            else:
                print(f"    what the rules made of it: {decide()}", flush=True)
            retrain(staff, force=True)
            measure("after", staff, drawings)


def send(attack: Attack) -> Counter[str]:
    verdicts: Counter[str] = Counter()
    for number in range(attack.sessions):
        client = Client()
        liar = Liar(client, number)
        for _, (drawing, digit) in zip(range(attack.labels // attack.sessions), attack.lie(liar), strict=False):
            verdicts[client.draw_and_say(drawing, digit)] += 1
    return verdicts


def decide() -> dict[str, int]:
    """Spread what was said over a day, and let the rules decide all of it."""
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
    return dict(Counter(f"{state}: {rule or 'no rule yet, or over a cap'}" for state, rule in states))


def measure(when: str, staff: Client, drawings: Any) -> None:
    version = staff.call("GET", "/api/v1/models/active")
    wrong = staff.read(drawings).count(False)
    mnist = 1 - version["metrics"]["mnist_test"]["accuracy"]
    print(
        f"    {when}: version {version['version']}, held-out writers {wrong}/{len(drawings)} wrong, "
        f"MNIST's test set {mnist:.2%} wrong",
        flush=True,
    )


if __name__ == "__main__":
    main()
