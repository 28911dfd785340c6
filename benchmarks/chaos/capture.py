"""Whether a few visitors can decide what is promoted, held back or rolled back: one site with and without them.

    python -m benchmarks.chaos.capture --strokes FILE [--only NAME] [--rollback]

Honest people with unusual handwriting teach a site, and a reviewer accepts their labels. Without attackers the next run
is promoted. Each attack gets a copy of that site: attackers draw over HTTP, the triage rules decide, and the same run
follows. Every gate should decide as it did without the attack. Attackers of the holdout get the luck they hope for:
cookies and accounts that belong to the holdout.

With `--rollback`, attackers have both artifacts. They look for drawings that only the earlier version reads right, send
them under fresh cookies, and "correct" them. The promoted version should stay active.
"""

import json
import os
import shutil
import tempfile
import time
import traceback
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.chaos.attack import decide
from benchmarks.harness import WHOLE_SITE, Client, command_line, configure, random_hand, retrain, serving

HONEST, EACH = 48, 15  # people, and the drawings of each
NARROW, BISECTIONS = 0.1, 8  # probability between the two likeliest digits at the decision border; steps to find it
DIFFERING, FRESH = 110, 22  # drawings that only the earlier version reads right; cookies that send them

KEY = "the key of a site that is attacked by its own benchmark"
"""Decides who is in the holdout. With another key the honest candidate may be rejected without an attack."""

Labelled = tuple[Any, int | None]
"""A drawing, and the label that its author gives it."""


class Attacker:
    """Draws like people, and has the public model: so it knows every answer, and how close the runner-up is."""

    def __init__(self, seed: int) -> None:
        from recognizer.engine import CANARY_FILE, DigitModel
        from recognizer.models import ModelVersion
        from recognizer.registry import BUNDLED
        from recognizer.verdicts import Thresholds
        from training.eval_suite import STRANGERS_FILE
        from training.pens import Pens

        thresholds = Thresholds(**ModelVersion.objects.get(version=1).thresholds)
        self.model = DigitModel((BUNDLED / "digits.tflite").read_bytes(), thresholds)
        self.pens = Pens.from_bytes(STRANGERS_FILE.read_bytes())
        self.rng = np.random.default_rng(seed)
        self.canaries = json.loads(CANARY_FILE.read_text())

    def draw(self, digit: int | None) -> Any:
        from training.strokes import PenDrawing

        return PenDrawing(digit, self.pens.draw(digit, self.rng), "attacker", 1.0, str(digit))

    def read(self, drawing: Any) -> Any:
        from recognizer.preprocessing import ink_to_input

        return self.model.read(ink_to_input(drawing.strokes, 1.0))

    def doubted(self) -> Iterator[tuple[Any, Any]]:
        """Yield drawings that the model is unsure of, with its readings."""
        while True:
            drawing = self.draw(int(self.rng.integers(10)))
            reading = self.read(drawing)
            if reading.verdict == "unsure":
                yield drawing, reading

    def border(self) -> Iterator[tuple[Any, Any]]:
        """Yield drawings at the border between two digits, with the model's readings."""
        while True:
            one, other = (self.draw(int(digit)) for digit in self.rng.choice(10, 2, replace=False))
            if [stroke.shape for stroke in one.strokes] != [stroke.shape for stroke in other.strokes]:
                continue
            drawing = self._between(one, other)
            reading = self.read(drawing)
            second, first = np.sort(reading.probabilities)[-2:]
            if reading.digit is not None and first - second < NARROW:
                yield drawing, reading

    def _between(self, one: Any, other: Any) -> Any:
        """Morph one drawing towards another, until just before the likelier digit changes."""

        def at(share: float) -> Any:
            pairs = zip(one.strokes, other.strokes, strict=True)
            return replace(one, strokes=[(1 - share) * stroke + share * goal for stroke, goal in pairs])

        near, far = 0.0, 1.0
        likelier = int(np.argmax(self.read(one).probabilities))
        for _ in range(BISECTIONS):
            middle = (near + far) / 2
            same = int(np.argmax(self.read(at(middle)).probabilities)) == likelier
            near, far = (middle, far) if same else (near, middle)
        return at(near)

    def confirms_the_border(self) -> Iterator[Labelled]:
        for drawing, reading in self.border():
            yield drawing, reading.digit

    def lies_at_the_border(self) -> Iterator[Labelled]:
        for drawing, reading in self.border():
            yield drawing, int(np.argsort(reading.probabilities)[-2])

    def labels_twice(self) -> Iterator[Labelled]:
        """Give nearly the same drawing both labels that the model hesitates between: nothing can be learned from it."""
        for drawing, reading in self.border():
            for digit in np.argsort(reading.probabilities)[-2:]:
                shaken = [stroke + self.rng.normal(0, 0.01, stroke.shape) for stroke in drawing.strokes]
                yield replace(drawing, strokes=shaken), int(digit)

    def calls_canaries_something_else(self) -> Iterator[Labelled]:
        """Bend the public canary drawings until the model is unsure, and label them as the runner-up."""
        while True:
            canary = self.canaries[int(self.rng.integers(len(self.canaries)))]
            bend = np.eye(2) + self.rng.uniform(-0.5, 0.5, (2, 2))
            strokes = [np.array(stroke) / 100 @ bend.T for stroke in canary["strokes"]]
            drawing = replace(self.draw(canary["digit"]), strokes=strokes)
            reading = self.read(drawing)
            if reading.verdict == "unsure":
                yield drawing, int(np.argsort(reading.probabilities)[-2])

    def calls_letters_digits(self) -> Iterator[Labelled]:
        """Confirm letters that the model reads as a doubtful digit."""
        while True:
            drawing = self.draw(None)
            reading = self.read(drawing)
            if reading.verdict == "unsure":
                yield drawing, reading.digit

    def calls_digits_nothing(self) -> Iterator[Labelled]:
        for drawing, _ in self.doubted():
            yield drawing, None


@dataclass(frozen=True, slots=True)
class Attack:
    """What attackers send, and who they are."""

    name: str
    owners: int
    each: int  # drawings of each
    labels: Callable[[Attacker], Iterator[Labelled]]
    holdout: bool = False  # they belong to it
    account_age: timedelta | None = None  # None: they have no accounts


MONTH = timedelta(days=30)
ATTACKS = [
    Attack("holdout: one cookie confirms the border", 1, 100, Attacker.confirms_the_border, holdout=True),
    Attack("holdout: a crowd confirms the border", 22, 20, Attacker.confirms_the_border, holdout=True),
    Attack("holdout: a crowd lies at the border", 22, 20, Attacker.lies_at_the_border, holdout=True),
    Attack("holdout: accounts of today", 10, 40, Attacker.confirms_the_border, holdout=True, account_age=timedelta(0)),
    Attack("holdout: accounts of a month", 10, 40, Attacker.confirms_the_border, holdout=True, account_age=MONTH),
    Attack("validation: a crowd confirms the border", 22, 60, Attacker.confirms_the_border),
    Attack("validation: a crowd lies at the border", 22, 30, Attacker.lies_at_the_border),
    Attack("learned: what cannot be learned", 10, 30, Attacker.labels_twice),
    Attack("canaries: bent ones called something else", 10, 30, Attacker.calls_canaries_something_else),
    Attack("not_digits: letters called digits", 10, 40, Attacker.calls_letters_digits),
    Attack("calibration: doubtful digits called nothing", 10, 30, Attacker.calls_digits_nothing),
]


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--strokes", type=Path, required=True)
    parser.add_argument("--only", default="", help="attacks with this text in their name")
    parser.add_argument("--rollback", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="digits-capture-") as folder:
        taught = Path(folder) / "taught"
        taught.mkdir()
        in_a_child(taught, lambda staff: teach(staff, arguments.strokes))
        if arguments.rollback:
            in_a_child(taught, try_rollback)
            return
        expected = play(taught, None)
        for attack in ATTACKS:
            if arguments.only in attack.name:
                compare(attack, expected, play(taught, attack))


def in_a_child(folder: Path, work: Callable[[Client], object]) -> None:
    """Run a site in a folder and work on it, in a child process: Django keeps one database per process."""
    if child := os.fork():
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
            raise SystemExit(f"The work in {folder} failed.")
        return
    try:
        configure(folder, WEB_CONCURRENCY="1", HDR_THROTTLES="off", SECRET_KEY=KEY)
        with serving(folder / "site.log", WHOLE_SITE):
            import django

            django.setup()
            work(Client.staff())
    except BaseException:  # noqa: BLE001 - a child must end here, whatever happened
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def teach(staff: Client, strokes: Path) -> None:
    """Let honest people draw and label, and a reviewer accept it. Every second person has an account."""
    from django_celery_beat.models import PeriodicTask

    from training.strokes import load_drawings

    drawings = load_drawings(strokes, "test")
    by_digit = [[drawing for drawing in drawings if drawing.digit == digit] for digit in range(10)]
    kinds: Counter[str] = Counter()
    for person in range(HONEST):
        client, rng = Client.visitor(), np.random.default_rng(person)
        hand = random_hand(rng)
        for _ in range(EACH):
            of_digit = by_digit[int(rng.integers(10))]
            drawing = of_digit[int(rng.integers(len(of_digit)))]
            bent = replace(drawing, strokes=[stroke @ hand for stroke in drawing.strokes])
            kinds[client.draw_and_label(bent, bent.digit)] += 1
        if person % 2:
            give_account(client, MONTH)
    accept_in_the_past()
    PeriodicTask.objects.filter(name__startswith="retrain").update(enabled=False)  # this benchmark requests the runs
    print(f"{HONEST} honest people: {dict(kinds)}, all accepted", flush=True)


def give_account(client: Client, age: timedelta) -> None:
    """Give a client's drawings to an account of some age."""
    from django.contrib.auth.models import User
    from django.utils.timezone import now

    from recognizer.models import Correction, Submission

    account = User.objects.create(username=uuid.uuid4().hex, date_joined=now() - age)
    session = owner_id(client)
    Submission.objects.filter(session=session).update(account=account, session=None)
    Correction.objects.filter(session=session).update(account=account, session=None)


def owner_id(client: Client) -> uuid.UUID:
    """Return the owner id in a visitor's cookie, which is signed but readable."""
    return uuid.UUID(client.headers["Cookie"].split("owner=")[1][:32])


def accept_in_the_past() -> None:
    """Let a reviewer accept everything that is pending, a week before the attack."""
    from django.contrib.auth.models import User
    from django.utils.timezone import now

    from recognizer.models import Correction

    reviewer = User.objects.get(username="admin")
    Correction.objects.waiting().update(
        state="accepted", decided=now() - timedelta(days=7), decided_by=reviewer, created=now() - timedelta(days=8)
    )


Decisions = dict[str, bool]
"""Whether each gate passed; the key "promoted" says whether the candidate was."""


def play(taught: Path, attack: Attack | None) -> Decisions:
    """Attack a copy of the site, train, and return the gates' decisions."""
    copy = Path(tempfile.mkdtemp(dir=taught.parent))
    shutil.copytree(taught, copy, dirs_exist_ok=True)
    result = copy / "decisions.json"

    def work(staff: Client) -> None:
        from recognizer.models import ModelVersion

        print(f"\n{attack.name if attack else 'No attack'}", flush=True)
        if attack:
            send(attack)
            print(f"    the rules' decisions: {decide()}", flush=True)
        retrain(staff, force=True)
        made = ModelVersion.objects.get(version=2)
        gates = {row["gate"]: row["passed"] for row in made.gate_report or []}
        result.write_text(json.dumps(gates | {"promoted": made.state == "active"}))

    in_a_child(copy, work)
    decisions: Decisions = json.loads(result.read_text())
    return decisions


def send(attack: Attack) -> None:
    attacker = Attacker(seed=7)
    labels = attack.labels(attacker)
    for _ in range(attack.owners):
        client = lucky_visitor() if attack.holdout else Client.visitor()
        for _ in range(attack.each):
            client.draw_and_label(*next(labels))
        if attack.account_age is not None:
            give_lucky_account(client, attack.account_age) if attack.holdout else give_account(
                client, attack.account_age
            )


def lucky_visitor() -> Client:
    """Take new cookies until one belongs to the holdout."""
    while True:
        client = Client.visitor()
        if is_held_out(f"session {owner_id(client)}"):
            return client


def give_lucky_account(client: Client, age: timedelta) -> None:
    """Create accounts until one belongs to the holdout, and give it a client's drawings."""
    from django.contrib.auth.models import User

    while not is_held_out(f"account {(User.objects.order_by('-pk').values_list('pk', flat=True).first() or 0) + 1}"):
        User.objects.create(username=uuid.uuid4().hex)
    give_account(client, age)


def is_held_out(owner: str) -> bool:
    from training.dataset import DatasetRules, _keyed_share

    return _keyed_share(owner) < DatasetRules().holdout_owners


def compare(attack: Attack, expected: Decisions, decisions: Decisions) -> None:
    differing = [name for name in expected if decisions.get(name) != expected[name]]
    print(f"    {'same decisions' if not differing else 'DIFFERENT: ' + ', '.join(differing)}", flush=True)


@contextmanager
def timed(what: str) -> Iterator[None]:
    start = time.monotonic()
    yield
    print(f"    {what}: {time.monotonic() - start:.1f} s", flush=True)


def try_rollback(staff: Client) -> None:
    """Promote a second version, and let attackers try to have it rolled back."""
    from recognizer import watch
    from recognizer.engine import load_model
    from recognizer.models import ModelVersion, Promotion

    retrain(staff, force=True)
    first, second = (ModelVersion.objects.get(version=number) for number in (1, 2))
    if second.state != "active":
        raise SystemExit("The second version was not promoted, so there is nothing to roll back.")
    attacker, before, after = Attacker(seed=11), load_model(first), load_model(second)
    with timed(f"{DIFFERING} drawings found that only version 1 reads right"):
        found = list(differing_drawings(attacker, before, after))
    with timed(f"sent under {FRESH} cookies, each corrected"):
        clients = [Client.visitor() for _ in range(FRESH)]
        for place, drawing in enumerate(found):
            clients[place % FRESH].draw_and_label(drawing, drawing.digit)
    moved = watch.watch()
    newest = Promotion.objects.all()[0]
    print(f"    rolled back: {moved}; version {newest.version.version} is active. {newest.reason} {newest.doubt}")


def differing_drawings(attacker: Attacker, before: Any, after: Any) -> Iterator[Any]:
    from recognizer.preprocessing import ink_to_input

    count = 0
    for drawing, _ in attacker.doubted():
        image = ink_to_input(drawing.strokes, 1.0)
        if before.read(image).digit == drawing.digit != after.read(image).digit:
            yield drawing
            if (count := count + 1) == DIFFERING:
                return


if __name__ == "__main__":
    main()
