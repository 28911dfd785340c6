"""Whether the site learns people's hands and forgets nobody's: simulated people draw over HTTP, correct and confirm.

    python -m benchmarks.people --strokes FILE [--rounds 3] [--fold 0] [--bend]

Starts the whole site in a folder of its own. The people are the held-out writers whom the bundled model reads worst.
Half of what each wrote is drawn on the site, round by round; every label is accepted by an admin; each round ends with
one training run. What is measured was never drawn on the site: the other half, and all drawings of the other held-out
writers. `--fold 1` swaps the halves. With `--bend` each of the people has a hand that the model has not met: all of
somebody's drawings are turned, slanted and stretched alike, each person's otherwise.
"""

import argparse
import http.client
import json
import re
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass, replace
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import PORT, ROOT, WHOLE_SITE, configure, serving

PEOPLE = 10
FEWEST = 20  # drawings of a writer, to be one of the people


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
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
    import django

    django.setup()
    from training.strokes import PenDrawing, load_drawings

    staff = Client(token=staff_token())
    drawings = load_drawings(strokes, "test")
    by_writer: dict[str, list[PenDrawing]] = defaultdict(list)
    for drawing in drawings:
        by_writer[drawing.writer].append(drawing)
    right = staff.read(drawings)
    accuracy = {
        writer: np.mean([ok for ok, drawing in zip(right, drawings, strict=True) if drawing.writer == writer])
        for writer, drawn in by_writer.items()
        if len(drawn) >= FEWEST
    }
    people = sorted(accuracy, key=lambda writer: (accuracy[writer], writer))[:PEOPLE]
    rng = np.random.default_rng(0)
    drawn: dict[str, list[PenDrawing]] = {}
    other: list[PenDrawing] = []
    for writer in people:
        order = [by_writer[writer][index] for index in rng.permutation(len(by_writer[writer]))]
        if bend:
            hand = own_hand(np.random.default_rng(people.index(writer)))
            order = [replace(drawing, strokes=[stroke @ hand for stroke in drawing.strokes]) for drawing in order]
        halves = order[: len(order) // 2], order[len(order) // 2 :]
        drawn[writer], apart = halves[fold], halves[1 - fold]
        other += apart
    strangers = [drawing for drawing in drawings if drawing.writer not in people]
    print(
        f"{len(people)} people, {sum(map(len, drawn.values()))} drawings for the site, {len(other)} others of theirs, "
        f"{len(strangers)} of {len({d.writer for d in strangers})} strangers\n"
    )
    print(f"{'':26} {'serving':>8} {'other drawings':>20} {'strangers':>20} {'MNIST test':>11} {'seconds':>8}")
    row("before", staff, other, strangers)
    sessions = {writer: Client() for writer in people}
    for number in range(rounds):
        said = {"confirmed": 0, "corrected": 0}
        for writer, client in sessions.items():
            for drawing in drawn[writer][number::rounds]:
                said[client.draw_and_say(drawing, drawing.digit)] += 1
        accepted = accept_all(staff)
        seconds = retrain(staff)
        name = f"round {number + 1}: {said['corrected']} wrong of {accepted}"
        row(name, staff, other, strangers, seconds)


def own_hand(rng: np.random.Generator) -> np.ndarray:
    """Return a `(2, 2)` matrix that turns by 10 to 28 degrees, slants by 0.3 to 0.7 and stretches by up to 1.6."""
    angle = np.deg2rad(rng.choice([-1, 1]) * rng.uniform(10, 28))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    slant = np.array([[1, rng.choice([-1, 1]) * rng.uniform(0.3, 0.7)], [0, 1]])
    stretch = np.exp(rng.uniform(-0.25, 0.25))
    return turn @ slant @ np.diag([stretch, 1 / stretch])  # type: ignore[no-any-return]


def row(name: str, staff: "Client", other: Any, strangers: Any, seconds: float = 0.0) -> None:
    version = staff.call("GET", "/api/v1/models/active")
    cells = []
    for drawings in (other, strangers):
        wrong = staff.read(drawings).count(False)
        cells.append(f"{wrong}/{len(drawings)} = {wrong / len(drawings):.2%}")
    mnist = 1 - version["metrics"]["mnist_test"]["accuracy"]
    print(f"{name:26} {version['version']:8} {cells[0]:>20} {cells[1]:>20} {mnist:11.2%} {seconds:8.1f}", flush=True)


def accept_all(staff: "Client") -> int:
    """Accept every pending label, as an admin would who looked at each."""
    accepted = 0
    while page := staff.call("GET", "/api/v1/corrections?status=pending&page_size=200")["results"]:
        for correction in page:
            staff.call("POST", f"/api/v1/corrections/{correction['id']}/accept", {})
            accepted += 1
    return accepted


def retrain(staff: "Client", *, force: bool = False) -> float:
    """Queue a run, wait for its end and print what came of it; return the seconds from asking to the end."""
    start = time.monotonic()
    run = staff.call("POST", "/api/v1/training-runs", {"force": force})
    while run["state"] in ("queued", "running"):
        time.sleep(0.5)
        run = staff.call("GET", f"/api/v1/training-runs/{run['id']}")
    seconds = time.monotonic() - start
    time.sleep(2.5)  # every process swaps within two seconds
    phases = {name: f"{phase['seconds']:.1f} s, {phase['peak_mb']} MB" for name, phase in run["timings"].items()}
    print(f"    run {run['id']}: {run['state']}. {run['reason']}\n    {phases}\n    {run['counts']}")
    if run["model_version"]:
        print(f"    blends {staff.call('GET', '/api/v1/models/' + str(run['model_version']))['lineage']['blends']}")
    for gate in run["gate_report"] or []:
        mark = " " if gate["passed"] else "!"
        print(f"   {mark} {gate['gate']:18} {gate['value']:10.5f}  threshold {gate['threshold']:g}, n {gate['n']}")
    return seconds


def staff_token() -> str:
    command = [sys.executable, "manage.py", "drf_create_token", "admin"]
    made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return made.stdout.split()[2]


@dataclass(slots=True)
class Client:
    """A program with a token, or a browser with its cookies and the page's CSRF token."""

    token: str = ""
    cookies: str = ""
    csrf: str = ""

    def draw_and_say(self, drawing: Any, digit: int | None) -> str:
        """Draw on the site, then say that it is so; return whether that `confirmed` or `corrected` the answer."""
        if not self.csrf:
            self._open_page()
        answer = self.call("POST", "/api/v1/submissions", body_of(drawing))
        self.call("POST", f"/api/v1/submissions/{answer['id']}/correction", {"digit": digit})
        return "confirmed" if answer["digit"] == digit else "corrected"

    def preview(self, drawing: Any) -> Any:
        """Have a drawing read without storing it."""
        return self.call("POST", "/api/v1/previews", body_of(drawing))

    def read(self, drawings: Any) -> list[bool]:
        """Have drawings read; say which came out right."""
        return [self.preview(drawing)["digit"] == drawing.digit for drawing in drawings]

    def call(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"Content-Type": "application/json", "X-CSRFToken": self.csrf, "Cookie": self.cookies}
        if self.token:
            headers = {"Content-Type": "application/json", "Authorization": f"Token {self.token}"}
        return json.loads(self._send(method, path, None if body is None else json.dumps(body), headers)[0])

    def _open_page(self) -> None:
        page, cookies = self._send("GET", "/", None, {})
        jar = SimpleCookie()
        for cookie in cookies:
            jar.load(cookie)
        self.cookies = "; ".join(f"{name}={morsel.value}" for name, morsel in jar.items())
        found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
        self.csrf = found[1] if found else ""

    def _send(self, method: str, path: str, body: str | None, headers: dict[str, str]) -> tuple[str, list[str]]:
        connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=60)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            text = response.read().decode()
            if response.status >= 400:
                raise SystemExit(f"{method} {path}: {response.status} {text[:300]}")
            return text, response.headers.get_all("Set-Cookie") or []
        finally:
            connection.close()


def body_of(drawing: Any) -> dict[str, Any]:
    """Place a drawing in the middle of a surface half as large again."""
    points = np.concatenate(drawing.strokes)
    low, size = points.min(axis=0), max(float(np.ptp(points, axis=0).max()), 1e-6)
    strokes = [np.round((stroke - low) / size * 200 + 50, 2).tolist() for stroke in drawing.strokes]
    return {"strokes": strokes, "width": 300, "height": 300}


if __name__ == "__main__":
    main()
