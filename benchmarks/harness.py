"""What the benchmarks share: a site of their own, which is proved to be theirs, and a check of what it answers.

Another site that holds the port would be measured without anybody noticing, and its 404s would count as throughput.
"""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent

WEB_SERVER = [sys.executable, "-m", "hdr_site.server"]
WHOLE_SITE = [sys.executable, "manage.py", "runsite"]

READY = 90.0  # seconds in which a server is ready, on a busy machine too
STOP = 60.0  # seconds in which it ends; a worker takes four to leave its broker
ANSWER = 60.0  # seconds after which a client gives up
PAUSE = 0.01  # seconds between two looks whether a server is ready
TAIL = 2000  # characters of a log that are shown when its server does not start


def free_port() -> int:
    """Have the kernel choose a port that nobody holds."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


PORT = int(os.environ.get("PORT") or free_port())


def configure(folder: str | Path, settings: str = "hdr_site.settings", **environment: str) -> None:
    """Give this process, and those that it starts, a site with a data directory of its own.

    From here on SIGTERM ends this process as an error would, so that it ends its site too.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("Stopped."))
    own = {"HDR_DATA_DIR": str(folder), "DJANGO_SETTINGS_MODULE": settings, "SECRET_KEY": "bench"}
    os.environ |= own | {"HOST": "127.0.0.1", "PORT": str(PORT)} | environment


def prepare() -> None:
    subprocess.run([sys.executable, "manage.py", "prepare"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


# --- A server that is ours --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Server:
    """A process that was started here, and that answers on a port by itself or by what it has started."""

    process: subprocess.Popen[bytes]
    log: Path
    port: int = PORT

    @classmethod
    def start(
        cls,
        log: Path,
        command: Sequence[str],
        ready: "Callable[[Server], bool] | None" = None,
        port: int = PORT,
        environment: Mapping[str, str] | None = None,
    ) -> "Server":
        """Start a command in a session of its own, and wait until it is ready: by default, until it answers so.

        Raises:
            SystemExit: it did not start, or somebody else answers on its port.
        """
        with log.open("ab") as output:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=os.environ | dict(environment or {}),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        server = cls(process, log, port)
        try:
            server._wait_until(ready or cls.is_ready)
        except BaseException:
            server.stop()
            raise
        return server

    def _wait_until(self, ready: "Callable[[Server], bool]") -> None:
        end = time.monotonic() + READY
        while not ready(self):
            if self.process.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"It did not start on port {self.port}:\n{self.log.read_text()[-TAIL:]}")
            time.sleep(PAUSE)

    def is_ready(self) -> bool:
        """Say whether it is ready.

        Raises:
            SystemExit: whoever answers is no process of this server.
        """
        status, answer = ask("GET", "/readyz", port=self.port)
        if status in (NONE, 503):
            return False
        if not isinstance(answer, dict) or not descends_from(answer.get("process", 0), self.process.pid):
            raise SystemExit(f"Port {self.port} is another site's: it answered {status} {answer}.")
        return True

    def stop(self) -> None:
        """Ask it to end, and kill what does not, of all that it has started too."""
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP)
        self.kill()

    def kill(self) -> None:
        """Kill it without warning, and all of its session."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextmanager
def serving(log: Path, command: Sequence[str], port: int = PORT) -> Iterator[Server]:
    """Run a server, which is looked at again before it is stopped: nobody else has taken its port meanwhile."""
    server = Server.start(log, command, port=port)
    try:
        yield server
        if not server.is_ready():
            raise SystemExit(f"It is no longer ready on port {port}:\n{log.read_text()[-TAIL:]}")
    finally:
        server.stop()


def descends_from(pid: int, ancestor: int) -> bool:
    while pid > 1 and pid != ancestor:
        found = subprocess.run(["ps", "-o", "ppid=", "-p", str(pid)], capture_output=True, text=True, check=False)
        pid = int(found.stdout or 0)
    return pid == ancestor


# --- What it answers --------------------------------------------------------------------------------------------------

NONE = "none"  # the status of a request that was not answered


def ask(
    method: str,
    path: str,
    body: Any = None,
    token: str = "",
    headers: Mapping[str, str] | None = None,
    port: int = PORT,
) -> tuple[int | str, Any]:
    """Send one request; return the status and the answer, parsed if it is JSON."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER)
    sent = {"Content-Type": "application/json"} | dict(headers or {})
    if token:
        sent["Authorization"] = f"Token {token}"
    try:
        connection.request(method, path, None if body is None else json.dumps(body), sent)
        response = connection.getresponse()
        status, text = response.status, response.read().decode()
    except (OSError, http.client.HTTPException):
        return NONE, {}
    finally:
        connection.close()
    try:
        return status, json.loads(text)
    except ValueError:
        return status, text


def expect(what: str, statuses: Mapping[int, int], *expected: int) -> None:
    """Fail if anything was answered otherwise than expected: that is no throughput.

    Raises:
        SystemExit: with what was answered instead.
    """
    wrong = {status: count for status, count in statuses.items() if status not in expected}
    if wrong or not statuses:
        raise SystemExit(f"{what}: answered {wrong or 'nothing'}, and not {' or '.join(map(str, expected))} alone.")


def until(look: Callable[[], Any], seconds: float, story: Callable[[], str]) -> Any:
    """Wait for something that is true, and return it.

    Raises:
        SystemExit: with the story, if it does not come.
    """
    end = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() > end:
            raise SystemExit(story())
        time.sleep(0.1)
    return found
