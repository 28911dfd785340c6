"""The scenarios. Each prints its checks."""

import re
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.chaos.cluster.checks import check
from benchmarks.chaos.cluster.network import HOSTS, WEB, plug_in, pull
from benchmarks.chaos.cluster.people import PEOPLE, Headers, ask, correction_of, draw, visitor
from benchmarks.chaos.cluster.runs import cancel_run, read_run, request_run, run_taken_by, running_run
from benchmarks.chaos.cluster.site import PARTS, PREVIEWS, SOON, balancer_sees, is_ready, query, start_beat
from benchmarks.chaos.people import SERIAL_IN_INK, Hand, all_stored, count_statuses, describe, drawing_body
from benchmarks.chaos.runs import RUN_TIMEOUT
from benchmarks.harness import ANSWER_TIMEOUT, until

TEACHERS, EACH = 6, 10  # people who draw for the training runs, and the drawings of each
HANGS = 10.0  # seconds that no answer may take, whatever is unreachable
SUPERVISE, NIGHTLY = "training.tasks.supervise", "training.tasks.scheduled_run"


def one_drawing_on_two_hosts(staff: Headers) -> None:
    """Draw on one host, correct on the other one, accept on the first."""
    start, owner = time.monotonic(), visitor("web-a")
    drawn = draw("web-a", owner, digit=7)
    check(
        drawn.status == 201,
        f"a visitor draws on web-a: {drawn.status}, read as {drawn.json['digit']}",
        drawn.seconds,
    )
    path = f"/api/v1/submissions/{drawn.json['id']}"
    correction = ask("web-b", "POST", correction_of(drawn.json["id"]), {"digit": 1}, owner)
    check(correction.status == 201, f"corrects it on web-b, with its cookie: {correction.status}", correction.seconds)
    seen = ask("web-b", "GET", path, headers=visitor("web-b"))
    check(seen.status == 404, f"another visitor does not find it there: {seen.status}", seen.seconds)
    accepted = ask("web-a", "POST", f"/api/v1/corrections/{correction.json['id']}/accept", {}, staff)
    check(accepted.status == 200, f"the admin accepts it on web-a: {accepted.status}", accepted.seconds)
    shown = ask("web-b", "GET", path, headers=owner)
    check('"accepted"' in shown.text, "its owner sees that on web-b", time.monotonic() - start)


def people_teach(staff: Headers) -> None:
    """Let people with unusual handwriting draw and label: something to learn."""
    start, misread = time.monotonic(), 0
    for person in range(TEACHERS):
        owner, side = visitor("balancer"), 1 if person % 2 else -1
        hand = Hand(turn=0.8 * side, slant=-0.4 * side)
        for number in range(EACH):
            drawn = draw("balancer", owner, digit=number % 10, hand=hand).json
            misread += drawn["digit"] != number % 10
            label = ask("balancer", "POST", correction_of(drawn["id"]), {"digit": number % 10}, owner).json
            ask("balancer", "POST", f"/api/v1/corrections/{label['id']}/accept", {}, staff)
    (accepted,) = query("SELECT count(*) FROM recognizer_correction WHERE state = 'accepted'")[0]
    expected = TEACHERS * EACH + 1
    check(
        accepted == expected,
        f"{accepted} labels are accepted, {misread} of their drawings were misread",
        time.monotonic() - start,
    )


def new_version(staff: Headers) -> None:
    """Train, promote, and wait for both web hosts to serve the new version, while people draw."""
    start = time.monotonic()
    with PEOPLE.busy(), watched_versions() as seen:
        number, answer = request_run(staff, "web-a")
        check(True, "a training run is requested on web-a: 202", answer.seconds)
        taken = until(lambda: running_run(number), SOON, "No worker takes the run.")
        check(True, f"{taken.host} takes it", time.monotonic() - start)
        until(lambda: read_run(number).ended, RUN_TIMEOUT, f"The run does not end: {read_run(number)}")
        done = read_run(number)
        check(done.state == "succeeded", f"the run {done.state}: {done.reason}", time.monotonic() - start)
        if active_version() == 1:
            path = f"/api/v1/models/{done.version}/activate"
            activated = ask("web-a", "POST", path, {}, staff)
            check(activated.status == 200, f"a gate failed, so version {done.version} is activated by hand")
        promoted = query("SELECT extract(epoch FROM created) FROM recognizer_promotion ORDER BY id DESC LIMIT 1")[0][0]
        for host in WEB:
            first = until(partial(seen.get, (host, done.version)), 10, f"{host} does not swap.")
            took = first - float(promoted)
            check(took < 2, f"{host} serves version {done.version}, counted from the promotion", took)
        time.sleep(3)
    drawn = PEOPLE.between(start, time.monotonic())
    check(all_stored(drawn), f"drawings meanwhile, through the balancer: {describe(drawn)}")


def active_version() -> int:
    return int(query("SELECT version FROM recognizer_modelversion WHERE state = 'active'")[0][0])


@contextmanager
def watched_versions() -> Iterator[dict[tuple[str, int | None], float]]:
    """Keep asking each web host which version it serves; record when (Unix time) each did so first."""
    seen: dict[tuple[str, int | None], float] = {}
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.1):
            for host in WEB:
                answer = ask(host, "GET", "/readyz")
                if answer.status == 200:
                    seen.setdefault((host, answer.json["model_version"]), time.time())

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield seen
    finally:
        over.set()
        watcher.join()


def without_web_host(host: str, how: str, away: Callable[[], float], back: Callable[[], Any]) -> None:
    """Take a web host away while people draw, and bring it back."""
    with PEOPLE.busy():
        time.sleep(3)
        gone = away()
        until(lambda: not balancer_sees(host), SOON, f"The balancer does not notice that {host} is gone.")
        noticed = time.monotonic()
        check(noticed - gone < 8, f"{host} {how}: the balancer notices", noticed - gone)
        time.sleep(8)
        until_back = time.monotonic()
        back()
        restored = time.monotonic()
        until(partial(balancer_sees, host), SOON, f"The balancer does not notice that {host} is back.")
        check(True, "it is back: the balancer notices", time.monotonic() - restored)
        time.sleep(3)
        end = time.monotonic()
    before, after = PEOPLE.between(gone - ANSWER_TIMEOUT, noticed), PEOPLE.between(noticed, end)
    before = [one for one in before if one.at + one.seconds >= gone]  # in flight when it went, too
    check(set(count_statuses(before)) <= {201, 502, 504}, f"drawings until then: {describe(before)}")
    check(all_stored(after), f"drawings from then on, until after its return: {describe(after)}")
    check(all_stored(PEOPLE.between(until_back, end)), "no drawing failed as it came back")


def without_worker(staff: Headers) -> None:
    """Pull the cable of the worker that has a run. The other one takes it over, and the first one comes back."""
    number, taken = run_taken_by(staff, "worker-b")  # the other one has beat, which must go on
    until(lambda: read_run(number).phase == "fit", RUN_TIMEOUT, f"It does not reach the fit: {read_run(number)}")
    gone = pull("worker-b")
    again = until(lambda: read_run(number).attempt == 2 and running_run(number), SOON, "Nobody takes the run over.")
    check(again.host == "worker-a", f"worker-b cut off in a run: {again.host} takes it over", time.monotonic() - gone)
    time.sleep(3)
    restored = plug_in("worker-b")
    at_work = Path(f"/proc/{taken.process}")  # namespaces share process ids
    until(lambda: not at_work.exists(), SOON, "worker-b goes on with a run that another worker has.")
    check(True, "worker-b is back, sees that its run is taken, and has stopped", time.monotonic() - restored)
    until(lambda: read_run(number).ended, RUN_TIMEOUT, f"The run does not end: {read_run(number)}")
    done = read_run(number)
    right = (done.state, done.attempt, done.host) == ("succeeded", 2, "worker-a")
    check(right, f"the run {done.state} in attempt {done.attempt}: {done.reason}", time.monotonic() - gone)
    made = query("SELECT count(*) FROM recognizer_modelversion WHERE lineage->>'run' = %s", str(number))[0][0]
    check(made == 1, f"it made {made} version")


def without_beat_host(staff: Headers, folder: Path) -> None:
    """Pull the cable of the host that has beat and a run. A second beat goes on alone; afterwards both do."""
    start_beat("worker-b", folder)
    with recorded_messages(folder) as log, PEOPLE.busy():
        start = time.monotonic()
        until(lambda: len(sent_by_host(log, SUPERVISE)) == 2, SOON, "The beats do not both send.")
        check(True, "a second beat is started on worker-b: both send the scheduled tasks", time.monotonic() - start)
        make_nightly_run_due(staff, log)

        number, taken = run_taken_by(staff, "worker-a")
        gone, gone_at = pull("worker-a"), time.time()
        again = until(lambda: read_run(number).attempt == 2 and running_run(number), SOON, "Nobody takes the run over.")
        what = f"worker-a, with beat and a run, is cut off: {again.host}'s beat goes on, and it takes the run over"
        check(again.host == "worker-b", what, time.monotonic() - gone)
        time.sleep(60)
        cut_at = time.time()
        sent = sent_by_host(log, SUPERVISE)
        alone = [gone_at, *(at for at in sent["worker-b"] if at > gone_at), cut_at]
        longest = max(later - earlier for earlier, later in pairwise(alone))
        silent = not [at for at in sent["worker-a"] if at > gone_at]
        check(silent and longest < 20, "it supervises runs every 15 s all the while; the longest pause", longest)

        restored = plug_in("worker-a")
        away = PEOPLE.between(gone, restored)
        check(all_stored(away), f"drawings meanwhile: {describe(away)}")
        at_work = Path(f"/proc/{taken.process}")
        until(lambda: not at_work.exists(), SOON, "worker-a goes on with a run that another worker has.")
        check(True, "worker-a is back, sees that its run is taken, and has stopped", time.monotonic() - restored)
        until(lambda: sent_by_host(log, SUPERVISE)["worker-a"][-1] > cut_at + 1, SOON, "worker-a's beat is silent.")
        check(True, "its beat sends again, without a restart", time.monotonic() - restored)
        time.sleep(20)  # by then both have supervised runs
        now = read_run(number)
        right = now.state in ("running", "succeeded") and (now.attempt, now.host) == (2, "worker-b")
        check(right, f"the run is {now.state} on {now.host}, in attempt {now.attempt}, and nowhere else")
        cancel_run(staff, number)


def make_nightly_run_due(staff: Headers, log: Path) -> None:
    """Schedule the nightly run for the next minute: both beats send it at once, and only one run is created."""
    (runs,) = query("SELECT count(*) FROM training_trainingrun")[0]
    due = datetime.now(UTC) + timedelta(seconds=75)  # a beat sees a changed schedule within seconds
    schedule_nightly_run(due.hour, due.minute)
    until(lambda: len(sent_by_host(log, NIGHTLY)) == 2, 2 * SOON, "The beats do not both send the nightly run.")
    first, second = sorted(times[0] for times in sent_by_host(log, NIGHTLY).values())
    time.sleep(5)  # by then workers have taken both messages
    (after,) = query("SELECT count(*) FROM training_trainingrun")[0]
    made, apart = after - runs, 1000 * (second - first)
    check(made == 1, f"the nightly run is due: both send it, {apart:.0f} ms apart, and {made} run is created")
    schedule_nightly_run(2, 30)
    (newest,) = query("SELECT max(id) FROM training_trainingrun")[0]
    cancel_run(staff, newest)


def schedule_nightly_run(hour: int, minute: int) -> None:
    """Change the schedule, as an admin would."""
    crontab = "SELECT crontab_id FROM django_celery_beat_periodictask WHERE task = %s"
    change = (
        f"UPDATE django_celery_beat_crontabschedule SET hour = %s, minute = %s WHERE id IN ({crontab}) RETURNING id"
    )
    query(change, str(hour), str(minute), NIGHTLY)
    query("UPDATE django_celery_beat_periodictasks SET last_update = now() RETURNING ident")


@contextmanager
def recorded_messages(folder: Path) -> Iterator[Path]:
    """Record every command that Redis gets."""
    log = folder / "redis-commands.txt"
    with log.open("w") as output:
        monitor = subprocess.Popen(["redis-cli", "-h", HOSTS["redis"], "monitor"], stdout=output)
    try:
        yield log
    finally:
        monitor.kill()
        monitor.wait()


def sent_by_host(log: Path, task: str) -> dict[str, list[float]]:
    """Return when each host sent messages for a task (Unix time)."""
    hosts = {address: host for host, address in HOSTS.items()}
    times: dict[str, list[float]] = {}
    for line in log.read_text().splitlines():
        sent = re.match(r'([\d.]+) \[0 ([\d.]+):\d+\] "LPUSH"', line)
        if sent and rf"\"{task}\"" in line:
            times.setdefault(hosts[sent[2]], []).append(float(sent[1]))
    return times


def without_database(staff: Headers) -> None:
    """Pull the database's cable: what needs it says so, and everything recovers by itself."""
    with PEOPLE.busy():
        time.sleep(2)
        gone = pull("database")
        until(lambda: not any(map(balancer_sees, WEB)), SOON, "The balancer notices nothing.")
        check(True, "the database is cut off: the balancer sees that no web host is ready", time.monotonic() - gone)
        time.sleep(8)
        refused = draw("balancer")
        clear = refused.status == 503 and "database" in refused.json["detail"] and refused.seconds < HANGS
        check(clear, f"a drawing is answered {refused.status} {refused.text}", refused.seconds)
        page = ask("balancer", "GET", "/models")
        own_page = page.status == 503 and "Back in a moment" in page.text
        check(
            own_page,
            f"a page is answered {page.status}, the site's own, Retry-After {page.headers.get('Retry-After')}",
            page.seconds,
        )
        for host in WEB:
            ready = ask(host, "GET", "/readyz")
            problem = f"/readyz of {host}: {ready.status}, {ready.json['problem']}"
            check(ready.status == 503, problem, ready.seconds)
        home = ask("balancer", "GET", "/")
        preview = ask("balancer", "POST", "/api/v1/previews", drawing_body(3))
        both = (home.status, preview.status) == (200, 200)
        check(
            both,
            "the home page and the live answer need no database; the slower one",
            max(home.seconds, preview.seconds),
        )
        restored = plug_in("database")
        away = PEOPLE.between(gone, restored)
        for host in WEB:
            until(partial(is_ready, host), SOON, f"{host} does not recover.")
            check(True, f"the database is back: {host} is ready", time.monotonic() - restored)
        until(lambda: draw("balancer").status == 201, SOON, "Nobody can draw.")
        check(True, "a drawing is stored", time.monotonic() - restored)
        until(lambda: all(map(balancer_sees, WEB)), SOON, "The balancer does not see it.")
        well = time.monotonic()
        time.sleep(5)
        drawn = PEOPLE.between(well, time.monotonic())
    clear = set(count_statuses(away)) <= {201, 503} and max(one.seconds for one in away) < HANGS
    check(clear, f"drawings meanwhile: {describe(away)}")
    check(all_stored(drawn), f"drawings afterwards: {describe(drawn)}")
    start = time.monotonic()
    number, _ = request_run(staff)
    taken = until(lambda: running_run(number), 2 * SOON, "No worker takes a run.")
    check(True, f"a training run is taken by {taken.host}, without a restart", time.monotonic() - start)
    cancel_run(staff, number)


def without_redis(staff: Headers) -> None:
    """Pull Redis's cable: everything goes on, but each host counts calls alone, and workers get no messages."""
    check(True, f"throttle, {PREVIEWS} previews a minute, hosts in turn: {allowed_previews('203.0.113.1')} allowed")
    owner = visitor("balancer")
    with PEOPLE.busy():
        gone = pull("redis")
        time.sleep(12)
        mine = draw("balancer", owner)
        correction = ask("balancer", "POST", correction_of(mine.json["id"]), {"digit": 3}, owner)
        listed = ask("balancer", "GET", "/api/v1/submissions", headers=owner)
        statuses = (mine.status, correction.status, listed.status)
        longest = max(mine.seconds, correction.seconds, listed.seconds)
        check(
            statuses == (201, 201, 200),
            f"Redis cut off: draw, correct, list answer {statuses}; the longest",
            longest,
        )
        alone = allowed_previews("203.0.113.2")
        check(alone == 2 * PREVIEWS, f"throttle, hosts in turn: {alone} allowed, {PREVIEWS} by each host on its own")
        number, answer = request_run(staff)
        check(answer.seconds < HANGS, "a training run is requested: 202, it stays queued", answer.seconds)
        time.sleep(10)
        away = PEOPLE.between(gone, time.monotonic())
        restored = plug_in("redis")
        drawn = [one for one in away if one.seconds > 1]
        check(
            all_stored(away) and not drawn, f"drawings meanwhile: {describe(away)}; {len(drawn)} took longer than 1 s"
        )
        until(lambda: running_run(number), 3 * SOON, "No worker takes the waiting run.")
        check(True, "Redis is back: beat finds the waiting run, and a worker takes it", time.monotonic() - restored)
        cancel_run(staff, number)
    shared = allowed_previews("203.0.113.3")
    check(shared == PREVIEWS, f"throttle, hosts in turn: {shared} allowed, counted together again")


def allowed_previews(client: str) -> int:
    """Preview as one client on both hosts in turn; return how many previews were allowed."""
    headers = {"X-Forwarded-For": client}
    body = drawing_body(3)
    answers = [ask(WEB[number % 2], "POST", "/api/v1/previews", body, headers) for number in range(3 * PREVIEWS)]
    return sum(answer.status == 200 for answer in answers)


def nothing_ended() -> None:
    dead = [name for name, part in PARTS.items() if part.process.poll() is not None]
    check(not dead, f"parts that ended by themselves: {', '.join(dead) or 'none'}")


def every_drawing_is_stored() -> None:
    """Compare the answers with the database."""
    given = [one.id for one in PEOPLE.sent if one.id is not None]
    stored: dict[int, int] = dict(query(f"SELECT id, {SERIAL_IN_INK} FROM recognizer_submission"))
    twice = [serial for serial, count in Counter(stored.values()).items() if count > 1]
    found = sum(one.id is not None and stored.get(one.id) == one.serial for one in PEOPLE.sent)
    same = found == len(given) == len(set(given)) and not twice
    check(same, f"{len(given)} drawings were answered 201, {found} of them are stored, {len(twice)} twice")
    unheard = len(set(stored) - set(given))
    print(f"{'':18} {len(PEOPLE.sent)} were sent in all; {unheard} were stored, but their answer was lost")
