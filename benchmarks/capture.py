"""Whether a few visitors decide what is promoted, held back or taken back: the same site with and without them.

    python -m benchmarks.capture --strokes FILE [--only NAME] [--rollback]

Honest people with hands of their own teach a site, and a reviewer accepts what they say. Without attackers the next run
is promoted. Each attack gets a copy of that site: attackers draw over HTTP, the rules decide, the same run follows, and
its verdict, gate by gate, should be the same. An attack on the holdout is given what it hopes for: cookies and accounts
that happen to lie in it.

With `--rollback`, attackers who have both artifacts look for drawings that only the earlier version reads right, send
them under fresh cookies, and "correct" them. The version that was promoted should go on serving.
"""

import argparse
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

from benchmarks.attack import decide
from benchmarks.harness import WHOLE_SITE, configure, serving
from benchmarks.people import Client, own_hand, retrain, staff_token

HONEST, EACH = 48, 15  # people, and drawings of each
NARROW, BISECTIONS = 0.1, 8  # between the two likeliest digits at the border; steps towards it
DIFFERING, FRESH = 110, 22  # drawings that only the earlier version reads right, and the cookies they come under

KEY = "the key of a site that is attacked by its own benchmark"
"""It decides who is in the holdout. With another one the honest candidate may be rejected without any attack."""

Said = tuple[Any, int | None]
"""A drawing, and what its author says it is."""


class Attacker:
    """Draws like people, and has the public model: what it will say, and how nearly it says something else."""

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
        """Drawings that the model is not sure of, with its readings."""
        while True:
            drawing = self.draw(int(self.rng.integers(10)))
            reading = self.read(drawing)
            if reading.verdict == "unsure":
                yield drawing, reading

    def border(self) -> Iterator[tuple[Any, Any]]:
        """Drawings that lie between two digits, where the answer is about to change, with the model's readings."""
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
        """Go from one drawing towards another until just before the likelier digit changes."""

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

    def confirms_the_border(self) -> Iterator[Said]:
        for drawing, reading in self.border():
            yield drawing, reading.digit

    def lies_at_the_border(self) -> Iterator[Said]:
        for drawing, reading in self.border():
            yield drawing, int(np.argsort(reading.probabilities)[-2])

    def says_both(self) -> Iterator[Said]:
        """What cannot be learned: nearly the same drawing is called both things that the model hesitates between."""
        for drawing, reading in self.border():
            for digit in np.argsort(reading.probabilities)[-2:]:
                shaken = [stroke + self.rng.normal(0, 0.01, stroke.shape) for stroke in drawing.strokes]
                yield replace(drawing, strokes=shaken), int(digit)

    def calls_canaries_something_else(self) -> Iterator[Said]:
        """Canary drawings are public: bent until the model hesitates, and called what it hesitates to say."""
        while True:
            canary = self.canaries[int(self.rng.integers(len(self.canaries)))]
            bend = np.eye(2) + self.rng.uniform(-0.5, 0.5, (2, 2))
            strokes = [np.array(stroke) / 100 @ bend.T for stroke in canary["strokes"]]
            drawing = replace(self.draw(canary["digit"]), strokes=strokes)
            reading = self.read(drawing)
            if reading.verdict == "unsure":
                yield drawing, int(np.argsort(reading.probabilities)[-2])

    def calls_letters_digits(self) -> Iterator[Said]:
        """What is no digit and passes for a doubtful one is confirmed to be one."""
        while True:
            drawing = self.draw(None)
            reading = self.read(drawing)
            if reading.verdict == "unsure":
                yield drawing, reading.digit

    def calls_digits_nothing(self) -> Iterator[Said]:
        for drawing, _ in self.doubted():
            yield drawing, None


@dataclass(frozen=True, slots=True)
class Attack:
    """What attackers do, and as whom."""

    name: str
    owners: int
    each: int  # drawings
    says: Callable[[Attacker], Iterator[Said]]
    holdout: bool = False  # their owners lie in it
    account_age: timedelta | None = None  # they have accounts


MONTH = timedelta(days=30)
ATTACKS = [
    Attack("holdout: one cookie confirms the border", 1, 100, Attacker.confirms_the_border, holdout=True),
    Attack("holdout: a crowd confirms the border", 22, 20, Attacker.confirms_the_border, holdout=True),
    Attack("holdout: a crowd lies at the border", 22, 20, Attacker.lies_at_the_border, holdout=True),
    Attack("holdout: accounts of today", 10, 40, Attacker.confirms_the_border, holdout=True, account_age=timedelta(0)),
    Attack("holdout: accounts of a month", 10, 40, Attacker.confirms_the_border, holdout=True, account_age=MONTH),
    Attack("validation: a crowd confirms the border", 22, 60, Attacker.confirms_the_border),
    Attack("validation: a crowd lies at the border", 22, 30, Attacker.lies_at_the_border),
    Attack("learned: what cannot be learned", 10, 30, Attacker.says_both),
    Attack("canaries: bent ones called something else", 10, 30, Attacker.calls_canaries_something_else),
    Attack("not_digits: letters called digits", 10, 40, Attacker.calls_letters_digits),
    Attack("calibration: doubtful digits called nothing", 10, 30, Attacker.calls_digits_nothing),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--strokes", type=Path, required=True)
    parser.add_argument("--only", default="", help="attacks with this in their name")
    parser.add_argument("--rollback", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="digits-capture-") as folder:
        taught = Path(folder) / "taught"
        taught.mkdir()
        in_a_child(taught, lambda staff: teach(staff, arguments.strokes))
        if arguments.rollback:
            in_a_child(taught, take_back)
            return
        expected = play(taught, None)
        for attack in ATTACKS:
            if arguments.only in attack.name:
                compare(attack, expected, play(taught, attack))


def in_a_child(folder: Path, work: Callable[[Client], object]) -> None:
    """Run a site in a folder and work on it, in a process of its own: Django's database is the process's."""
    if child := os.fork():
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
            raise SystemExit(f"The work in {folder} failed.")
        return
    try:
        configure(folder, WEB_CONCURRENCY="1", HDR_THROTTLES="off", SECRET_KEY=KEY)
        with serving(folder / "site.log", WHOLE_SITE):
            import django

            django.setup()
            work(Client(token=staff_token()))
    except BaseException:  # noqa: BLE001 - a child must end here, whatever happened
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def teach(staff: Client, strokes: Path) -> None:
    """Let honest people draw and say what it is; a reviewer accepts it, and knows every second of them by account."""
    from django_celery_beat.models import PeriodicTask

    from training.strokes import load_drawings

    drawings = load_drawings(strokes, "test")
    by_digit = [[drawing for drawing in drawings if drawing.digit == digit] for digit in range(10)]
    said: Counter[str] = Counter()
    for person in range(HONEST):
        client, rng = Client(), np.random.default_rng(person)
        hand = own_hand(rng)
        for _ in range(EACH):
            of_digit = by_digit[int(rng.integers(10))]
            drawing = of_digit[int(rng.integers(len(of_digit)))]
            bent = replace(drawing, strokes=[stroke @ hand for stroke in drawing.strokes])
            said[client.draw_and_say(bent, bent.digit)] += 1
        if person % 2:
            give_account(client, MONTH)
    accept_in_the_past()
    PeriodicTask.objects.filter(name__startswith="retrain").update(enabled=False)  # runs are asked for here
    print(f"{HONEST} honest people: {dict(said)}, all accepted", flush=True)


def give_account(client: Client, age: timedelta) -> None:
    """Make what a client drew an account's that is so old."""
    from django.contrib.auth.models import User
    from django.utils.timezone import now

    from recognizer.models import Correction, Submission

    account = User.objects.create(username=uuid.uuid4().hex, date_joined=now() - age)
    session = owner_id(client)
    Submission.objects.filter(session=session).update(account=account, session=None)
    Correction.objects.filter(session=session).update(account=account, session=None)


def owner_id(client: Client) -> uuid.UUID:
    """The id that stands readable in a visitor's cookie."""
    return uuid.UUID(client.cookies.split("owner=")[1][:32])


def accept_in_the_past() -> None:
    """Have a reviewer accept all that waits, a week before anybody attacks."""
    from django.contrib.auth.models import User
    from django.utils.timezone import now

    from recognizer.models import Correction

    reviewer = User.objects.get(username="admin")
    Correction.objects.waiting().update(
        state="accepted", decided=now() - timedelta(days=7), decided_by=reviewer, created=now() - timedelta(days=8)
    )


Verdict = dict[str, bool]
"""Whether each gate was passed, and under "promoted" whether the candidate was."""


def play(taught: Path, attack: Attack | None) -> Verdict:
    """Attack a copy of the site, train, and return the verdict."""
    verdict = Path(tempfile.mkdtemp(dir=taught.parent))
    shutil.copytree(taught, verdict, dirs_exist_ok=True)

    def work(staff: Client) -> None:
        from recognizer.models import ModelVersion

        print(f"\n{attack.name if attack else 'Nobody attacks'}", flush=True)
        if attack:
            send(attack)
            print(f"    what the rules made of it: {decide()}", flush=True)
        retrain(staff, force=True)
        made = ModelVersion.objects.get(version=2)
        gates = [f"{row['gate']} {int(row['passed'])}" for row in made.gate_report or []]
        (verdict / "verdict").write_text("\n".join([*gates, f"promoted {int(made.state == 'active')}"]))

    in_a_child(verdict, work)
    rows = (line.split() for line in (verdict / "verdict").read_text().splitlines())
    return {name: passed == "1" for name, passed in rows}


def send(attack: Attack) -> None:
    attacker = Attacker(seed=7)
    says = attack.says(attacker)
    for _ in range(attack.owners):
        client = lucky_client() if attack.holdout else Client()
        for _ in range(attack.each):
            client.draw_and_say(*next(says))
        if attack.account_age is not None:
            give_lucky_account(client, attack.account_age) if attack.holdout else give_account(
                client, attack.account_age
            )


def lucky_client() -> Client:
    """Take cookies until one lies in the holdout."""
    while True:
        client = Client()
        client._open_page()
        if is_held_out(f"session {owner_id(client)}"):
            return client


def give_lucky_account(client: Client, age: timedelta) -> None:
    """Make accounts until one lies in the holdout, and give it what a client drew."""
    from django.contrib.auth.models import User

    while not is_held_out(f"account {(User.objects.order_by('-pk').values_list('pk', flat=True).first() or 0) + 1}"):
        User.objects.create(username=uuid.uuid4().hex)
    give_account(client, age)


def is_held_out(owner: str) -> bool:
    from training.dataset import DatasetRules, _keyed_share

    return _keyed_share(owner) < DatasetRules().holdout_owners


def compare(attack: Attack, expected: Verdict, verdict: Verdict) -> None:
    differing = [name for name in expected if verdict.get(name) != expected[name]]
    print(f"    {'same verdict' if not differing else 'OTHERWISE: ' + ', '.join(differing)}", flush=True)


@contextmanager
def timed(what: str) -> Iterator[None]:
    start = time.monotonic()
    yield
    print(f"    {what}: {time.monotonic() - start:.1f} s", flush=True)


def take_back(staff: Client) -> None:
    """Promote a second version, and have attackers try to take it back."""
    from recognizer import watch
    from recognizer.engine import load_model
    from recognizer.models import ModelVersion, Promotion

    retrain(staff, force=True)
    first, second = (ModelVersion.objects.get(version=number) for number in (1, 2))
    if second.state != "active":
        raise SystemExit("The second version was not promoted, so there is nothing to take back.")
    attacker, before, after = Attacker(seed=11), load_model(first), load_model(second)
    with timed(f"{DIFFERING} drawings found that only version 1 reads right"):
        found = list(differing_drawings(attacker, before, after))
    with timed(f"sent under {FRESH} cookies, each corrected"):
        clients = [Client() for _ in range(FRESH)]
        for place, drawing in enumerate(found):
            clients[place % FRESH].draw_and_say(drawing, drawing.digit)
    moved = watch.watch()
    newest = Promotion.objects.all()[0]
    print(f"    rolled back: {moved}; version {newest.version.version} serves. {newest.reason} {newest.doubt}")


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
