"""What people see when PostgreSQL fails over, and whether what was answered 201 is in the promoted database.

    python -m benchmarks.failover [--run]     (as root, on Debian, with the package postgresql)

A primary and a streaming standby, both named in `DATABASE_URL`. People draw and correct, and ask for live answers, all
the while. Three times, each on a fresh site: the primary is killed (-9) and the standby promoted, which confirms each
commit (synchronous) or does not; and the primary is demoted: it stays up, but only reads. `--run` lets a training run
go on meanwhile. Fails if anything but 200, 201 and 503 was answered, if a drawing is missing that a synchronous standby
had confirmed, or if a part of the site has ended.
"""

import argparse
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from benchmarks.durable import drawing, wait_for
from benchmarks.faults import RUN, Admin, Site, in_phase, people_draw, story
from benchmarks.harness import PORT, ROOT, ask

DRAWING, LOOKING = 3, 1  # people
EXPECTED = (200, 201, 503)
PARTS = ("web", "worker", "training", "beat")
BEFORE, DOWN, AFTER = 4.0, 4.0, 6.0  # seconds before the fault, from it to the promotion, and after that
PRIMARY, STANDBY = PORT + 1, PORT + 2
URL = f"postgres://digits@127.0.0.1:{PRIMARY},127.0.0.1:{STANDBY}/postgres"


@dataclass(frozen=True, slots=True)
class Scene:
    """A way to lose the primary."""

    name: str
    what: str
    synchronous: bool
    killed: bool


SCENES = (
    Scene("synchronous", "was killed, the standby is synchronous", synchronous=True, killed=True),
    Scene("asynchronous", "was killed, the standby is asynchronous", synchronous=False, killed=True),
    Scene("demoted", "was demoted: it answers, but only reads", synchronous=True, killed=False),
)


class Server:
    """A PostgreSQL of our own."""

    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1]

    def __init__(self, folder: Path, port: int) -> None:
        folder.mkdir()
        shutil.chown(folder, "postgres", "postgres")
        self._folder, self.data, self.port = folder, folder / "data", port

    def run(self, program: str, *arguments: str) -> None:
        user = ("setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups")
        log = self._folder / "tools.log"
        with log.open("a") as output:
            command = [*user, str(self.programs / program), *arguments]
            done = subprocess.run(command, cwd=self._folder, stdout=output, stderr=subprocess.STDOUT, check=False)
        if done.returncode:
            raise SystemExit(f"{program}: {log.read_text()}")

    def start(self) -> None:
        options = f"-p {self.port} -k {self._folder} -c listen_addresses=127.0.0.1"
        self.run("pg_ctl", "-D", str(self.data), "-w", "-l", str(self._folder / "log"), "-o", options, "start")

    def set(self, name: str, value: str) -> None:
        """Change a setting of the running server."""
        with self._connect() as connection:
            connection.execute(f"ALTER SYSTEM SET {name} = '{value}'")
            connection.execute("SELECT pg_reload_conf()")

    def drawings(self) -> dict[int, int]:
        """Return the number that each stored drawing carries, as `durable.drawing` wrote it."""
        number = "coalesce((ink->'strokes'->0->0->2)::int, 0)"
        with self._connect() as connection:
            return dict(connection.execute(f"SELECT id, {number} FROM recognizer_submission").fetchall())

    def _connect(self) -> psycopg.Connection[tuple[int, int]]:
        where = f"host=127.0.0.1 port={self.port} user=digits dbname=postgres"
        return psycopg.connect(where, autocommit=True)

    def promote(self) -> None:
        self.run("pg_ctl", "-D", str(self.data), "-w", "promote")

    def kill(self) -> None:
        """Kill the server and all that it has started."""
        first = int((self.data / "postmaster.pid").read_text().split()[0])
        children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
        for process in (first, *map(int, children)):
            os.kill(process, signal.SIGKILL)
        wait_for(lambda: not Path(f"/proc/{first}").exists(), "PostgreSQL is gone")

    def runs(self) -> bool:
        lock = self.data / "postmaster.pid"
        return lock.exists() and Path("/proc", lock.read_text().split()[0]).exists()

    def stop(self) -> None:
        self.run("pg_ctl", "-D", str(self.data), "-m", "immediate", "stop")


@contextmanager
def servers(folder: Path) -> Iterator[tuple[Server, Server]]:
    """Run a primary, and a standby that streams from it."""
    primary, standby = Server(folder / "primary", PRIMARY), Server(folder / "standby", STANDBY)
    primary.run("initdb", "-D", str(primary.data), "-U", "digits", "--auth", "trust")
    primary.start()
    source = f"host=127.0.0.1 port={PRIMARY} user=digits"
    standby.run("pg_basebackup", "-d", source, "-D", str(standby.data), "-R", "-X", "stream", "-c", "fast")
    standby.start()
    try:
        yield primary, standby
    finally:
        for server in (primary, standby):
            if server.runs():
                server.stop()


class People:
    """They draw and correct, or ask for live answers, and write down what came of it."""

    def __init__(self) -> None:
        self.answers: Counter[tuple[str, int | str]] = Counter()
        self.stored: dict[int, int] = {}  # by submission: the number that was drawn into it
        self.taken: list[float] = []  # when a drawing was
        self.longest = dict.fromkeys(("drawing", "live answer", "list"), 0.0)  # seconds
        self.over = threading.Event()
        self._lock = threading.Lock()

    def draw(self, person: int) -> None:
        number = person * 1_000_000
        while not self.over.is_set():
            number += 1
            status, answer = self._ask("drawing", "submissions", drawing(number))
            if status == 201:
                self.taken.append(time.monotonic())
                self.stored[answer["id"]] = number
            else:
                time.sleep(0.05)

    def look(self, _: int) -> None:
        while not self.over.wait(0.05):
            self._ask("live answer", "previews", drawing(0))
            self._ask("list", "models")

    def _ask(self, what: str, path: str, body: object = None) -> tuple[int | str, dict[str, int]]:
        began = time.monotonic()
        status, answer = ask("POST" if body else "GET", f"/api/v1/{path}", body)
        with self._lock:
            self.answers[what, status] += 1
            self.longest[what] = max(self.longest[what], time.monotonic() - began)
        return status, answer

    @contextmanager
    def at_it(self) -> Iterator[None]:
        with ThreadPoolExecutor(DRAWING + LOOKING) as pool:
            for person in range(DRAWING):
                pool.submit(self.draw, person)
            for person in range(LOOKING):
                pool.submit(self.look, person)
            try:
                yield
            finally:
                self.over.set()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", action="store_true", help="with a training run in progress")
    parser.add_argument("--only", choices=[scene.name for scene in SCENES])
    parser.add_argument("--logs", type=Path, help="keep what the parts printed in this folder")
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        raise SystemExit("Only root can start PostgreSQL as its own user: sudo python -m benchmarks.failover")
    os.environ |= {"DJANGO_SETTINGS_MODULE": "hdr_site.settings", "PORT": str(PORT), "WEB_CONCURRENCY": "2"}
    os.environ |= {"HDR_THROTTLES": "off", "SECRET_KEY": "failover", "DJANGO_SUPERUSER_PASSWORD": "failover"}
    os.environ |= {"HDR_REVIEW": "all", "DATABASE_URL": URL}
    scenes = [scene for scene in SCENES if arguments.only in (None, scene.name)]
    sys.exit(sum(play(scene, arguments.logs, with_run=arguments.run) for scene in scenes))


def play(scene: Scene, kept: Path | None, *, with_run: bool) -> int:
    """Start servers and a site, let it happen, and return how many things are wrong."""
    with tempfile.TemporaryDirectory(prefix="digits-failover-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL's own user has to get in
        (data := folder / "data").mkdir()
        (logs := folder / "logs").mkdir()
        os.environ["HDR_DATA_DIR"] = str(data)
        with servers(folder) as (primary, standby):
            if scene.synchronous:
                primary.set("synchronous_standby_names", "*")
            subprocess.run([sys.executable, "manage.py", "prepare"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
            site = Site(data, logs)
            try:
                for part in PARTS if with_run else PARTS[:1]:
                    site.start(part)
                broken = fail_over(scene, site, primary, standby, with_run=with_run)
            finally:
                site.stop_all()
                if kept:
                    shutil.copytree(logs, kept / scene.name, dirs_exist_ok=True)
    for what in broken:
        print(f"    BROKEN: {what}")
    return len(broken)


def fail_over(scene: Scene, site: Site, primary: Server, standby: Server, *, with_run: bool) -> list[str]:
    """Lose the primary while people are at it; return what is wrong afterwards."""
    people, run = People(), learning() if with_run else None
    with people.at_it():
        time.sleep(BEFORE)
        fault = time.monotonic()
        if scene.killed:
            primary.kill()
        else:
            primary.set("default_transaction_read_only", "on")
        time.sleep(DOWN)
        standby.promote()
        if scene.synchronous:
            standby.set("synchronous_standby_names", "")
        promoted = time.monotonic()
        time.sleep(AFTER)
    back = min((moment for moment in people.taken if moment > promoted), default=math.inf)
    found = standby.drawings()
    missing = [pk for pk, number in people.stored.items() if found.get(pk) != number]
    print(f"\nThe primary {scene.what}")
    print("  " + ", ".join(f"{count} × {what} {status}" for (what, status), count in sorted(people.answers.items())))
    print("  the longest: " + ", ".join(f"{what} {seconds:.2f} s" for what, seconds in people.longest.items()))
    print(f"  stored again {back - promoted:.2f} s after the promotion, {back - fault:.2f} s after the fault")
    print(f"  {len(people.stored)} drawings answered 201, {len(missing)} of them missing after the promotion")
    broken = [f"{what} answered {status}" for what, status in people.answers if status not in EXPECTED]
    broken += [f"{len(missing)} drawings are lost"] if missing and scene.synchronous else []
    broken += ["no drawing was stored after the promotion"] if back == math.inf else []
    broken += [f"{part} has ended" for part in site.dead_parts()]
    return broken + (ended_badly(run) if run else [])


def learning() -> int:
    """Ask for a run, and wait until it learns."""
    import django

    django.setup()
    people_draw()
    run = Admin().request()
    in_phase(Admin(), run, "fit")
    return run


def ended_badly(run: int) -> list[str]:
    end = Admin().reached(run, lambda now: False, 3 * RUN)
    print(f"  {story(end)}")
    return [] if end["state"] == "succeeded" else ["the run did not succeed"]


if __name__ == "__main__":
    main()
