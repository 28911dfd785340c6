"""What all benchmarks share: a site of their own, one HTTP client, and checks of its answers.

If another site held the port, a benchmark would measure that one and count its 404s as throughput. So a `Server` checks
that the process that answers is one that it started, and `expect` fails on any unexpected status.
"""

import argparse
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent

WEB_SERVER = [sys.executable, "-m", "hdr_site.server"]
WHOLE_SITE = [sys.executable, "manage.py", "runsite"]

READY_TIMEOUT = 90.0  # seconds for a server to start, on a busy machine too
STOP_TIMEOUT = 60.0  # seconds for it to stop; a worker needs four to leave its broker
ANSWER_TIMEOUT = 60.0  # seconds after which a client gives up
READY_POLL, POLL = 0.01, 0.05  # seconds between two checks of a start, and of anything else
LOG_TAIL = 2000  # characters of the log that are shown when a server does not start
PARALLEL = 4  # requests in flight when many drawings are read
SWAP_SECONDS = 2.5  # every process swaps to a new version within two seconds

LIVE = ("queued", "running")  # the states of a training run that has not ended


def command_line(description: str | None) -> argparse.ArgumentParser:
    """Return a parser that shows a module's docstring as it is written."""
    return argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)


def free_port() -> int:
    """Let the kernel choose a free port."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


PORT = int(os.environ.get("PORT") or free_port())
ADDRESS = f"127.0.0.1:{PORT}"


# --- A site of our own ------------------------------------------------------------------------------------------------


def configure(folder: str | Path, settings: str = "hdr_site.settings", **environment: str) -> None:
    """Give this process and its children a site with its own data directory.

    From here on SIGTERM ends this process as an error would, so that it stops its site too.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("Stopped."))
    own = {"HDR_DATA_DIR": str(folder), "DJANGO_SETTINGS_MODULE": settings, "SECRET_KEY": "bench"}
    os.environ |= own | {"HOST": "127.0.0.1", "PORT": str(PORT)} | environment


def manage(*arguments: str) -> str:
    """Run a command of manage.py; return what it printed."""
    command = [sys.executable, "manage.py", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"manage.py {' '.join(arguments)} failed:\n{done.stderr[-LOG_TAIL:]}")
    return done.stdout


def staff_token(run: Callable[..., str] = manage) -> str:
    """Create a token for the admin."""
    return run("drf_create_token", "admin").split()[2]


@dataclass(frozen=True, slots=True)
class Server:
    """A process started here. It, or a process that it started, answers at the address."""

    process: subprocess.Popen[bytes]
    log: Path
    log_start: int  # bytes that were in the log before
    address: str = ADDRESS

    @classmethod
    def start(
        cls,
        log: Path,
        command: Sequence[str],
        ready: "Callable[[Server], bool] | None" = None,
        address: str = ADDRESS,
        environment: Mapping[str, str] | None = None,
        cwd: Path = ROOT,
    ) -> "Server":
        """Start a command in its own session, and wait until it is ready.

        Args:
            ready: says whether it is; by default, whether it answers so at `/readyz`.
            environment: all of it; by default, this process's.

        Raises:
            SystemExit: it did not start, or another site answers at its address.
        """
        with log.open("ab") as output:
            log_start = output.tell()
            process = subprocess.Popen(
                command,
                cwd=cwd,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        server = cls(process, log, log_start, address)
        try:
            server._wait_until(ready or cls.is_ready)
        except BaseException:
            server.stop()
            raise
        return server

    def _wait_until(self, ready: "Callable[[Server], bool]") -> None:
        end = time.monotonic() + READY_TIMEOUT
        while not ready(self):
            if self.process.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"Not started at {self.address}:\n{self.output()[-LOG_TAIL:]}")
            time.sleep(READY_POLL)

    def is_ready(self) -> bool:
        """Ask `/readyz`.

        Raises:
            SystemExit: the process that answers is none of this server's.
        """
        answer = ask("GET", "/readyz", address=self.address)
        if answer.status in (0, 503):
            return False
        body = answer.json
        if not isinstance(body, dict) or not descends_from(body.get("process", 0), self.process.pid):
            raise SystemExit(f"{self.address} is another site's: it answered {answer.status} {answer.text[:300]}.")
        return True

    def output(self) -> str:
        """Return what it has printed."""
        return self.log.read_bytes()[self.log_start :].decode(errors="replace")

    def stop(self) -> None:
        """Terminate it, and kill whatever is left of it and its children."""
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_TIMEOUT)
        self.kill()

    def kill(self) -> None:
        """Kill it and its session without warning."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextmanager
def serving(log: Path, command: Sequence[str], address: str = ADDRESS) -> Iterator[Server]:
    """Run a server. Check again at the end that it, and no other, was the one that answered."""
    server = Server.start(log, command, address=address)
    try:
        yield server
        if not server.is_ready():
            raise SystemExit(f"No longer ready at {address}:\n{server.output()[-LOG_TAIL:]}")
    finally:
        server.stop()


def descends_from(pid: int, ancestor: int) -> bool:
    while pid > 1 and pid != ancestor:
        found = subprocess.run(["ps", "-o", "ppid=", "-p", str(pid)], capture_output=True, text=True, check=False)
        pid = int(found.stdout or 0)
    return pid == ancestor


# --- HTTP -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. The status is 0 if nothing did."""

    status: int
    text: str
    headers: Any
    seconds: float

    @property
    def json(self) -> Any:
        """Return the parsed body, or `{}` if it is not JSON."""
        try:
            return json.loads(self.text)
        except ValueError:
            return {}


def ask(
    method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None, address: str = ADDRESS
) -> Answer:
    """Send one request, on a connection of its own."""
    start = time.monotonic()
    connection = http.client.HTTPConnection(address, timeout=ANSWER_TIMEOUT)
    sent = {"Content-Type": "application/json"} | dict(headers or {})
    try:
        connection.request(method, path, None if body is None else json.dumps(body), sent)
        response = connection.getresponse()
        text = response.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return Answer(0, repr(error), {}, time.monotonic() - start)
    finally:
        connection.close()
    return Answer(response.status, text, response.headers, time.monotonic() - start)


@dataclass(slots=True)
class Client:
    """A caller of the site: staff with a token, a visitor with cookies, or a program with neither."""

    headers: dict[str, str] = field(default_factory=dict)
    address: str = ADDRESS

    @classmethod
    def staff(cls) -> "Client":
        return cls({"Authorization": f"Token {staff_token()}"})

    @classmethod
    def visitor(cls, address: str = ADDRESS) -> "Client":
        """Open the home page; keep its cookies and its CSRF token."""
        page, cookies = ask("GET", "/", address=address), SimpleCookie()
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
        if not token:
            raise SystemExit(f"The home page answered {page.status}, without a CSRF token: {page.text[:300]}")
        for cookie in page.headers.get_all("Set-Cookie") or []:
            cookies.load(cookie)
        sent = "; ".join(f"{name}={morsel.value}" for name, morsel in cookies.items())
        return cls({"Cookie": sent, "X-CSRFToken": token[1]}, address)

    def ask(self, method: str, path: str, body: Any = None) -> Answer:
        return ask(method, path, body, self.headers, self.address)

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Return the JSON that comes back.

        Raises:
            SystemExit: the request failed.
        """
        answer = self.ask(method, path, body)
        if not 200 <= answer.status < 300:
            raise SystemExit(f"{method} {path}: {answer.status} {answer.text[:300]}")
        return answer.json

    def draw(self, drawing: Any) -> Any:
        """Store a drawing; return the answer."""
        return self.call("POST", "/api/v1/submissions", ink_body(drawing.strokes))

    def label(self, submission: int, digit: int | None) -> Any:
        """Say what a stored drawing is."""
        return self.call("POST", f"/api/v1/submissions/{submission}/correction", {"digit": digit})

    def draw_and_label(self, drawing: Any, digit: int | None) -> str:
        """Draw and say what it is; return whether that `confirmed` or `corrected` the answer."""
        answer = self.draw(drawing)
        self.label(answer["id"], digit)
        return "confirmed" if answer["digit"] == digit else "corrected"

    def preview(self, drawing: Any) -> Any:
        """Have a drawing read but not stored."""
        return self.call("POST", "/api/v1/previews", ink_body(drawing.strokes))

    def count_misread(self, drawings: Iterable[Any]) -> int:
        """Have drawings read but not stored; count those that came out wrong."""
        return sum(self.preview(drawing)["digit"] != drawing.digit for drawing in drawings)

    def ask_all(self, path: str, bodies: Iterable[Any]) -> list[Answer]:
        """Post many bodies, some at a time; return the answers in order."""
        with ThreadPoolExecutor(PARALLEL) as pool:
            return list(pool.map(lambda body: self.ask("POST", path, body), bodies))


def ink_body(strokes: Sequence[np.ndarray]) -> dict[str, Any]:
    """Put ink in the middle of a surface half as large again, as the API takes it."""
    points = np.concatenate(strokes)
    low, size = points.min(axis=0), max(float(np.ptp(points, axis=0).max()), 1e-6)
    placed = [np.round((stroke - low) / size * 200 + 50, 2).tolist() for stroke in strokes]
    return {"strokes": placed, "width": 300, "height": 300}


def random_hand(rng: np.random.Generator) -> np.ndarray:
    """Return an unusual handwriting as a `(2, 2)` matrix.

    It rotates by 10 to 28 degrees, slants by 0.3 to 0.7 and stretches by up to 1.6.
    """
    angle = np.deg2rad(rng.choice([-1, 1]) * rng.uniform(10, 28))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    slant = np.array([[1, rng.choice([-1, 1]) * rng.uniform(0.3, 0.7)], [0, 1]])
    stretch = np.exp(rng.uniform(-0.25, 0.25))
    return turn @ slant @ np.diag([stretch, 1 / stretch])  # type: ignore[no-any-return]


# --- What staff do ----------------------------------------------------------------------------------------------------


def accept_all(staff: Client) -> int:
    """Accept every pending correction; return how many there were."""
    accepted = 0
    while page := staff.call("GET", "/api/v1/corrections?status=pending&page_size=200")["results"]:
        for correction in page:
            staff.call("POST", f"/api/v1/corrections/{correction['id']}/accept", {})
            accepted += 1
    return accepted


def retrain(staff: Client, *, force: bool = False) -> float:
    """Request a training run, wait for its end and print its outcome; return the seconds that it took."""
    start = time.monotonic()
    run = staff.call("POST", "/api/v1/training-runs", {"force": force})
    while run["state"] in LIVE:
        time.sleep(0.5)
        run = staff.call("GET", f"/api/v1/training-runs/{run['id']}")
    seconds = time.monotonic() - start
    time.sleep(SWAP_SECONDS)
    phases = {name: f"{phase['seconds']:.1f} s, {phase['peak_mb']} MB" for name, phase in run["timings"].items()}
    print(f"    run {run['id']}: {run['state']}. {run['reason']}\n    {phases}\n    {run['counts']}")
    if run["model_version"]:
        print(f"    blends {staff.call('GET', '/api/v1/models/' + str(run['model_version']))['lineage']['blends']}")
    for gate in run["gate_report"] or []:
        mark = " " if gate["passed"] else "!"
        print(f"   {mark} {gate['gate']:18} {gate['value']:10.5f}  threshold {gate['threshold']:g}, n {gate['n']}")
    return seconds


# --- Checks -----------------------------------------------------------------------------------------------------------


def expect(what: str, statuses: Mapping[int, int], *expected: int) -> None:
    """Fail if there was any other status than the expected ones: errors are no throughput.

    Raises:
        SystemExit: with the statuses that came instead.
    """
    wrong = {status: count for status, count in statuses.items() if status not in expected}
    if wrong or not statuses:
        raise SystemExit(f"{what}: answered {wrong or 'nothing'}, expected {' or '.join(map(str, expected))}.")


def until(look: Callable[[], Any], seconds: float, otherwise: str | Callable[[], str]) -> Any:
    """Wait until `look` returns something true, and return that.

    Raises:
        SystemExit: with `otherwise`, if that takes longer than `seconds`.
    """
    end = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() > end:
            raise SystemExit(f"After {seconds:.0f} s: {otherwise if isinstance(otherwise, str) else otherwise()}")
        time.sleep(POLL)
    return found
