"""Who asks and draws, and what was answered."""

import itertools
import json
import math
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from http.cookies import SimpleCookie
from typing import Any

from benchmarks.cluster import ROOT
from benchmarks.cluster.network import HOSTS, PORTS

CLIENTS, PAUSE = 2, 0.3  # who draw all the time, and the seconds between two drawings of one
ANSWER = 30.0  # seconds after which a client gives up


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; the status is 0 if nothing did."""

    status: int
    text: str
    headers: Any
    seconds: float

    @property
    def json(self) -> Any:
        return json.loads(self.text)


def ask(host: str, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
    """Send one request to a host, on a connection of its own."""
    began = time.monotonic()
    connection = HTTPConnection(HOSTS[host], PORTS[host], timeout=ANSWER)
    sent = {"Content-Type": "application/json"} | (headers or {})
    try:
        connection.request(method, path, None if body is None else json.dumps(body), sent)
        response = connection.getresponse()
        text = response.read().decode(errors="replace")
    except (OSError, HTTPException) as error:
        return Answer(0, repr(error), {}, time.monotonic() - began)
    finally:
        connection.close()
    return Answer(response.status, text, response.headers, time.monotonic() - began)


CANARIES = json.loads((ROOT / "recognizer" / "bundled" / "canaries.json").read_text())
# Stands in each drawing, as the time of its points, so that none can be stored twice unseen.
SERIAL = itertools.count(1)
SERIAL_IN_INK = "(ink->'strokes'->0->0->>2)::numeric::int"  # see `drawing`


@dataclass(frozen=True, slots=True)
class Hand:
    """How somebody writes: turned (radians) and slanted."""

    turn: float = 0.0
    slant: float = 0.0


def drawing(digit: int, serial: int, hand: Hand) -> dict[str, Any]:
    """Draw a digit, each time a little differently."""
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
class Drawn:
    """One drawing that was sent."""

    at: float
    seconds: float
    status: int
    serial: int
    id: int | None
    said: str  # what came instead of a 201


DRAWN: list[Drawn] = []
UPRIGHT = Hand()


def draw(host: str, headers: dict[str, str] | None = None, digit: int | None = None, hand: Hand = UPRIGHT) -> Answer:
    """Send a drawing, and write down what came of it."""
    serial, at = next(SERIAL), time.monotonic()
    body = drawing(serial % 10 if digit is None else digit, serial, hand)
    answer = ask(host, "POST", "/api/v1/submissions", body, headers)
    stored = answer.status == 201
    id_given = answer.json["id"] if stored else None
    DRAWN.append(Drawn(at, answer.seconds, answer.status, serial, id_given, "" if stored else answer.text[:200]))
    return answer


def correction_of(submission: int) -> str:
    return f"/api/v1/submissions/{submission}/correction"


@dataclass(slots=True)
class Browser:
    """An anonymous visitor: the cookies of the home page and its CSRF token."""

    headers: dict[str, str] = field(default_factory=dict)

    def open(self, host: str) -> None:
        page, jar = ask(host, "GET", "/"), SimpleCookie()
        for cookie in page.headers.get_all("Set-Cookie") or []:
            jar.load(cookie)
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
        cookies = "; ".join(f"{name}={morsel.value}" for name, morsel in jar.items())
        self.headers = {"Cookie": cookies, "X-CSRFToken": token[1] if token else ""}


@contextmanager
def people_drawing() -> Iterator[None]:
    """Let a few clients draw through the balancer all the while."""
    over = threading.Event()

    def go_on() -> None:
        while not over.wait(PAUSE):
            draw("balancer")

    clients = [threading.Thread(target=go_on) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    try:
        yield
    finally:
        over.set()
        for client in clients:
            client.join()


def drawn_between(begin: float, end: float) -> list[Drawn]:
    """Return what was sent in a span of time."""
    return [one for one in DRAWN if begin <= one.at < end]


def story(drawn: list[Drawn]) -> str:
    statuses = ", ".join(f"{count} answered {status}" for status, count in sorted(count_statuses(drawn).items()))
    return f"{statuses or 'no drawing'}; the longest took {max((one.seconds for one in drawn), default=0):.2f} s"


def count_statuses(drawn: list[Drawn]) -> Counter[int]:
    return Counter(one.status for one in drawn)


def all_stored(drawn: list[Drawn]) -> bool:
    return bool(drawn) and set(count_statuses(drawn)) == {201}
