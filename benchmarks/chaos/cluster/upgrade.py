"""The site goes back to the earlier release and is upgraded again, host by host.

The steps are those of "Upgrade and downgrade" in docs/operating.md. The earlier release is the commit before the newest
migration.
"""

import subprocess
import time
from functools import partial
from pathlib import Path

from benchmarks.chaos.cluster.checks import check
from benchmarks.chaos.cluster.network import WEB, WORKERS
from benchmarks.chaos.cluster.people import PEOPLE, Headers, ask, correction_of, draw, visitor
from benchmarks.chaos.cluster.runs import cancel_run, request_run, running_run
from benchmarks.chaos.cluster.site import (
    PARTS,
    SOON,
    balancer_sees,
    manage,
    prepare,
    query,
    start_beat,
    start_web,
    start_worker,
    stop,
)
from benchmarks.chaos.people import all_stored, describe
from benchmarks.harness import ROOT, until

APPS = ("training", "recognizer")  # in the order of undoing migrations: the first needs the second's tables

KEPT = {  # tables, and their columns that never change
    "recognizer_submission": "id, digit, confidence, verdict, input, ink, session",
    "recognizer_correction": "id, submission_id, digit, state, session",
    "recognizer_modelversion": "id, version, state, thresholds",
    "recognizer_modelfile": "id, version_id, kind, sha256, length(content)",
    "recognizer_promotion": "id, version_id, previous_id, cause",
    "training_trainingrun": "id, state, attempt, reason, version_id",
    "auth_user": "id, username, password",
}


def check_out_earlier_release(folder: Path) -> Path:
    """Extract the earlier release's code into a new folder."""
    code, archive = folder / "earlier", folder / "earlier.tar"
    code.mkdir()
    migrations = [f"{app}/migrations" for app in APPS]
    newest = git("log", "-1", "--diff-filter=A", "--format=%H", "--", *migrations)
    git("archive", "--output", str(archive), f"{newest}^")
    subprocess.run(["tar", "--extract", "--file", str(archive), "--directory", str(code)], check=True)
    return code


def git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", "-c", "safe.directory=*", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"The earlier release comes from git's history, which must be complete:\n{done.stderr}")
    return done.stdout.strip()


def downgrade_and_upgrade(staff: Headers, earlier: Path, folder: Path) -> None:
    """The site runs the newer release already: so go back first, then upgrade."""
    ends = ", ".join(f"{app} {name}" for app, name in undoable(earlier))
    check(bool(ends), f"the earlier release's migrations end with {ends}")
    last = {table: query(f"SELECT max(id) FROM {table}")[0][0] for table in KEPT}
    rows, columns = rows_until(last), all_columns()

    start = time.monotonic()
    with PEOPLE.busy():
        downgrade(staff, earlier, folder)
    drawn = PEOPLE.between(start, time.monotonic())
    check(all_stored(drawn), f"drawings on the way back: {describe(drawn)}")
    lost = sorted({column.partition(".")[0] for column in columns - all_columns()})
    check(
        rows_until(last) == rows, f"every earlier row is there; removed columns are of {', '.join(lost) or 'no table'}"
    )

    start = time.monotonic()
    with PEOPLE.busy():
        upgrade(staff, folder)
    drawn = PEOPLE.between(start, time.monotonic())
    check(all_stored(drawn), f"drawings during the upgrade: {describe(drawn)}")
    check(rows_until(last) == rows and all_columns() == columns, "every earlier row is there, and every column is back")


def downgrade(staff: Headers, earlier: Path, folder: Path) -> None:
    """Give each host the earlier code, then undo the migrations that it does not have."""
    for host in WEB:
        restart_web(host, folder, earlier)
        check_all(staff, f"the earlier release on {host}, on the newer tables")
    restart_background(folder, earlier)
    start = time.monotonic()
    for app, name in undoable(earlier):
        manage("web-a", folder, "migrate", app, name)  # only the newer code can undo them
    check(True, "the newer code undoes its migrations", time.monotonic() - start)
    check_all(staff, "the earlier release, on its own tables")
    start = time.monotonic()
    number, _ = request_run(staff)
    taken = until(partial(running_run, number), SOON, "No worker of the earlier release takes a run.")
    check(True, f"a training run is taken by {taken.host}, which runs the earlier release", time.monotonic() - start)
    cancel_run(staff, number)


def upgrade(staff: Headers, folder: Path) -> None:
    """Migrate, then give each host the newer code, with a run in progress."""
    number, _ = request_run(staff)
    until(partial(running_run, number), SOON, "No worker takes the run.")
    start = time.monotonic()
    prepare("web-a", folder)
    check(True, "`prepare` with the newer code migrates", time.monotonic() - start)
    check_all(staff, "the earlier release everywhere, on the newer tables")
    for host in WEB:
        restart_web(host, folder, ROOT)
        check_all(staff, f"the newer release on {host}")
    restart_background(folder, ROOT)
    start = time.monotonic()
    again = until(partial(running_run, number), 2 * SOON, "No worker takes the run again.")
    what = f"{again.host} starts the run of the restarted worker again; it is attempt {again.attempt}"
    check(again.attempt == 1, what, time.monotonic() - start)
    cancel_run(staff, number)


def undoable(earlier: Path) -> list[tuple[str, str]]:
    """Return the apps with a migration that the earlier release lacks, each with the last one that it has."""
    last = {app: (newest_migration(earlier, app), newest_migration(ROOT, app)) for app in APPS}
    return [(app, before) for app, (before, after) in last.items() if before != after]


def newest_migration(code: Path, app: str) -> str:
    return max(file.stem for file in (code / app / "migrations").glob("0*.py"))


def restart_web(host: str, folder: Path, code: Path) -> None:
    """Restart a web host with other code, and wait until the balancer sends it requests again."""
    prepare(host, folder, code)
    start = time.monotonic()
    stop(host)
    start_web(host, folder, code)
    until(partial(balancer_sees, host), SOON, f"The balancer does not see {host}.")
    check(
        True,
        f"{host} is stopped, started with the {name_of(code)} code, and seen by the balancer",
        time.monotonic() - start,
    )


def restart_background(folder: Path, code: Path) -> None:
    start = time.monotonic()
    for host in WORKERS:
        stop(f"{host} site")
        stop(f"{host} training")
        start_worker(host, folder, code)
        if f"{host} beat" in PARTS:
            stop(f"{host} beat")
            start_beat(host, folder, code)
    check(True, f"workers and beat are restarted with the {name_of(code)} code, host by host", time.monotonic() - start)


def name_of(code: Path) -> str:
    return "newer" if code == ROOT else "earlier"


def check_all(staff: Headers, when: str) -> None:
    """Draw and correct as a visitor, accept as staff, on each web host by itself."""
    statuses = []
    for host in WEB:
        owner = visitor(host)
        drawn = draw(host, owner, digit=7)
        correction = ask(host, "POST", correction_of(drawn.json["id"]), {"digit": 1}, owner)
        accepted = ask(host, "POST", f"/api/v1/corrections/{correction.json['id']}/accept", {}, staff)
        statuses += [drawn.status, correction.status, accepted.status]
    check(statuses == 2 * [201, 201, 200], f"{when}: draw, correct, accept on each web host answer {statuses}")


def rows_until(last: dict[str, int]) -> dict[str, tuple[int, str]]:
    """Return the number of earlier rows in each table, and a digest of their contents."""
    digest = "SELECT count(*), md5(string_agg(({})::text, '' ORDER BY id)) FROM {} WHERE id <= %s"
    return {table: query(digest.format(f"ROW({KEPT[table]})", table), last[table])[0] for table in KEPT}


def all_columns() -> set[str]:
    """Return the names of the database's columns as table.column."""
    sql = "SELECT table_name || '.' || column_name FROM information_schema.columns WHERE table_schema = 'public'"
    return {column for (column,) in query(sql)}
