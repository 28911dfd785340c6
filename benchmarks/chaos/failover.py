"""What people see when PostgreSQL fails over, and whether the promoted database has all drawings answered 201.

    python -m benchmarks.chaos.failover [--run]     (as root, on Debian, with the package postgresql)

`DATABASE_URL` names a primary and a streaming standby. People draw, and ask for live answers and lists, all the while.
There are three scenarios, each on a fresh site. In two of them the primary is killed (-9) and the standby, synchronous
or asynchronous, is promoted. In the third the primary is demoted: it stays up, but is read-only. `--run` adds a
training run in progress. Fails on any other status than 200, 201 and 503, if a drawing is missing that a synchronous
standby had confirmed, or if a part of the site ended.
"""

import math
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.chaos.parts import Site
from benchmarks.chaos.people import SERIAL_IN_INK, People
from benchmarks.chaos.postgresql import PostgreSQL
from benchmarks.chaos.runs import RUN_TIMEOUT, TrainingRuns, describe, teach
from benchmarks.harness import PORT, command_line, configure, manage

DRAWING, LOOKING = 3, 1  # people
EXPECTED = (200, 201, 503)
PARTS = ("web", "worker", "training", "beat")
BEFORE, DOWN, AFTER = 4.0, 4.0, 6.0  # seconds before the fault, from it to the promotion, and after that
PRIMARY, STANDBY = PORT + 1, PORT + 2
URL = f"postgres://digits@127.0.0.1:{PRIMARY},127.0.0.1:{STANDBY}/postgres"


@dataclass(frozen=True, slots=True)
class Scenario:
    """A way to lose the primary."""

    name: str
    what: str
    synchronous: bool
    killed: bool


SCENARIOS = (
    Scenario("synchronous", "was killed, the standby is synchronous", synchronous=True, killed=True),
    Scenario("asynchronous", "was killed, the standby is asynchronous", synchronous=False, killed=True),
    Scenario("demoted", "was demoted: it answers, but is read-only", synchronous=True, killed=False),
)


@contextmanager
def primary_and_standby(folder: Path) -> Iterator[tuple[PostgreSQL, PostgreSQL]]:
    for name in ("primary", "standby"):
        (folder / name).mkdir()
    primary, standby = PostgreSQL(folder / "primary", PRIMARY), PostgreSQL(folder / "standby", STANDBY)
    try:
        primary.create()
        primary.start()
        standby.copy_from(primary)
        standby.start()
        yield primary, standby
    finally:
        primary.stop()
        standby.stop()


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--run", action="store_true", help="with a training run in progress")
    parser.add_argument("--only", choices=[scenario.name for scenario in SCENARIOS])
    parser.add_argument("--logs", type=Path, help="keep the parts' logs in this folder")
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        raise SystemExit("Only root can start PostgreSQL as its own user: sudo python -m benchmarks.chaos.failover")
    scenarios = [scenario for scenario in SCENARIOS if arguments.only in (None, scenario.name)]
    sys.exit(sum(play(scenario, arguments.logs, with_run=arguments.run) for scenario in scenarios))


def play(scenario: Scenario, kept: Path | None, *, with_run: bool) -> int:
    """Start the databases and a site, lose the primary, and return the number of problems."""
    with tempfile.TemporaryDirectory(prefix="digits-failover-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL's own user has to get in
        (data := folder / "data").mkdir()
        (logs := folder / "logs").mkdir()
        configure(data, HDR_THROTTLES="off", HDR_REVIEW="all", WEB_CONCURRENCY="2", DATABASE_URL=URL)
        with primary_and_standby(folder) as (primary, standby):
            if scenario.synchronous:
                primary.set("synchronous_standby_names", "*")
            manage("prepare")
            site = Site(data, logs)
            try:
                for part in PARTS if with_run else PARTS[:1]:
                    site.start(part)
                problems = fail_over(scenario, site, primary, standby, with_run=with_run)
            finally:
                site.stop_all()
                if kept:
                    shutil.copytree(logs, kept / scenario.name, dirs_exist_ok=True)
    for problem in problems:
        print(f"    PROBLEM: {problem}")
    return len(problems)


def fail_over(scenario: Scenario, site: Site, primary: PostgreSQL, standby: PostgreSQL, *, with_run: bool) -> list[str]:
    """Lose the primary while people draw; return the problems found afterwards."""
    people, run = People(drawing=DRAWING, looking=LOOKING), start_run() if with_run else None
    with people.busy():
        time.sleep(BEFORE)
        fault = time.monotonic()
        if scenario.killed:
            primary.kill()
        else:
            primary.set("default_transaction_read_only", "on")
        time.sleep(DOWN)
        standby.promote()
        if scenario.synchronous:
            standby.set("synchronous_standby_names", "")
        promoted = time.monotonic()
        time.sleep(AFTER)
    stored_at = (one.at + one.seconds for one in people.sent if one.id is not None)
    back = min((moment for moment in stored_at if moment > promoted), default=math.inf)
    answered, stored = people.stored(), dict(standby.query(f"SELECT id, {SERIAL_IN_INK} FROM recognizer_submission"))
    missing = [pk for pk, serial in answered.items() if stored.get(pk) != serial]
    counts = sorted(Counter((one.call, one.status) for one in people.sent).items())
    longest = {call: max(one.seconds for one in people.sent if one.call == call) for (call, _), _ in counts}
    print(f"\nThe primary {scenario.what}")
    print("  " + ", ".join(f"{count} × {call} {status}" for (call, status), count in counts))
    print("  the longest: " + ", ".join(f"{call} {seconds:.2f} s" for call, seconds in longest.items()))
    print(f"  stored again {back - promoted:.2f} s after the promotion, {back - fault:.2f} s after the fault")
    print(f"  {len(answered)} drawings answered 201, {len(missing)} of them missing after the promotion")
    problems = [f"{call}: status {status}" for (call, status), _ in counts if status not in EXPECTED]
    problems += [f"{len(missing)} drawings are lost"] if missing and scenario.synchronous else []
    problems += ["no drawing was stored after the promotion"] if back == math.inf else []
    problems += [f"{part} ended" for part in site.dead_parts()]
    return problems + (run_problems(run) if run else [])


def start_run() -> int:
    """Request a run, and wait until it learns."""
    import django

    django.setup()
    teach()
    runs = TrainingRuns()
    run = runs.request()
    runs.wait_for_phase(run, "fit")
    return run


def run_problems(run: int) -> list[str]:
    end = TrainingRuns().wait_for_end(run, 3 * RUN_TIMEOUT)
    print(f"  {describe(end)}")
    return [] if end["state"] == "succeeded" else ["the run did not succeed"]


if __name__ == "__main__":
    main()
