"""What was answered 201 is stored, whichever process is killed and however full the disk: on SQLite and PostgreSQL.

    python -m benchmarks.durable        (as root, on Debian; PostgreSQL's part needs the package postgresql)

Eight people draw all the while; each drawing carries a number of its own. Meanwhile a web process, the whole web server
and PostgreSQL are killed (-9), and the disk of the database is filled and freed again. At the end each answer is
compared with the database. Fails if one is missing, or if anything was answered but 201 and 503.
"""

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.faults import disk, fill
from benchmarks.harness import ROOT, WEB_SERVER, Server, ask, configure, free_port, prepare, until

PEOPLE = 8
DISK = 256  # MB
DATABASE_PORT = free_port()
BEFORE, DOWN, AFTER = 3.0, 4.0, 4.0  # seconds of drawing
SOON = 60.0  # seconds in which something starts

ANSWERS = Counter[int | str]


class People:
    """Clients that draw, one drawing after the other, and write down what came of each."""

    def __init__(self) -> None:
        self.stored: dict[int, int] = {}  # by submission: the number that was drawn into it
        self.answers: ANSWERS = Counter()
        self._numbers = itertools.count(1)
        self._over = threading.Event()

    @contextmanager
    def drawing(self) -> Iterator[None]:
        threads = [threading.Thread(target=self._draw) for _ in range(PEOPLE)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in threads:
                thread.join()

    def _draw(self) -> None:
        while not self._over.is_set():
            number = next(self._numbers)
            status, answer = ask("POST", "/api/v1/submissions", drawing(number))
            self.answers[status] += 1
            if status == 201:
                self.stored[answer["id"]] = number
            else:
                time.sleep(0.05)

    def take_answers(self) -> ANSWERS:
        """Return what was answered since the last time."""
        answers, self.answers = self.answers, Counter()
        return answers


def drawing(number: int) -> dict[str, Any]:
    """Draw a one that carries a number, as the time of its points."""
    return {"strokes": [[[140, 40, number], [140, 140, number], [142, 240, number]]], "width": 280, "height": 280}


def wait_for(look: Callable[[], bool], what: str) -> None:
    until(look, SOON, lambda: f"{what} within {SOON:.0f} s: no")


# --- What can be killed -----------------------------------------------------------------------------------------------


class WebServer:
    """The web server with its two processes."""

    def __init__(self, log: Path) -> None:
        self._log = log

    def start(self) -> None:
        self._server = Server.start(self._log, WEB_SERVER)

    def kill_one(self) -> None:
        """Kill a process that serves; the server starts another one."""
        os.kill(int(ask("GET", "/readyz")[1]["process"]), signal.SIGKILL)

    def kill(self) -> None:
        self._server.kill()


class PostgreSQL:
    """A server of our own, that refuses to run as root."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._programs = folder, sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1]
        shutil.chown(folder, "postgres", "postgres")
        self._as_postgres("initdb", "-D", str(folder / "data"), "-U", "digits", "--auth", "trust").check_returncode()

    def start(self) -> None:
        """Start it; the options make it fill the disk sooner."""
        options = f"-p {DATABASE_PORT} -k {self._folder} -c listen_addresses=127.0.0.1 -c max_wal_size=64MB"
        log = str(self._folder.parent / "postgresql.log")
        command = ("-D", str(self._folder / "data"), "-w", "-l", log, "-o", options, "start")
        Path(log).touch()
        shutil.chown(log, "postgres", "postgres")
        self._as_postgres("pg_ctl", *command)

    def runs(self) -> bool:
        return self._as_postgres("pg_ctl", "-D", str(self._folder / "data"), "status").returncode == 0

    def kill(self) -> None:
        """Kill the server and all that it has started."""
        first = int((self._folder / "data" / "postmaster.pid").read_text().split()[0])
        children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
        for process in (first, *map(int, children)):
            os.kill(process, signal.SIGKILL)
        wait_for(lambda: not Path(f"/proc/{first}").exists(), "PostgreSQL is gone")

    def stop(self) -> None:
        self._as_postgres("pg_ctl", "-D", str(self._folder / "data"), "-m", "immediate", "stop")

    def _as_postgres(self, program: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        user = ("setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups")
        command = [*user, str(self._programs / program), *arguments]
        return subprocess.run(command, cwd=self._folder, capture_output=True, check=False)


# --- What is played ---------------------------------------------------------------------------------------------------


def main() -> None:
    if os.geteuid() != 0:
        raise SystemExit("Only root can mount a small disk: sudo python -m benchmarks.durable")
    print(f"{'database':12} {'what happens while people draw':34} answers")
    lost = play("SQLite")
    if list(Path("/usr/lib/postgresql").glob("*/bin/initdb")):
        lost += play("PostgreSQL")
    else:
        print("PostgreSQL is not installed: apt-get install -y --no-install-recommends postgresql")
    sys.exit(1 if lost else 0)


def play(name: str) -> int:
    """Let people draw while things break; return how many things are wrong afterwards."""
    with tempfile.TemporaryDirectory(prefix="digits-durable-") as folder:
        Path(folder).chmod(0o755)  # PostgreSQL's own user has to get in
        small, data = Path(folder, "disk"), Path(folder, "data")
        small.mkdir()
        data.mkdir()
        with disk(small, DISK):
            configure(data if name == "PostgreSQL" else small, HDR_THROTTLES="off", WEB_CONCURRENCY="2")
            os.environ.pop("DATABASE_URL", None)
            database = PostgreSQL(small) if name == "PostgreSQL" else None
            if database:
                database.start()
                os.environ["DATABASE_URL"] = f"postgres://digits@127.0.0.1:{DATABASE_PORT}/postgres"
            prepare()
            web = WebServer(Path(folder, "web.log"))
            web.start()
            try:
                return break_things(name, web, database, small)
            finally:
                web.kill()
                if database:
                    database.stop()


def break_things(name: str, web: WebServer, database: PostgreSQL | None, small: Path) -> int:
    people, wrong = People(), 0
    tell = "{:12} {:34} {}".format

    def after(what: str, fault: Callable[[], None]) -> ANSWERS:
        people.take_answers()
        fault()
        wait_for(lambda: ask("POST", "/api/v1/submissions", drawing(0))[0] == 201, "drawings are stored again")
        time.sleep(AFTER)
        answers = people.take_answers()
        print(tell(name, what, ", ".join(f"{count} × {status}" for status, count in answers.most_common())), flush=True)
        return answers

    def restart_web() -> None:
        web.kill()
        time.sleep(DOWN)
        web.start()

    def restart_database() -> None:
        if database:
            database.kill()
            time.sleep(DOWN)
            database.start()

    def fill_disk() -> None:
        ballast = small / "ballast"
        end = time.monotonic() + 2 * DOWN
        while time.monotonic() < end:
            fill(ballast)  # what was given back, too
            time.sleep(0.2)
        ballast.unlink()
        if database and not database.runs():
            print(tell(name, "", "PostgreSQL had stopped itself, and is started again"))
            database.start()

    with people.drawing():
        time.sleep(BEFORE)
        seen = after("a web process is killed", web.kill_one)
        seen += after("the whole web server is killed", restart_web)
        if database:
            seen += after("PostgreSQL is killed", restart_database)
        seen += after(f"its disk of {DISK} MB is full", fill_disk)
    stored = rows()
    missing = [pk for pk, number in people.stored.items() if stored.get(pk) != number]
    twice = [number for number, count in Counter(stored.values()).items() if count > 1 and number]
    odd = set(seen) - {201, 503, "none"}
    print(tell(name, "at the end", f"{len(people.stored)} × 201, {len(missing)} of them missing, {len(twice)} twice"))
    wrong += len(missing) + len(twice) + len(odd)
    return wrong


def rows() -> dict[int, int]:
    """Read every stored drawing's number, in a process of its own: Django's settings are each database's."""
    read = (
        "import django, json; django.setup(); from recognizer.models import Submission;"
        "print(json.dumps({pk: ink['strokes'][0][0][2] for pk, ink in Submission.objects.values_list('pk', 'ink')}))"
    )
    done = subprocess.run([sys.executable, "-c", read], cwd=ROOT, capture_output=True, text=True, check=True)
    return {int(pk): int(number) for pk, number in json.loads(done.stdout.splitlines()[-1]).items()}


if __name__ == "__main__":
    main()
