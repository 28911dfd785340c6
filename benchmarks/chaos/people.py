"""People who draw while things break, and a record of every answer.

Each drawing carries a serial number, as the time of its points. So it can be found in the database, and none can be
stored twice unnoticed.
"""

import itertools
import json
import math
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from benchmarks.harness import ADDRESS, ROOT, Answer, ask

CANARIES = json.loads((ROOT / "recognizer" / "bundled" / "canaries.json").read_text())
SERIAL_IN_INK = "(ink->'strokes'->0->0->>2)::numeric::int"  # in PostgreSQL
BACK_OFF = 0.05  # seconds before the next try after a refusal
LOOK_PAUSE = 0.05  # seconds between two live answers


@dataclass(frozen=True, slots=True)
class Hand:
    """A handwriting: rotated (radians) and slanted."""

    turn: float = 0.0
    slant: float = 0.0


UPRIGHT = Hand()


def drawing_body(digit: int, serial: int = 0, hand: Hand = UPRIGHT) -> dict[str, Any]:
    """Draw a digit, a little differently for each serial number."""
    rng = random.Random(serial)
    strokes = rng.choice([c["strokes"] for c in CANARIES if c["digit"] == digit])
    turn, slant = hand.turn + rng.uniform(-0.1, 0.1), hand.slant + rng.uniform(-0.1, 0.1)
    width = rng.uniform(1.6, 2.2)

    def place(x: float, y: float) -> list[float]:
        x, y = width * (x - 50 + slant * (y - 50)), 2 * (y - 50)
        x, y = x * math.cos(turn) - y * math.sin(turn), x * math.sin(turn) + y * math.cos(turn)
        return [round(x + 150, 2), round(y + 150, 2), serial]

    return {"strokes": [[place(x, y) for x, y in stroke] for stroke in strokes], "width": 300, "height": 300}


@dataclass(frozen=True, slots=True)
class Sent:
    """One request and its outcome."""

    call: str  # drawing, live answer or list
    at: float  # when it was sent, by `time.monotonic`
    seconds: float
    status: int  # 0: no answer
    serial: int
    id: int | None  # of the stored drawing


class People:
    """Some people draw, some look: they ask for live answers and lists."""

    def __init__(self, address: str = ADDRESS, *, drawing: int, looking: int = 0, pause: float = 0.0) -> None:
        self.sent: list[Sent] = []
        self._address, self._drawing, self._looking, self._pause = address, drawing, looking, pause
        self._serials = itertools.count(1)

    def draw(
        self,
        address: str | None = None,
        headers: Mapping[str, str] | None = None,
        digit: int | None = None,
        hand: Hand = UPRIGHT,
    ) -> Answer:
        """Send a drawing, and record its outcome."""
        serial = next(self._serials)
        body = drawing_body(serial % 10 if digit is None else digit, serial, hand)
        return self._send("drawing", "POST", "/api/v1/submissions", body, headers, address, serial)

    def _send(
        self,
        call: str,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        address: str | None = None,
        serial: int = 0,
    ) -> Answer:
        at = time.monotonic()
        answer = ask(method, path, body, headers, address or self._address)
        stored = answer.json["id"] if serial and answer.status == 201 else None
        self.sent.append(Sent(call, at, answer.seconds, answer.status, serial, stored))
        return answer

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Let them draw and look all the while."""
        over = threading.Event()

        def draw() -> None:
            while not over.wait(self._pause):
                if self.draw().status != 201:
                    time.sleep(BACK_OFF)

        def look() -> None:
            while not over.wait(LOOK_PAUSE):
                self._send("live answer", "POST", "/api/v1/previews", drawing_body(1))
                self._send("list", "GET", "/api/v1/models")

        threads = [threading.Thread(target=draw) for _ in range(self._drawing)]
        threads += [threading.Thread(target=look) for _ in range(self._looking)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            over.set()
            for thread in threads:
                thread.join()

    def between(self, start: float, end: float) -> list[Sent]:
        """Return what was sent in a span of time."""
        return [one for one in self.sent if start <= one.at < end]

    def stored(self) -> dict[int, int]:
        """Return the serial number of each drawing that was answered 201, by id."""
        return {one.id: one.serial for one in self.sent if one.id is not None}


def describe(sent: Sequence[Sent]) -> str:
    statuses = ", ".join(f"{count} answered {status}" for status, count in sorted(count_statuses(sent).items()))
    return f"{statuses or 'no drawing'}; the longest took {max((one.seconds for one in sent), default=0):.2f} s"


def count_statuses(sent: Sequence[Sent]) -> Counter[int]:
    return Counter(one.status for one in sent)


def all_stored(sent: Sequence[Sent]) -> bool:
    return bool(sent) and set(count_statuses(sent)) == {201}
