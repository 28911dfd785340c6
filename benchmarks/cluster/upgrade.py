"""The site goes back to the earlier release and comes again, host by host: "Upgrade, and back" in docs/operating.md.

The earlier release is the commit before the newest migration came.
"""

import subprocess
import time
from functools import partial
from pathlib import Path

from benchmarks.cluster import ROOT
from benchmarks.cluster.facts import fact
from benchmarks.cluster.network import WEB, WORKERS
from benchmarks.cluster.people import (
    Browser,
    all_stored,
    ask,
    correction_of,
    draw,
    drawn_between,
    people_drawing,
    story,
)
from benchmarks.cluster.runs import cancel_run, request_run, running
from benchmarks.cluster.site import (
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
    wait_for,
)

APPS = ("training", "recognizer")  # in the order in which migrations are undone: the first needs the second's tables

KEPT = {  # tables, and what in their rows never changes
    "recognizer_submission": "id, digit, confidence, verdict, input, ink, session",
    "recognizer_correction": "id, submission_id, digit, state, session",
    "recognizer_modelversion": "id, version, state, thresholds",
    "recognizer_modelfile": "id, version_id, kind, sha256, length(content)",
    "recognizer_promotion": "id, version_id, previous_id, cause",
    "training_trainingrun": "id, state, attempt, reason, version_id",
    "auth_user": "id, username, password",
}


def check_out_earlier_release(folder: Path) -> Path:
    """Write the earlier release's code into a folder of its own."""
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
        raise SystemExit(f"The earlier release is in git's history, which has to be here in full:\n{done.stderr}")
    return done.stdout.strip()


def back_and_up_again(staff: dict[str, str], earlier: Path, folder: Path) -> None:
    """Go back first, for the site runs the newer release already; then upgrade."""
    ends = ", ".join(f"{app} {name}" for app, name in undoable(earlier))
    fact(bool(ends), f"the earlier release's migrations end with {ends}")
    last = {table: query(f"SELECT max(id) FROM {table}")[0][0] for table in KEPT}
    rows, columns = rows_until(last), all_columns()

    began = time.monotonic()
    with people_drawing():
        go_back(staff, earlier, folder)
    drawn = drawn_between(began, time.monotonic())
    fact(all_stored(drawn), f"drawn on the way back: {story(drawn)}")
    lost = sorted({column.partition(".")[0] for column in columns - all_columns()})
    fact(rows_until(last) == rows, f"every row of before is there; what goes is of {', '.join(lost) or 'no table'}")

    began = time.monotonic()
    with people_drawing():
        upgrade(staff, folder)
    drawn = drawn_between(began, time.monotonic())
    fact(all_stored(drawn), f"drawn during the upgrade: {story(drawn)}")
    fact(rows_until(last) == rows and all_columns() == columns, "every row of before is there, and every column again")


def go_back(staff: dict[str, str], earlier: Path, folder: Path) -> None:
    """Give each host the earlier code, then undo the migrations that it does not know."""
    for host in WEB:
        restart_web(host, folder, earlier)
        all_work(staff, f"the earlier release on {host}, the newer one's tables")
    restart_background(folder, earlier)
    began = time.monotonic()
    for app, name in undoable(earlier):
        manage("web-a", folder, "migrate", app, name)  # the newer code knows how
    fact(True, "with the newer code its migrations are undone", time.monotonic() - began)
    all_work(staff, "the earlier release, its own tables")
    began = time.monotonic()
    number, _ = request_run(staff)
    taken = wait_for(partial(running, number), SOON, "no worker of the earlier release takes a run")
    fact(True, f"a training run is taken by {taken.host}, which runs the earlier release", time.monotonic() - began)
    cancel_run(staff, number)


def upgrade(staff: dict[str, str], folder: Path) -> None:
    """Migrate, then give each host the newer code; a run is on its way meanwhile."""
    number, _ = request_run(staff)
    wait_for(partial(running, number), SOON, "no worker takes the run")
    began = time.monotonic()
    prepare("web-a", folder)
    fact(True, "`prepare` with the newer code migrates", time.monotonic() - began)
    all_work(staff, "the earlier release everywhere, the newer one's tables")
    for host in WEB:
        restart_web(host, folder, ROOT)
        all_work(staff, f"the newer release on {host}")
    restart_background(folder, ROOT)
    began = time.monotonic()
    again = wait_for(partial(running, number), 2 * SOON, "no worker takes the run again")
    what = f"the run whose worker was restarted is begun anew by {again.host}; it is attempt {again.attempt}"
    fact(again.attempt == 1, what, time.monotonic() - began)
    cancel_run(staff, number)


def undoable(earlier: Path) -> list[tuple[str, str]]:
    """Return the apps whose newest migration the earlier release has not got, each with the last that it has."""
    last = {app: (newest_migration(earlier, app), newest_migration(ROOT, app)) for app in APPS}
    return [(app, before) for app, (before, after) in last.items() if before != after]


def newest_migration(code: Path, app: str) -> str:
    return max(file.stem for file in (code / app / "migrations").glob("0*.py"))


def restart_web(host: str, folder: Path, code: Path) -> None:
    """Give a web host other code, and wait until the balancer sends it requests again."""
    prepare(host, folder, code)
    began = time.monotonic()
    stop(host)
    start_web(host, folder, code)
    wait_for(partial(balancer_sees, host), SOON, f"the balancer does not see {host}")
    fact(
        True,
        f"{host} is stopped, started with the {name_of(code)} code, and seen by the balancer",
        time.monotonic() - began,
    )


def restart_background(folder: Path, code: Path) -> None:
    began = time.monotonic()
    for host in WORKERS:
        stop(f"{host} site")
        stop(f"{host} training")
        start_worker(host, folder, code)
        if f"{host} beat" in PARTS:
            stop(f"{host} beat")
            start_beat(host, folder, code)
    fact(True, f"workers and beat are restarted with the {name_of(code)} code, host by host", time.monotonic() - began)


def name_of(code: Path) -> str:
    return "newer" if code == ROOT else "earlier"


def all_work(staff: dict[str, str], when: str) -> None:
    """Draw and correct as a visitor, accept as staff, on each web host by itself."""
    statuses = []
    for host in WEB:
        visitor = Browser()
        visitor.open(host)
        drawn = draw(host, visitor.headers, digit=7)
        said = ask(host, "POST", correction_of(drawn.json["id"]), {"digit": 1}, visitor.headers)
        accepted = ask(host, "POST", f"/api/v1/corrections/{said.json['id']}/accept", {}, staff)
        statuses += [drawn.status, said.status, accepted.status]
    fact(statuses == 2 * [201, 201, 200], f"{when}: draw, correct, accept on each web host answer {statuses}")


def rows_until(last: dict[str, int]) -> dict[str, tuple[int, str]]:
    """Return how many rows of before there are in each table, and a digest of what they hold."""
    digest = "SELECT count(*), md5(string_agg(({})::text, '' ORDER BY id)) FROM {} WHERE id <= %s"
    return {table: query(digest.format(f"ROW({KEPT[table]})", table), last[table])[0] for table in KEPT}


def all_columns() -> set[str]:
    """Return the names of the database's columns, each with its table's."""
    sql = "SELECT table_name || '.' || column_name FROM information_schema.columns WHERE table_schema = 'public'"
    return {column for (column,) in query(sql)}
