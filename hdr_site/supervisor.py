"""Keeps the parts of the site running: `python -m hdr_site.supervisor`, which `runsite` turns into.

A part that ends is started again. A part that cannot stay up ends the site, and the reason is printed. However this
process ends, its parts end too. It imports nothing of Django and starts no thread: it only waits.
"""

import contextlib
import ctypes
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hdr_site import environment

ROOT = Path(__file__).resolve().parent.parent

QUIET = "--without-gossip --without-mingle --loglevel info"
# Each training run has a process of its own: only that process loads TensorFlow, and its memory is freed at its end.
TRAINING = "--queues training --pool prefork --concurrency 1 --max-tasks-per-child 1"
PARTS = {
    "web": "hdr_site.server",
    "worker": f"celery --app hdr_site worker --hostname site@%h --queues site --pool threads --concurrency 2 {QUIET}",
    "training": f"celery --app hdr_site worker --hostname training@%h {TRAINING} {QUIET}",
    "beat": "celery --app hdr_site beat --pidfile= --loglevel info",
}

PIECE = 1 << 16  # bytes of output to read at once; a longer line is printed in pieces
LAST_LINES = 10  # lines of a part's output that are printed again if it cannot stay up
PROBE_EVERY, PROBE_TIMEOUT = 0.2, 0.5  # seconds between two questions whether the site is ready, and for each answer
PROBE_UNTIL = 60.0  # seconds after which it is asked no more: ALLOWED_HOSTS may refuse this process
PR_SET_PDEATHSIG = 1  # prctl(2)
LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None  # on other systems the parts outlive a killed supervisor


@dataclass(frozen=True, slots=True)
class Policy:
    """When to start a part again, and when to give up."""

    steady: float = 30.0  # seconds after which a part counts as up; a start takes ten seconds on a busy machine
    tries: int = 4  # ends in a row, each sooner than that, after which a part cannot stay up
    pause: float = 0.5  # seconds before the next start; each further early end doubles it
    stop: float = 30.0  # seconds for the parts to finish; a worker takes four to leave its broker

    def pause_after(self, failures: int) -> float | None:
        """Return the seconds until the next start; None means to give up."""
        return None if failures >= self.tries else self.pause * 2 ** max(failures - 1, 0)


class Part:
    """A process and everything that it starts, in a session of their own."""

    def __init__(self, name: str, command: Sequence[str]) -> None:
        self.name, self._command = name, command
        self.process: subprocess.Popen[bytes] | None = None
        self.due = 0.0  # when to start it next
        self.failures = 0  # early ends in a row
        self.last: deque[str] = deque(maxlen=LAST_LINES)
        self._began, self._unfinished = 0.0, b""

    def start(self) -> None:
        self._began, self._unfinished = time.monotonic(), b""
        self.process = subprocess.Popen(
            self._command,
            cwd=ROOT,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=end_with(os.getpid()),
        )
        os.set_blocking(self.output, False)
        tell("system", f"{self.name} started (pid={self.process.pid})")

    @property
    def output(self) -> int:
        """The file descriptor of its output."""
        assert self.process and self.process.stdout
        return self.process.stdout.fileno()

    @property
    def ended(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    @property
    def seconds(self) -> float:
        """Seconds since its start."""
        return time.monotonic() - self._began

    def relay(self) -> bytes | None:
        """Print a piece of its output, with the part's name before each line.

        Returns:
            The piece: None if there is nothing yet, empty at the end.
        """
        try:
            piece = os.read(self.output, PIECE)
        except BlockingIOError:
            return None
        *lines, self._unfinished = (self._unfinished + piece).split(b"\n")
        if len(self._unfinished) >= PIECE or (self._unfinished and not piece):
            lines, self._unfinished = [*lines, self._unfinished], b""
        for line in lines:
            self.last.append(line.decode(errors="replace").rstrip())
            tell(self.name, self.last[-1])
        return piece

    def kill(self) -> None:
        """Kill the process and everything that it started."""
        with contextlib.suppress(ProcessLookupError):
            if self.process:
                os.killpg(self.process.pid, signal.SIGKILL)

    def clear(self) -> int:
        """Clean up after its end, before the next start. Return its exit status, negative for a signal."""
        self.kill()  # what it started may still run
        while self.relay():
            pass
        assert self.process
        with self.process as process:
            self.process = None
        tell("system", f"{self.name} stopped (rc={process.returncode})")
        return process.returncode


def end_with(parent: int) -> Callable[[], None] | None:
    """Return a function that makes a child process get SIGTERM when its parent ends; None if the system cannot."""

    def ask() -> None:
        assert LIBC
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it has ended already
            os._exit(1)

    return ask if LIBC else None


class Supervisor:
    """Runs parts until a signal stops it or a part cannot stay up.

    Args:
        ready: called until it returns true.
    """

    def __init__(self, parts: Sequence[Part], policy: Policy, ready: Callable[[], bool]) -> None:
        self._parts, self._policy, self._ready = parts, policy, ready
        self._selector = selectors.DefaultSelector()
        self._is_ready = False
        self._told_to_stop = self._reason = ""  # the signal that stops it; why it ends without one

    def run(self) -> str:
        """Run until the end. Return the reason, empty if a signal stopped it."""
        with self._signals():
            try:
                while not self._told_to_stop and not self._reason:
                    self._start_what_is_due()
                    self._wait(self._idle())
                    self._is_ready = self._is_ready or self._ready()
            finally:
                self._stop()
        return self._reason

    def _start_what_is_due(self) -> None:
        for part in self._parts:
            if not part.process and part.due <= time.monotonic():
                part.start()
                self._selector.register(part.output, selectors.EVENT_READ, part)

    def _idle(self) -> float | None:
        """Return the seconds until there is something to do; None if only an event can change anything."""
        pauses = [part.due - time.monotonic() for part in self._parts if not part.process]
        return min(pauses + [PROBE_EVERY] * (not self._is_ready), default=None)

    def _wait(self, seconds: float | None) -> None:
        """Wait for output, signals and ended parts, and handle them."""
        for key, _ in self._selector.select(None if seconds is None else max(seconds, 0)):
            if not isinstance(part := key.data, Part):
                os.read(key.fd, PIECE)  # a signal; `_note` has handled it
            elif part.relay() == b"":
                self._selector.unregister(key.fd)
        for part in self._parts:
            if part.ended:
                self._see_to(part)

    def _see_to(self, part: Part) -> None:
        """Schedule the next start of a part that has ended."""
        with contextlib.suppress(KeyError):
            self._selector.unregister(part.output)
        part.failures = part.failures + 1 if part.seconds < self._policy.steady else 0
        status, pause = part.clear(), self._policy.pause_after(part.failures)
        if self._told_to_stop or self._reason:
            return
        if pause is None:
            self._reason = reason_of(part, status, self._policy)
        else:
            part.due = time.monotonic() + pause
            tell("system", f"{part.name} is started again in {pause:g} s")

    def _stop(self) -> None:
        """Ask the parts to end, and kill those that do not."""
        if self._told_to_stop:
            tell("system", f"{self._told_to_stop} received")
        end = time.monotonic() + self._policy.stop
        for part in self._parts:
            if part.process:
                part.process.terminate()  # it stops what it has started
        while any(part.process for part in self._parts):
            self._wait(max(end - time.monotonic(), PROBE_EVERY))
            if time.monotonic() > end:
                for part in self._parts:
                    part.kill()

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Let signals end a wait: those that stop the site, and SIGCHLD."""
        reader, writer = socket.socketpair()
        with reader, writer, self._selector:
            writer.setblocking(False)
            self._selector.register(reader, selectors.EVENT_READ)
            numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGCHLD]
            if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup ignores it
                numbers.append(signal.SIGHUP)
            before = {number: signal.signal(number, self._note) for number in numbers}
            signal.set_wakeup_fd(writer.fileno())
            try:
                yield
            finally:
                signal.set_wakeup_fd(-1)
                for number, handler in before.items():
                    signal.signal(number, handler)

    def _note(self, number: int, frame: object) -> None:
        """Note a signal. Print nothing here: a line may be half printed."""
        if number != signal.SIGCHLD:
            self._told_to_stop = signal.Signals(number).name


def reason_of(part: Part, status: int, policy: Policy) -> str:
    """Explain why the site ends, with the last lines of the part's output."""
    how = f"killed by {signal.Signals(-status).name}" if status < 0 else f"with exit status {status}"
    often = f"it ended {policy.tries} times within {policy.steady:g} s of its start, the last time {how}"
    return "\n".join([f"The site ends because {part.name} cannot stay up: {often}. It said:", *part.last])


def tell(name: str, line: str) -> None:
    with contextlib.suppress(OSError):  # nobody reads the output any more; the site runs on
        print(f"{time.strftime('%H:%M:%S')} {name:8} | {line}", flush=True)


class Readiness:
    """Prints once that the site is ready. Only its own web server counts, not another one on the same port."""

    def __init__(self, web: Part, began: float) -> None:
        self._web, self._began = web, began
        self._host, self._port = environment.text("HOST", "127.0.0.1"), environment.number("PORT", 8000)

    def __call__(self) -> bool:
        """Return whether to stop asking."""
        seconds = time.monotonic() - self._began
        if not self._web.process or self._session_of_who_is_ready() != self._web.process.pid:
            return seconds > PROBE_UNTIL
        host = f"[{self._host}]" if ":" in self._host else self._host
        print(f"\nReady in {seconds:.1f} s: http://{host}:{self._port}/ (Ctrl-C stops it)\n", flush=True)
        return True

    def _session_of_who_is_ready(self) -> int | None:
        here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self._host, self._host)  # noqa: S104 - "all addresses"
        try:
            with socket.create_connection((here, self._port), PROBE_TIMEOUT) as connection:
                connection.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                head, _, body = b"".join(iter(lambda: connection.recv(PIECE), b"")).partition(b"\r\n\r\n")
            return os.getsid(json.loads(body)["process"]) if head.split()[1] == b"200" else None
        except (OSError, ValueError, LookupError, TypeError, OverflowError):  # something else answers on the port
            return None


def main() -> None:
    """Run the site until a signal stops it.

    Raises:
        SystemExit: a part cannot stay up.
    """
    began = float(sys.argv[1]) if len(sys.argv) > 1 else time.monotonic()
    parts = [Part(name, [sys.executable, "-m", *module.split()]) for name, module in PARTS.items()]
    if reason := Supervisor(parts, Policy(), Readiness(parts[0], began)).run():
        sys.exit(reason)


if __name__ == "__main__":
    main()
