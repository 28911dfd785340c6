"""Whether every drawing that was answered 201 is stored, whatever is killed and however full the disk.

    python -m benchmarks.chaos.durable        (as root, on Debian; PostgreSQL's part needs the package postgresql)

On SQLite, then on PostgreSQL, eight people draw all the while. A web process, the whole web server and PostgreSQL are
killed (-9), and the database's disk is filled and freed again. At the end the answers are compared with the database.
Fails if a drawing is missing or stored twice, or if there was any other status than 201 and 503.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from benchmarks.chaos.parts import fill_disk, small_disk
from benchmarks.chaos.people import People, count_statuses
from benchmarks.chaos.postgresql import PostgreSQL, is_installed
from benchmarks.harness import PORT, ROOT, WEB_SERVER, Server, ask, command_line, configure, manage, until

PEOPLE = 8
DISK = 256  # MB
DATABASE_PORT = PORT + 1
SMALL_WAL = "-c max_wal_size=64MB"  # else it alone would fill the disk
BEFORE, DOWN, AFTER = 3.0, 4.0, 4.0  # seconds of drawing
SOON = 60.0  # seconds for a start

EXPECTED = {201, 503, 0}  # 0: the connection broke as its process was killed


def main() -> None:
    command_line(__doc__).parse_args()
    if os.geteuid() != 0:
        raise SystemExit("Only root can mount a small disk: sudo python -m benchmarks.chaos.durable")
    print(f"{'database':12} {'fault':34} answers")
    problems = play("SQLite")
    if is_installed():
        problems += play("PostgreSQL")
    else:
        print("PostgreSQL is not installed: apt-get install -y --no-install-recommends postgresql")
    sys.exit(1 if problems else 0)


def play(name: str) -> int:
    """Let people draw while things break; return the number of problems found afterwards."""
    with tempfile.TemporaryDirectory(prefix="digits-durable-") as folder:
        Path(folder).chmod(0o755)  # PostgreSQL's own user has to get in
        disk, data = Path(folder, "disk"), Path(folder, "data")
        disk.mkdir()
        data.mkdir()
        with small_disk(disk, DISK):
            configure(data if name == "PostgreSQL" else disk, HDR_THROTTLES="off", WEB_CONCURRENCY="2")
            os.environ.pop("DATABASE_URL", None)
            database = PostgreSQL(disk, DATABASE_PORT) if name == "PostgreSQL" else None
            if database:
                database.create()
                database.start(SMALL_WAL)
                os.environ["DATABASE_URL"] = f"postgres://digits@127.0.0.1:{DATABASE_PORT}/postgres"
            manage("prepare")
            web = WebServer(Path(folder, "web.log"))
            try:
                return break_things(name, web, database, disk)
            finally:
                web.kill()
                if database:
                    database.stop()


class WebServer:
    """The web server with its two processes."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self.start()

    def start(self) -> None:
        self._server = Server.start(self._log, WEB_SERVER)

    def kill_process(self) -> None:
        """Kill one process that serves; the server starts another."""
        os.kill(int(ask("GET", "/readyz").json["process"]), signal.SIGKILL)

    def kill(self) -> None:
        self._server.kill()


def break_things(name: str, web: WebServer, database: PostgreSQL | None, disk: Path) -> int:
    people = People(drawing=PEOPLE)

    def play_fault(what: str, fault: Callable[[], None]) -> None:
        already = len(people.sent)
        fault()
        until(lambda: people.draw().status == 201, SOON, "No drawing is stored again.")
        time.sleep(AFTER)
        answers = count_statuses(people.sent[already:]).most_common()
        show(name, what, ", ".join(f"{count} × {status or 'no answer'}" for status, count in answers))

    def restart_web() -> None:
        web.kill()
        time.sleep(DOWN)
        web.start()

    def restart_database() -> None:
        assert database is not None
        database.kill()
        time.sleep(DOWN)
        database.start(SMALL_WAL)

    def fill_for_a_while() -> None:
        ballast = disk / "ballast"
        end = time.monotonic() + 2 * DOWN
        while time.monotonic() < end:
            fill_disk(ballast)  # again and again: some space is freed meanwhile
            time.sleep(0.2)
        ballast.unlink()
        if database and not database.is_running():
            show(name, "", "PostgreSQL had stopped itself, and is started again")
            database.start(SMALL_WAL)

    with people.busy():
        time.sleep(BEFORE)
        play_fault("a web process is killed", web.kill_process)
        play_fault("the whole web server is killed", restart_web)
        if database:
            play_fault("PostgreSQL is killed", restart_database)
        play_fault(f"its disk of {DISK} MB is full", fill_for_a_while)
    answered, stored = people.stored(), stored_serials()
    missing = [pk for pk, serial in answered.items() if stored.get(pk) != serial]
    twice = [serial for serial, count in Counter(stored.values()).items() if count > 1]
    unexpected = set(count_statuses(people.sent)) - EXPECTED
    show(name, "at the end", f"{len(answered)} × 201, {len(missing)} of them missing, {len(twice)} twice")
    return len(missing) + len(twice) + len(unexpected)


def show(database: str, fault: str, outcome: str) -> None:
    print(f"{database:12} {fault:34} {outcome}", flush=True)


def stored_serials() -> dict[int, int]:
    """Read every stored drawing's serial number in a new process: this one's Django may have another database."""
    read = (
        "import django, json; django.setup(); from recognizer.models import Submission;"
        "print(json.dumps({pk: ink['strokes'][0][0][2] for pk, ink in Submission.objects.values_list('pk', 'ink')}))"
    )
    done = subprocess.run([sys.executable, "-c", read], cwd=ROOT, capture_output=True, text=True, check=True)
    return {int(pk): int(serial) for pk, serial in json.loads(done.stdout.splitlines()[-1]).items()}


if __name__ == "__main__":
    main()
