"""What survives when things break during a training run, shown on the whole real site.

    python -m benchmarks.chaos.faults [--only NAME]

Each fault gets a fresh site: web server, workers and scheduler as `runsite` starts them, but apart, so that each can be
killed. People have drawn on it, and their labels are accepted. During a fault, somebody keeps asking for previews. All
must be answered, by the model that served before. Afterwards no run may be stuck, and the next run must work.
"""

import multiprocessing
import os
import shutil
import signal
import sqlite3
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.chaos.parts import Site, fill_disk, small_disk
from benchmarks.chaos.runs import TrainingRuns, describe, pen_drawing, teach
from benchmarks.harness import LIVE, Answer, ask, command_line, configure, ink_body, manage, until

DISK = 96  # MB, of the disk that is filled
FULL = 25.0  # seconds that it stays full: more than a run may go without a heartbeat
PAUSE = 0.1  # seconds between two previews
SOON = 60.0  # seconds for a start, a fault or a swap to be noticed


@dataclass(slots=True)
class Outcome:
    """What a fault led to."""

    fault: str
    happened: str = ""
    noticed: float | None = None  # seconds
    ended: float | None = None  # seconds
    problems: list[str] = field(default_factory=list)

    def check(self, holds: bool, problem: str) -> None:
        if not holds:
            self.problems.append(problem)

    def __str__(self) -> str:
        seconds = [f"{value:8.1f}" if value is not None else f"{'':8}" for value in (self.noticed, self.ended)]
        problems = "".join(f"\n    PROBLEM: {problem}" for problem in self.problems)
        return f"{self.fault:46} {' '.join(seconds)}  {self.happened}{problems}"


def check_next_run(runs: TrainingRuns, outcome: Outcome) -> None:
    """Request a run and let it come as far as the fit: by then it has all it needs."""
    run = runs.request()
    row = runs.wait_for(run, lambda row: bool(row["phase"] == "fit"))
    outcome.check(row["phase"] == "fit" and row["attempt"] == 1, f"the next run: {describe(row)}")
    if row["state"] in LIVE:
        runs.cancel(run)


@contextmanager
def previews(outcome: Outcome) -> Iterator[Counter[int]]:
    """Ask for previews all the while. Check that each is answered, and count by which version."""
    statuses: Counter[int] = Counter()
    versions: Counter[int] = Counter()
    over = threading.Event()

    def look() -> None:
        rng = np.random.default_rng(0)
        while not over.wait(PAUSE):
            answer = post("previews", int(rng.integers(10)), rng)
            statuses[answer.status] += 1
            if answer.status == 200:
                versions[answer.json["model_version"]] += 1

    somebody = threading.Thread(target=look)
    somebody.start()
    try:
        yield versions
    finally:
        over.set()
        somebody.join()
    outcome.check(set(statuses) == {200}, f"previews answered {dict(statuses)}")


def post(path: str, digit: int, rng: np.random.Generator) -> Answer:
    """Send a drawing to a call of the API."""
    return ask("POST", f"/api/v1/{path}", ink_body(pen_drawing(digit, rng).strokes))


def child_of(run: int) -> int:
    """Return the process that a run is in."""
    from training.models import TrainingRun

    return int(TrainingRun.objects.get(pk=run).worker.rpartition(":")[2])


def serving_version() -> int:
    """Wait until the active version serves, and return it."""
    active = int(ask("GET", "/api/v1/models/active").json["version"])
    until(lambda: readyz()["model_version"] == active, SOON, f"Version {active} does not serve.")
    return active


def readyz() -> Any:
    return ask("GET", "/readyz").json


# --- Faults -----------------------------------------------------------------------------------------------------------


def killed_processes(site: Site) -> Iterator[Outcome]:
    """Kill (-9) the training process in each phase."""
    runs = TrainingRuns()
    for phase in ("data", "start", "fit", "export", "gates"):
        yield killed(site, runs, f"process killed in {phase}", partial(runs.wait_for_phase, phase=phase))
    before, after = partial(wait_for_gates, runs), partial(wait_for_promotion, site)
    yield killed(site, runs, "process killed in promote, before the commit", before, whole=True)
    yield killed(site, runs, "process killed in promote, after the commit", after, whole=True)


def killed_worker(site: Site) -> Iterator[Outcome]:
    """Kill (-9) the whole training worker, and start it again."""
    runs = TrainingRuns()

    def kill(run: int) -> None:
        runs.wait_for_phase(run, "fit")
        site.kill("training")
        site.start("training")

    yield killed(site, runs, "worker killed in fit", kill, whole=True)


def killed(site: Site, runs: TrainingRuns, fault: str, when: Callable[[int], Any], *, whole: bool = False) -> Outcome:
    """Kill the process of a run at some moment; expect a second attempt, and its end."""
    outcome, before = Outcome(fault), serving_version()
    run = runs.request()
    with previews(outcome) as versions:
        when(run)
        if pid := child_of(run):
            kill_process(pid)
        at = time.monotonic()
        second = runs.wait_for(run, lambda row: bool(row["attempt"] > 1), SOON)
        outcome.noticed = time.monotonic() - at
        outcome.check(second["attempt"] == 2, f"no second attempt: {describe(second)}")
        if not whole and second["state"] in LIVE:
            runs.wait_for(run, lambda row: bool(row["phase"] == "data"))
            runs.cancel(run)
    end = runs.wait_for_end(run)
    outcome.ended, outcome.happened = time.monotonic() - at, describe(end)
    outcome.check(end["state"] == ("succeeded" if whole else "cancelled"), f"unexpected end: {describe(end)}")
    outcome.check(set(versions) <= {before, end["model_version"]}, f"previews by version {dict(versions)}")
    return outcome


def kill_process(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:  # it ended with its worker
        return


def wait_for_gates(runs: TrainingRuns, run: int) -> None:
    """Wait until the gates have been checked; no version is stored yet."""
    from training.models import TrainingRun

    runs.wait_for_phase(run, "gates")
    row = TrainingRun.objects.get(pk=run)
    while "gates" not in row.timings and row.live:
        row.refresh_from_db(fields=["timings", "state"])
        time.sleep(0.001)


def wait_for_promotion(site: Site, run: int) -> None:
    """Wait until a version is stored and promoted, block further writes, and kill the process of the run."""
    database = sqlite3.connect(site.folder / "db.sqlite3", timeout=0, isolation_level=None)
    made = f"SELECT version_id FROM training_trainingrun WHERE id = {run} AND version_id IS NOT NULL"
    wait_for_gates(TrainingRuns(), run)
    while True:
        try:
            database.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:  # the run is writing: get the lock after it
            continue
        if database.execute(made).fetchone():
            break
        database.execute("ROLLBACK")
        time.sleep(0.001)
    kill_process(child_of(run))
    database.close()


def truncated_artifact(site: Site) -> Iterator[Outcome]:
    """Make a version active, in the database itself, whose artifact is truncated."""
    from recognizer.models import ModelFile, ModelVersion

    runs, outcome = TrainingRuns(), Outcome("artifact truncated, and made active")
    with previews(outcome) as versions:
        damaged = register_copy_of_bundled()
        truncate(damaged, ModelFile.Kind.ARTIFACT)
        ModelVersion.objects.filter(state=ModelVersion.State.ACTIVE).update(state=ModelVersion.State.RETIRED)
        ModelVersion.objects.filter(pk=damaged.pk).update(state=ModelVersion.State.ACTIVE)
        at = time.monotonic()
        problem = until(lambda: readyz()["problem"], SOON, "/readyz names no problem.")
        outcome.noticed, outcome.happened = time.monotonic() - at, f"readyz: {problem}"
        drawn = post("submissions", 3, np.random.default_rng(3))
        right = (drawn.status, drawn.json.get("model_version")) == (201, 1)
        outcome.check(right, f"drawing answered {drawn.status} {drawn.text}")
        failed = runs.wait_for_end(runs.request())
        outcome.check(failed["state"] == "failed" and "Activate another" in failed["reason"], describe(failed))
        outcome.happened += f"; {describe(failed)}"
    site.restart("web")
    outcome.check(readyz()["model_version"] == 1, "a web process that starts now does not serve version 1")
    with previews(outcome) as later:
        refused = runs.staff.ask("POST", f"/api/v1/models/{damaged.version}/activate", {})
        outcome.check(refused.status == 409, f"activating it again answered {refused.status} {refused.text}")
        at = time.monotonic()
        runs.staff.call("POST", "/api/v1/models/1/activate", {})
        until(lambda: readyz()["problem"] is None, SOON, "/readyz still names a problem.")
        outcome.ended = time.monotonic() - at
        check_next_run(runs, outcome)
    outcome.check({*versions, *later} == {1}, f"previews by version {dict(versions)}, {dict(later)}")
    yield outcome


def truncated_checkpoint(site: Site) -> Iterator[Outcome]:
    """Truncate the checkpoint from which the active version would be trained further."""
    from recognizer.models import ModelFile

    runs, outcome = TrainingRuns(), Outcome("checkpoint truncated, of the active version")
    damaged = register_copy_of_bundled()
    truncate(damaged, ModelFile.Kind.CHECKPOINT)
    with previews(outcome) as versions:
        runs.staff.call("POST", f"/api/v1/models/{damaged.version}/activate", {})
        at = time.monotonic()
        failed = runs.wait_for_end(runs.request())
        outcome.ended, outcome.happened = time.monotonic() - at, describe(failed)
        outcome.check(failed["state"] == "failed" and "Activate another" in failed["reason"], describe(failed))
        runs.staff.call("POST", "/api/v1/models/1/activate", {})
        check_next_run(runs, outcome)
    outcome.check(set(versions) <= {1, damaged.version}, f"previews by version {dict(versions)}")
    yield outcome


def register_copy_of_bundled() -> Any:
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


def truncate(version: Any, kind: str) -> None:
    from recognizer.models import ModelFile

    file = ModelFile.objects.get(version=version, kind=kind)
    file.content = bytes(file.content)[: file.size * 3 // 4]
    file.save(update_fields=["content"])


def full_disk(site: Site) -> Iterator[Outcome]:
    """Fill the data directory's disk while a run learns and people draw, and free it again."""
    runs, outcome = TrainingRuns(), Outcome("disk full while a run learns")
    rng = np.random.default_rng(9)
    statuses: Counter[int] = Counter()
    stored: list[int] = []
    run = runs.request()
    runs.wait_for_phase(run, "fit")
    with previews(outcome) as versions:
        ballast = site.folder / "ballast"
        fill_disk(ballast)
        filled, refused, refusal = time.monotonic(), 0.0, ""
        while not refused or time.monotonic() - refused < FULL:
            answer = post("submissions", int(rng.integers(10)), rng)
            statuses[answer.status] += 1
            if answer.status == 201:
                stored.append(answer.json["id"])
            else:
                refused, refusal = refused or time.monotonic(), refusal or answer.text
                fill_disk(ballast)  # some space was freed meanwhile
        outcome.noticed = refused - filled  # until then the write-ahead log had room
        ready, meanwhile = ask("GET", "/readyz"), runs.get(run)
        ballast.unlink()
        at = time.monotonic()
        answer = post("submissions", 5, rng)
        outcome.check(answer.status == 201, f"drawing with space again answered {answer.status} {answer.text}")
        stored.append(answer.json.get("id"))
        end = runs.wait_for_end(run)
        outcome.ended = time.monotonic() - at
        outcome.check(end["state"] in ("succeeded", "failed"), describe(end))
        check_next_run(runs, outcome)
    kept = sum(runs.staff.ask("GET", f"/api/v1/submissions/{pk}").status == 200 for pk in stored)
    outcome.happened = (
        f"drawings answered {dict(statuses)} {refusal}; {kept} of {len(stored)} stored ones are found; "
        f"readyz {ready.status} {ready.text}; meanwhile {meanwhile['state']} in {meanwhile['phase']}; {describe(end)}"
    )
    outcome.check(set(statuses) <= {201, 503}, f"drawing answered {dict(statuses)}")
    outcome.check("detail" in refusal, f"a refusal reads {refusal}")
    outcome.check(kept == len(stored), f"{len(stored) - kept} drawings are lost")
    outcome.check(set(versions) <= {1, end["model_version"]}, f"previews by version {dict(versions)}")
    outcome.check(integrity(site) == "ok", f"the database is damaged: {integrity(site)}")
    yield outcome


def integrity(site: Site) -> str:
    with sqlite3.connect(site.folder / "db.sqlite3") as database:
        return str(database.execute("PRAGMA integrity_check").fetchone()[0])


def mnist_missing(site: Site) -> Iterator[Outcome]:
    """Start the training worker without MNIST, and without a network to download it from."""
    nowhere = "http://127.0.0.1:9"  # nothing listens there
    yield without_mnist(site, "MNIST missing, no network", HDR_MNIST_DIR="", https_proxy=nowhere)


def mnist_altered(site: Site) -> Iterator[Outcome]:
    """Start the training worker with a copy of MNIST in which one byte is changed."""
    from recognizer.mnist import ensure_mnist

    copy = Path(shutil.copytree(ensure_mnist(), site.folder / "altered", copy_function=shutil.copyfile))
    file = copy / "train-images-idx3-ubyte.gz"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    copy.chmod(0o755)
    file.write_bytes(content)
    yield without_mnist(site, "MNIST with one byte changed", HDR_MNIST_DIR=str(copy))


def without_mnist(site: Site, fault: str, **environment: str) -> Outcome:
    runs, outcome = TrainingRuns(), Outcome(fault)
    with previews(outcome) as versions:
        site.restart("training", **environment)
        at = time.monotonic()
        failed = runs.wait_for_end(runs.request())
        outcome.ended, outcome.happened = time.monotonic() - at, describe(failed)
        outcome.check(failed["state"] == "failed" and failed["attempt"] == 1, describe(failed))
        outcome.check("MNIST cannot be used" in failed["reason"], "the reason does not name MNIST")
        site.restart("training")
        check_next_run(runs, outcome)
    outcome.check(set(versions) == {1}, f"previews by version {dict(versions)}")
    return outcome


def two_schedulers(site: Site) -> Iterator[Outcome]:
    """Start a second beat, and let both request a run every other second."""
    from django_celery_beat.models import IntervalSchedule, PeriodicTask, PeriodicTasks

    from training.models import TrainingRun

    outcome, every = Outcome("two schedulers at once"), 2
    site.start("beat second")
    often, _ = IntervalSchedule.objects.get_or_create(every=every, period=IntervalSchedule.SECONDS)
    tasks = PeriodicTask.objects.filter(task="training.tasks.scheduled_run")
    with previews(outcome):
        tasks.update(crontab=None, interval=often)
        PeriodicTasks.update_changed()
        until(TrainingRun.objects.exists, SOON, "No run was scheduled.")
        at = time.monotonic()
        time.sleep(20)
        seconds, refused = time.monotonic() - at, site.output("worker").count("No scheduled run")
        tasks.update(enabled=False)
        PeriodicTasks.update_changed()
        rows = list(TrainingRun.objects.values_list("state", "trigger"))
        outcome.happened = f"{len(rows)} run, {refused} more requests in {seconds:.0f} s, every {every} s by each"
        outcome.check(len(rows) == 1, f"runs: {rows}")
        outcome.check(refused > 1.2 * seconds / every, "the second scheduler requested none")
        runs = TrainingRuns()
        if (live := TrainingRun.objects.live().first()) is not None:
            runs.cancel(live.pk)
        time.sleep(2 * every + 5)  # by then both have read the changed schedule
        check_next_run(runs, outcome)
    yield outcome


# --- One fault after the other ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that breaks."""

    name: str
    play: Callable[[Site], Iterator[Outcome]]
    disk: int = 0  # MB, of a separate disk for the data directory


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
    parser = command_line(__doc__)
    parser.add_argument("--only", default="", help="faults with this text in their name")
    parser.add_argument("--logs", type=Path, help="keep the parts' logs in this folder")
    arguments = parser.parse_args()
    outcomes: list[Outcome] = []
    for number, fault in enumerate(FAULTS):
        if arguments.only in fault.name:
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:  # Django is set up once in it
                outcomes += process.submit(play, number, arguments.logs).result()
    print(f"\n{'fault':46} {'noticed':>8} {'over':>8}  seconds; what happened")
    print(*outcomes, sep="\n")
    sys.exit(1 if not outcomes or any(outcome.problems for outcome in outcomes) else 0)


def play(number: int, kept: Path | None) -> list[Outcome]:
    """Start a site, break something, and return the outcomes."""
    fault, outcomes = FAULTS[number], []
    with tempfile.TemporaryDirectory(prefix="digits-faults-") as name:
        (logs := Path(name) / "logs").mkdir()
        (folder := Path(name) / "data").mkdir()
        try:
            with small_disk(folder, fault.disk), site_with_drawings(folder, logs) as site:
                try:
                    for outcome in fault.play(site):
                        outcome.check(not site.dead_parts(), f"parts that ended by themselves: {site.dead_parts()}")
                        outcomes.append(outcome)
                        print(outcome, flush=True)
                except SystemExit as unexpected:
                    outcomes.append(Outcome(fault.name, problems=[str(unexpected)]))
        finally:
            if kept:
                shutil.copytree(logs, kept / fault.name.replace(" ", "-"), dirs_exist_ok=True)
    return outcomes


@contextmanager
def site_with_drawings(folder: Path, logs: Path) -> Iterator[Site]:
    configure(folder, HDR_THROTTLES="off", HDR_REVIEW="all", WEB_CONCURRENCY="1")
    manage("prepare")
    import django

    django.setup()
    site = Site(folder, logs)
    try:
        for name in ("web", "worker", "training", "beat"):
            site.start(name)
        teach()
        yield site
    finally:
        site.stop_all()


if __name__ == "__main__":
    main()
