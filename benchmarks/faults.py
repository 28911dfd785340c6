"""What is left standing when things break during a training run, shown with the whole real site.

    python -m benchmarks.faults [--only NAME]

Each fault gets a fresh site: web server, workers and scheduler as `runsite` starts them, but apart, so that one can be
killed. People have drawn on it, and their labels are accepted. While a fault lasts, somebody keeps asking for previews:
all must be answered, by the model that served before. After it no run is stuck, and the next one is fine.
"""

import argparse
import multiprocessing
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import Server, ask, configure, prepare, until
from benchmarks.people import Client, accept_all, body_of, staff_token
from hdr_site.supervisor import PARTS

OWNERS, EACH = 6, 10  # people, and what each of them draws
DISK = 96  # MB, of the disk that gets full
FULL = 25.0  # seconds that it stays so: more than a run may go without a sign of life
PAUSE = 0.1  # seconds between two previews

SOON = 60.0  # seconds in which a start, a fault or a swap is noticed
RUN = 400.0  # seconds in which a run is over on a slow machine

LIVE = ("queued", "running")


# --- The site ---------------------------------------------------------------------------------------------------------


class Site:
    """The parts of the site, each a process that can be killed; what they print goes to a file each."""

    def __init__(self, folder: Path, logs: Path) -> None:
        self.folder, self._logs = folder, logs
        self._parts: dict[str, Server] = {}

    def start(self, name: str, **environment: str) -> None:
        """Start a part as `runsite` does, and wait until it is ready."""
        command = [sys.executable, "-m", *PARTS[name.partition(" ")[0]].split()]
        log = self._logs / f"{name}.log"
        is_ready = {"worker": lambda _: said(log), "training": lambda _: said(log), "web": Server.is_ready}
        self._parts[name] = Server.start(log, command, is_ready.get(name, lambda _: True), environment=environment)

    def stop(self, name: str) -> None:
        self._parts.pop(name).stop()

    def restart(self, name: str, **environment: str) -> None:
        self.stop(name)
        (self._logs / f"{name}.log").unlink()
        self.start(name, **environment)

    def kill(self, name: str) -> None:
        """Kill a part without warning."""
        part = self._parts.pop(name)
        part.process.kill()
        part.process.wait()
        (self._logs / f"{name}.log").unlink()

    def stop_all(self) -> None:
        for name in reversed(list(self._parts)):
            self.stop(name)

    def log(self, name: str) -> str:
        return (self._logs / f"{name}.log").read_text()

    def dead_parts(self) -> list[str]:
        """Name the parts that ended by themselves."""
        return [name for name, part in self._parts.items() if part.process.poll() is not None]


def said(log: Path, text: str = " ready.") -> bool:
    return text in log.read_text()


# --- What happens on it -----------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Row:
    """One fault: what came of it, and what of that should not have."""

    fault: str
    happened: str = ""
    noticed: float | None = None  # seconds
    ended: float | None = None  # seconds
    broken: list[str] = field(default_factory=list)

    def expect(self, holds: bool, what: str) -> None:
        if not holds:
            self.broken.append(what)

    def __str__(self) -> str:
        seconds = [f"{value:8.1f}" if value is not None else f"{'':8}" for value in (self.noticed, self.ended)]
        broken = "".join(f"\n    BROKEN: {what}" for what in self.broken)
        return f"{self.fault:46} {' '.join(seconds)}  {self.happened}{broken}"


class Admin:
    """Asks for training runs and looks at them, over HTTP."""

    def __init__(self) -> None:
        self.token = staff_token()

    def call(self, method: str, path: str, body: Any = None) -> Any:
        status, answer = ask(method, f"/api/v1/{path}", body, self.token)
        if status not in (200, 201, 202, 204):
            raise SystemExit(f"{method} {path}: {status} {str(answer)[:300]}")
        return answer

    def request(self) -> int:
        """Queue a run, whatever happened before."""
        return int(self.call("POST", "training-runs", {"force": True})["id"])

    def run(self, run: int) -> Any:
        return self.call("GET", f"training-runs/{run}")

    def reached(self, run: int, there: Callable[[Any], bool], seconds: float = RUN) -> Any:
        """Wait until a run is as wanted, or over, and return it."""

        def look() -> Any:
            row = self.run(run)
            return row if there(row) or row["state"] not in LIVE else None

        return until(look, seconds, lambda: f"A run is stuck: {self.run(run)}")

    def end(self, run: int) -> Any:
        return self.reached(run, lambda row: False)

    def cancel(self, run: int) -> Any:
        self.call("POST", f"training-runs/{run}/cancel", {})
        return self.end(run)

    def next_run_is_fine(self, row: Row) -> None:
        """Ask for one, and let it come as far as the fit: all that a run needs is there."""
        run = self.request()
        now = self.reached(run, lambda now: bool(now["phase"] == "fit"))
        row.expect(now["phase"] == "fit" and now["attempt"] == 1, f"the next run: {story(now)}")
        if now["state"] in LIVE:
            self.cancel(run)


def story(run: Any) -> str:
    again = f" in attempt {run['attempt']}" if run["attempt"] > 1 else ""
    return f"run {run['id']} {run['state']}{again}: {run['reason']}"


@contextmanager
def previews(row: Row) -> Iterator[Counter[int]]:
    """Ask for previews all the while; expect each to be answered, and count by which version."""
    statuses: Counter[int | str] = Counter()
    versions: Counter[int] = Counter()
    over = threading.Event()

    def look() -> None:
        rng = np.random.default_rng(0)
        while not over.wait(PAUSE):
            status, answer = ask("POST", "/api/v1/previews", body_of(draw(int(rng.integers(10)), rng)))
            statuses[status] += 1
            if status == 200:
                versions[answer["model_version"]] += 1

    somebody = threading.Thread(target=look)
    somebody.start()
    try:
        yield versions
    finally:
        over.set()
        somebody.join()
    row.expect(set(statuses) == {200}, f"previews answered {dict(statuses)}")


def draw(digit: int, rng: np.random.Generator) -> Any:
    from training.strokes import PenDrawing

    return PenDrawing(digit, pens().draw(digit, rng), "somebody", 1.0, str(digit))


@cache
def pens() -> Any:
    from training.pens import Pens
    from training.replay import PENS_FILE

    return Pens.from_bytes(PENS_FILE.read_bytes())


def people_draw() -> None:
    """Fill the site with accepted labels."""
    for owner in range(OWNERS):
        client, rng = Client(), np.random.default_rng(owner)
        for number in range(EACH):
            client.draw_and_say(drawing := draw(number % 10, rng), drawing.digit)
    accept_all(Client(token=staff_token()))


def child_of(run: int) -> int:
    """Return the process that works on a run."""
    from training.models import TrainingRun

    return int(TrainingRun.objects.get(pk=run).worker.rpartition(":")[2])


def serving() -> int:
    """Return the version that serves, once what was promoted last does."""
    active = int(ask("GET", "/api/v1/models/active")[1]["version"])
    until(lambda: ask("GET", "/readyz")[1]["model_version"] == active, SOON, lambda: f"version {active} does not serve")
    return active


# --- Faults -----------------------------------------------------------------------------------------------------------


def killed_processes(site: Site) -> Iterator[Row]:
    """`kill -9` of the process that learns, in each phase."""
    admin = Admin()
    for phase in ("data", "start", "fit", "export", "gates"):
        yield killed(site, admin, f"process killed in {phase}", partial(in_phase, admin, phase=phase))
    yield killed(site, admin, "process killed in promote, before it holds", lambda run: judged(admin, run), whole=True)
    yield killed(site, admin, "process killed in promote, after", lambda run: promoting(site, run), whole=True)


def killed_worker(site: Site) -> Iterator[Row]:
    """`kill -9` of the whole training worker; somebody starts it again."""
    admin = Admin()

    def kill(run: int) -> None:
        in_phase(admin, run, "fit")
        site.kill("training")
        site.start("training")

    yield killed(site, admin, "worker killed in fit", kill, whole=True)


def killed(site: Site, admin: Admin, fault: str, when: Callable[[int], Any], *, whole: bool = False) -> Row:
    """Kill the process of a run at a moment; expect another attempt, and its end."""
    row, before = Row(fault), serving()
    run = admin.request()
    with previews(row) as versions:
        when(run)
        if pid := child_of(run):
            kill_process(pid)
        at = time.monotonic()
        again = admin.reached(run, lambda now: bool(now["attempt"] > 1), SOON)
        row.noticed = time.monotonic() - at
        row.expect(again["attempt"] == 2, f"no second attempt: {story(again)}")
        if not whole and again["state"] in LIVE:
            admin.reached(run, lambda now: bool(now["phase"] == "data"))
            admin.cancel(run)
    end = admin.end(run)
    row.ended, row.happened = time.monotonic() - at, story(end)
    row.expect(end["state"] == ("succeeded" if whole else "cancelled"), "ended otherwise")
    row.expect(set(versions) <= {before, end["model_version"]}, f"previews by versions {dict(versions)}")
    return row


def kill_process(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:  # it went with its worker
        return


def in_phase(admin: Admin, run: int, phase: str) -> None:
    now = admin.reached(run, lambda now: bool(now["phase"] == phase))
    if now["state"] not in LIVE:
        raise SystemExit(f"The phase {phase} was not caught: {story(now)}")


def judged(admin: Admin, run: int) -> None:
    """Wait until the gates have judged; a version is not there yet."""
    from training.models import TrainingRun

    in_phase(admin, run, "gates")
    row = TrainingRun.objects.get(pk=run)
    while "gates" not in row.timings and row.live:
        row.refresh_from_db(fields=["timings", "state"])
        time.sleep(0.001)


def promoting(site: Site, run: int) -> None:
    """Wait until a version is made and promoted, and hold up whatever would be written after it."""
    database = sqlite3.connect(site.folder / "db.sqlite3", timeout=0, isolation_level=None)
    made = f"SELECT version_id FROM training_trainingrun WHERE id = {run} AND version_id IS NOT NULL"
    judged(Admin(), run)
    while True:
        try:
            database.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:  # the run is writing: be the next one
            continue
        if database.execute(made).fetchone():
            break
        database.execute("ROLLBACK")
        time.sleep(0.001)
    kill_process(child_of(run))
    database.close()


def truncated_artifact(site: Site) -> Iterator[Row]:
    """Make a version active, in the database itself, whose artifact lacks its end."""
    from recognizer.models import ModelFile, ModelVersion

    admin, row = Admin(), Row("artifact truncated, and made active")
    with previews(row) as versions:
        damaged = copy_of_the_bundled_version()
        cut_off(damaged, ModelFile.Kind.ARTIFACT)
        ModelVersion.objects.filter(state=ModelVersion.State.ACTIVE).update(state=ModelVersion.State.RETIRED)
        ModelVersion.objects.filter(pk=damaged.pk).update(state=ModelVersion.State.ACTIVE)
        at = time.monotonic()
        problem = until(lambda: ask("GET", "/readyz")[1]["problem"], SOON, lambda: "nobody noticed")
        row.noticed, row.happened = time.monotonic() - at, f"readyz: {problem}"
        status, drawn = ask("POST", "/api/v1/submissions", body_of(draw(3, np.random.default_rng(3))))
        row.expect((status, drawn.get("model_version")) == (201, 1), f"drawing answered {status} {drawn}")
        failed = admin.end(admin.request())
        row.expect(failed["state"] == "failed" and "Activate another" in failed["reason"], story(failed))
        row.happened += f"; {story(failed)}"
    site.restart("web")
    row.expect(ask("GET", "/readyz")[1]["model_version"] == 1, "a web process that starts now does not serve version 1")
    with previews(row) as later:
        status, refused = ask("POST", f"/api/v1/models/{damaged.version}/activate", {}, admin.token)
        row.expect(status == 409, f"activating it again answered {status} {refused}")
        at = time.monotonic()
        admin.call("POST", "models/1/activate", {})
        until(lambda: ask("GET", "/readyz")[1]["problem"] is None, SOON, lambda: "the problem stays")
        row.ended = time.monotonic() - at
        admin.next_run_is_fine(row)
    row.expect({*versions, *later} == {1}, f"previews by versions {dict(versions)}, {dict(later)}")
    yield row


def truncated_checkpoint(site: Site) -> Iterator[Row]:
    """Cut the end off what the active version would be trained further from."""
    from recognizer.models import ModelFile

    admin, row = Admin(), Row("checkpoint truncated, of the active version")
    damaged = copy_of_the_bundled_version()
    cut_off(damaged, ModelFile.Kind.CHECKPOINT)
    with previews(row) as versions:
        admin.call("POST", f"models/{damaged.version}/activate", {})
        at = time.monotonic()
        failed = admin.end(admin.request())
        row.ended, row.happened = time.monotonic() - at, story(failed)
        row.expect(failed["state"] == "failed" and "Activate another" in failed["reason"], story(failed))
        admin.call("POST", "models/1/activate", {})
        admin.next_run_is_fine(row)
    row.expect(set(versions) <= {1, damaged.version}, f"previews by versions {dict(versions)}")
    yield row


def copy_of_the_bundled_version() -> Any:
    from recognizer import registry
    from recognizer.models import ModelFile

    bundled = registry.active_version()
    assert bundled is not None
    files = {file.kind: bytes(file.content) for file in ModelFile.objects.filter(version=bundled)}
    return registry.register(
        files["tflite"],
        files["keras"],
        preprocessing_version=bundled.preprocessing_version,
        thresholds=bundled.thresholds,
        metrics=bundled.metrics,
        parent=bundled,
    )


def cut_off(version: Any, kind: str) -> None:
    from recognizer.models import ModelFile

    file = ModelFile.objects.get(version=version, kind=kind)
    file.content = bytes(file.content)[: file.size * 3 // 4]
    file.save(update_fields=["content"])


def full_disk(site: Site) -> Iterator[Row]:
    """Fill the disk of the data directory while a run learns and people draw; free it again."""
    admin, row = Admin(), Row("disk full while a run learns")
    rng = np.random.default_rng(9)
    statuses: Counter[int | str] = Counter()
    stored: list[int] = []
    run = admin.request()
    in_phase(admin, run, "fit")
    with previews(row) as versions:
        ballast = site.folder / "ballast"
        fill(ballast)
        filled, refused, refusal = time.monotonic(), 0.0, None
        while not refused or time.monotonic() - refused < FULL:
            status, answer = ask("POST", "/api/v1/submissions", body_of(draw(int(rng.integers(10)), rng)))
            statuses[status] += 1
            if status == 201:
                stored.append(answer["id"])
            else:
                refused, refusal = refused or time.monotonic(), refusal or answer
                fill(ballast)  # what was given back meanwhile
        row.noticed = refused - filled  # the write-ahead log still had room
        ready, now = ask("GET", "/readyz"), admin.run(run)
        ballast.unlink()
        at = time.monotonic()
        status, answer = ask("POST", "/api/v1/submissions", body_of(draw(5, rng)))
        row.expect(status == 201, f"drawing on a disk with space again answered {status} {answer}")
        stored.append(answer["id"])
        end = admin.end(run)
        row.ended = time.monotonic() - at
        row.expect(end["state"] in ("succeeded", "failed"), story(end))
        admin.next_run_is_fine(row)
    kept = sum(ask("GET", f"/api/v1/submissions/{pk}", token=admin.token)[0] == 200 for pk in stored)
    row.happened = (
        f"drawings answered {dict(statuses)} {refusal}; {kept} of {len(stored)} stored ones are there; "
        f"readyz {ready}; meanwhile {now['state']} in {now['phase']}; {story(end)}"
    )
    row.expect(set(statuses) <= {201, 503}, f"drawing answered {dict(statuses)}")
    row.expect(isinstance(refusal, dict) and "detail" in refusal, f"a refusal reads {refusal}")
    row.expect(kept == len(stored), f"{len(stored) - kept} drawings are lost")
    row.expect(set(versions) <= {1, end["model_version"]}, f"previews by versions {dict(versions)}")
    row.expect(integrity(site) == "ok", f"the database is damaged: {integrity(site)}")
    yield row


def fill(ballast: Path) -> None:
    """Write until there is no space left."""
    with ballast.open("ab", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1 << 6):
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError:
                continue


def integrity(site: Site) -> str:
    with sqlite3.connect(site.folder / "db.sqlite3") as database:
        return str(database.execute("PRAGMA integrity_check").fetchone()[0])


def mnist_missing(site: Site) -> Iterator[Row]:
    """Start the training worker where MNIST is not, nor a network to get it from."""
    nowhere = "http://127.0.0.1:9"  # nothing listens there
    yield without_mnist(site, "MNIST missing, no network", HDR_MNIST_DIR="", https_proxy=nowhere)


def mnist_altered(site: Site) -> Iterator[Row]:
    """Start the training worker with a copy of MNIST that differs in a byte."""
    from recognizer.mnist import ensure_mnist

    copy = Path(shutil.copytree(ensure_mnist(), site.folder / "altered", copy_function=shutil.copyfile))
    file = copy / "train-images-idx3-ubyte.gz"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    copy.chmod(0o755)
    file.write_bytes(content)
    yield without_mnist(site, "MNIST altered by a byte", HDR_MNIST_DIR=str(copy))


def without_mnist(site: Site, fault: str, **environment: str) -> Row:
    admin, row = Admin(), Row(fault)
    with previews(row) as versions:
        site.restart("training", **environment)
        at = time.monotonic()
        failed = admin.end(admin.request())
        row.ended, row.happened = time.monotonic() - at, story(failed)
        row.expect(failed["state"] == "failed" and failed["attempt"] == 1, story(failed))
        row.expect("MNIST cannot be used" in failed["reason"], "the reason does not say what is missing")
        site.restart("training")
        admin.next_run_is_fine(row)
    row.expect(set(versions) == {1}, f"previews by versions {dict(versions)}")
    return row


def two_schedulers(site: Site) -> Iterator[Row]:
    """Start beat a second time, and let both ask for a run every other second."""
    from django_celery_beat.models import IntervalSchedule, PeriodicTask, PeriodicTasks

    from training.models import TrainingRun

    row, every = Row("two schedulers at once"), 2
    site.start("beat second")
    often, _ = IntervalSchedule.objects.get_or_create(every=every, period=IntervalSchedule.SECONDS)
    tasks = PeriodicTask.objects.filter(task="training.tasks.scheduled_run")
    with previews(row):
        tasks.update(crontab=None, interval=often)
        PeriodicTasks.update_changed()
        until(TrainingRun.objects.exists, SOON, lambda: "no run was scheduled")
        at = time.monotonic()
        time.sleep(20)
        seconds, refused = time.monotonic() - at, site.log("worker").count("No scheduled run")
        tasks.update(enabled=False)
        PeriodicTasks.update_changed()
        runs = list(TrainingRun.objects.values_list("state", "trigger"))
        row.happened = f"{len(runs)} run, {refused} more asked for in {seconds:.0f} s, every {every} s by each"
        row.expect(len(runs) == 1, f"runs: {runs}")
        row.expect(refused > 1.2 * seconds / every, "the second scheduler did not ask")
        admin = Admin()
        if (live := TrainingRun.objects.live().first()) is not None:
            admin.cancel(live.pk)
        time.sleep(2 * every + 5)  # both have seen that they are not to ask any more
        admin.next_run_is_fine(row)
    yield row


# --- One after the other ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that breaks, and what follows."""

    name: str
    play: Callable[[Site], Iterator[Row]]
    disk: int = 0  # MB, if the data directory is on a disk of its own


FAULTS = [
    Fault("killed processes", killed_processes),
    Fault("killed worker", killed_worker),
    Fault("MNIST missing", mnist_missing),
    Fault("MNIST altered", mnist_altered),
    Fault("truncated artifact", truncated_artifact),
    Fault("truncated checkpoint", truncated_checkpoint),
    Fault("full disk", full_disk, DISK),
    Fault("two schedulers", two_schedulers),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="faults with this in their name")
    parser.add_argument("--logs", type=Path, help="keep what the parts printed in this folder")
    arguments = parser.parse_args()
    rows: list[Row] = []
    for number, fault in enumerate(FAULTS):
        if arguments.only in fault.name:
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:  # Django is set up once in it
                rows += process.submit(play, number, arguments.logs).result()
    print(f"\n{'fault':46} {'noticed':>8} {'over':>8}  what happened (seconds)")
    print(*rows, sep="\n")
    sys.exit(1 if not rows or any(row.broken for row in rows) else 0)


def play(number: int, kept: Path | None) -> list[Row]:
    """Start a site, break something, and say what came of it."""
    fault, rows = FAULTS[number], []
    with tempfile.TemporaryDirectory(prefix="digits-faults-") as name:
        (logs := Path(name) / "logs").mkdir()
        (folder := Path(name) / "data").mkdir()
        try:
            with disk(folder, fault.disk), site_with_drawings(folder, logs) as site:
                try:
                    for row in fault.play(site):
                        row.expect(not site.dead_parts(), f"parts that ended by themselves: {site.dead_parts()}")
                        rows.append(row)
                        print(row, flush=True)
                except SystemExit as unexpected:
                    rows.append(Row(fault.name, broken=[str(unexpected)]))
        finally:
            if kept:
                shutil.copytree(logs, kept / fault.name.replace(" ", "-"), dirs_exist_ok=True)
    return rows


@contextmanager
def disk(folder: Path, megabytes: int) -> Iterator[None]:
    """Mount a small disk in memory on a folder; only root may."""
    if not megabytes:
        yield
        return
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "digits-faults", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def site_with_drawings(folder: Path, logs: Path) -> Iterator[Site]:
    configure(folder, HDR_THROTTLES="off", HDR_REVIEW="all", WEB_CONCURRENCY="1")
    prepare()
    import django

    django.setup()
    site = Site(folder, logs)
    try:
        for name in ("web", "worker", "training", "beat"):
            site.start(name)
        people_draw()
        yield site
    finally:
        site.stop_all()


if __name__ == "__main__":
    main()
