"""What is played: each scene prints its facts."""

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

from benchmarks.cluster.facts import fact
from benchmarks.cluster.network import HOSTS, WEB, plug_in, pull
from benchmarks.cluster.people import (
    ANSWER,
    DRAWN,
    SERIAL_IN_INK,
    UPRIGHT,
    Browser,
    Hand,
    all_stored,
    ask,
    correction_of,
    count_statuses,
    draw,
    drawing,
    drawn_between,
    people_drawing,
    story,
)
from benchmarks.cluster.runs import RUN, cancel_run, look_at, request_run, run_taken_by, running
from benchmarks.cluster.site import PARTS, PREVIEWS, SOON, balancer_sees, is_ready, query, start_beat, wait_for

PEOPLE, EACH = 6, 10  # who draw for the training runs, and what each of them draws
HANGS = 10.0  # seconds that no answer may take, whatever is away
SUPERVISE, NIGHTLY = "training.tasks.supervise", "training.tasks.scheduled_run"


def one_drawing_on_three_requests(staff: dict[str, str]) -> None:
    """Draw on one host, correct on the other one, accept on the first."""
    began, visitor = time.monotonic(), Browser()
    visitor.open("web-a")
    drawn = draw("web-a", visitor.headers, digit=7)
    fact(drawn.status == 201, f"a visitor draws on web-a: {drawn.status}, read as {drawn.json['digit']}", drawn.seconds)
    path = f"/api/v1/submissions/{drawn.json['id']}"
    said = ask("web-b", "POST", correction_of(drawn.json["id"]), {"digit": 1}, visitor.headers)
    fact(said.status == 201, f"corrects it on web-b, by the cookie of web-a: {said.status}", said.seconds)
    stranger = Browser()
    stranger.open("web-b")
    seen = ask("web-b", "GET", path, headers=stranger.headers)
    fact(seen.status == 404, f"somebody else does not find it there: {seen.status}", seen.seconds)
    accepted = ask("web-a", "POST", f"/api/v1/corrections/{said.json['id']}/accept", {}, staff)
    fact(accepted.status == 200, f"the admin accepts it on web-a: {accepted.status}", accepted.seconds)
    shown = ask("web-b", "GET", path, headers=visitor.headers)
    fact('"accepted"' in shown.text, "its owner sees that on web-b", time.monotonic() - began)


def people_teach(staff: dict[str, str]) -> None:
    """Let people with uncommon hands draw, and say what their digits are: something to learn."""
    began, misread = time.monotonic(), 0
    for person in range(PEOPLE):
        visitor, side = Browser(), 1 if person % 2 else -1
        visitor.open("balancer")
        hand = Hand(turn=0.8 * side, slant=-0.4 * side)
        for number in range(EACH):
            drawn = draw("balancer", visitor.headers, digit=number % 10, hand=hand).json
            misread += drawn["digit"] != number % 10
            said = ask("balancer", "POST", correction_of(drawn["id"]), {"digit": number % 10}, visitor.headers).json
            ask("balancer", "POST", f"/api/v1/corrections/{said['id']}/accept", {}, staff)
    (accepted,) = query("SELECT count(*) FROM recognizer_correction WHERE state = 'accepted'")[0]
    expected = PEOPLE * EACH + 1
    fact(
        accepted == expected,
        f"{accepted} labels are said and accepted, {misread} of them misread at first",
        time.monotonic() - began,
    )


def new_version(staff: dict[str, str]) -> None:
    """Train, promote, and see both web hosts serve the new version, while people draw."""
    began = time.monotonic()
    with people_drawing(), watched_versions() as seen:
        number, answer = request_run(staff, "web-a")
        fact(True, "a training run is asked for on web-a: 202", answer.seconds)
        taken = wait_for(lambda: running(number), SOON, "no worker takes the run")
        fact(True, f"{taken.host} takes it", time.monotonic() - began)
        wait_for(lambda: look_at(number).over, RUN, f"the run does not end: {look_at(number)}")
        done = look_at(number)
        fact(done.state == "succeeded", f"the run {done.state}: {done.reason}", time.monotonic() - began)
        if active_version() == 1:
            path = f"/api/v1/models/{done.version}/activate"
            activated = ask("web-a", "POST", path, {}, staff)
            fact(activated.status == 200, f"its gates said no, so version {done.version} is activated by hand")
        promoted = query("SELECT extract(epoch FROM created) FROM recognizer_promotion ORDER BY id DESC LIMIT 1")[0][0]
        for host in WEB:
            first = wait_for(partial(seen.get, (host, done.version)), 10, f"{host} does not swap")
            took = first - float(promoted)
            fact(took < 2, f"{host} serves version {done.version}, counted from the promotion", took)
        time.sleep(3)
    drawn = drawn_between(began, time.monotonic())
    fact(all_stored(drawn), f"drawn meanwhile through the balancer: {story(drawn)}")


def active_version() -> int:
    return int(query("SELECT version FROM recognizer_modelversion WHERE state = 'active'")[0][0])


@contextmanager
def watched_versions() -> Iterator[dict[tuple[str, int | None], float]]:
    """Keep asking each web host which version it serves; note when (Unix time) each said so first."""
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


def without_a_web_host(host: str, how: str, away: Callable[[], float], back: Callable[[], Any]) -> None:
    """Take a web host away while people draw, and bring it back."""
    with people_drawing():
        time.sleep(3)
        gone = away()
        wait_for(lambda: not balancer_sees(host), SOON, f"the balancer does not notice that {host} is gone")
        noticed = time.monotonic()
        fact(noticed - gone < 8, f"{host} {how}: the balancer notices", noticed - gone)
        time.sleep(8)
        until_back = time.monotonic()
        back()
        restored = time.monotonic()
        wait_for(partial(balancer_sees, host), SOON, f"the balancer does not notice that {host} is back")
        fact(True, "it is back: the balancer notices", time.monotonic() - restored)
        time.sleep(3)
        end = time.monotonic()
    before, after = drawn_between(gone - ANSWER, noticed), drawn_between(noticed, end)
    before = [one for one in before if one.at + one.seconds >= gone]  # in flight when it went, too
    fact(set(count_statuses(before)) <= {201, 502, 504}, f"drawn until it was noticed: {story(before)}")
    fact(all_stored(after), f"drawn from then on, while away and after: {story(after)}")
    fact(all_stored(drawn_between(until_back, end)), "none failed as it came back")


def without_a_worker(staff: dict[str, str]) -> None:
    """Pull the cable of the worker that has a run; the other one takes it over, and the first one comes back."""
    number, taken = run_taken_by(staff, "worker-b")  # beat is on the other one, and is to go on
    wait_for(lambda: look_at(number).phase == "fit", RUN, f"it does not come to learning: {look_at(number)}")
    gone = pull("worker-b")
    again = wait_for(lambda: look_at(number).attempt == 2 and running(number), SOON, "nobody takes the run over")
    fact(again.host == "worker-a", f"worker-b cut in a run: {again.host} takes it over", time.monotonic() - gone)
    time.sleep(3)
    restored = plug_in("worker-b")
    at_work = Path(f"/proc/{taken.process}")  # namespaces share the numbers of processes
    wait_for(lambda: not at_work.exists(), SOON, "worker-b goes on with a run that is not its own any more")
    fact(True, "worker-b is back, sees that the run is another's, and has stopped", time.monotonic() - restored)
    wait_for(lambda: look_at(number).over, RUN, f"the run does not end: {look_at(number)}")
    done = look_at(number)
    right = (done.state, done.attempt, done.host) == ("succeeded", 2, "worker-a")
    fact(right, f"the run {done.state} in attempt {done.attempt}: {done.reason}", time.monotonic() - gone)
    made = query("SELECT count(*) FROM recognizer_modelversion WHERE lineage->>'run' = %s", str(number))[0][0]
    fact(made == 1, f"it made {made} version")


def without_beats_host(staff: dict[str, str], folder: Path) -> None:
    """Pull the cable of the host that has beat, and a run; a second beat goes on alone, and afterwards both do."""
    start_beat("worker-b", folder)
    with noted_messages(folder) as log, people_drawing():
        began = time.monotonic()
        wait_for(lambda: len(sent_by_host(log, SUPERVISE)) == 2, SOON, "the beats do not both send")
        fact(True, "a second beat is started on worker-b: both send what is scheduled", time.monotonic() - began)
        let_the_nightly_run_be_due(staff, log)

        number, taken = run_taken_by(staff, "worker-a")
        gone, gone_at = pull("worker-a"), time.time()
        again = wait_for(lambda: look_at(number).attempt == 2 and running(number), SOON, "nobody takes the run over")
        what = f"worker-a cut, with its beat and a run: {again.host}'s beat goes on, and it takes the run over"
        fact(again.host == "worker-b", what, time.monotonic() - gone)
        time.sleep(60)
        cut_at = time.time()
        sent = sent_by_host(log, SUPERVISE)
        alone = [gone_at, *(at for at in sent["worker-b"] if at > gone_at), cut_at]
        longest = max(later - earlier for earlier, later in pairwise(alone))
        silent = not [at for at in sent["worker-a"] if at > gone_at]
        fact(silent and longest < 20, "it looks after runs every 15 s all the while; the longest pause", longest)

        restored = plug_in("worker-a")
        away = drawn_between(gone, restored)
        fact(all_stored(away), f"drawn meanwhile: {story(away)}")
        at_work = Path(f"/proc/{taken.process}")
        wait_for(lambda: not at_work.exists(), SOON, "worker-a goes on with a run that is not its own any more")
        fact(True, "worker-a is back, sees that the run is another's, and has stopped", time.monotonic() - restored)
        wait_for(lambda: sent_by_host(log, SUPERVISE)["worker-a"][-1] > cut_at + 1, SOON, "worker-a's beat is silent")
        fact(True, "its beat sends again, and was not restarted", time.monotonic() - restored)
        time.sleep(20)  # both have looked after runs since
        now = look_at(number)
        right = now.state in ("running", "succeeded") and (now.attempt, now.host) == (2, "worker-b")
        fact(right, f"the run is {now.state} on {now.host}, in attempt {now.attempt}, and nowhere else")
        cancel_run(staff, number)


def let_the_nightly_run_be_due(staff: dict[str, str], log: Path) -> None:
    """Set the clock of the nightly run to the next minute: both beats send it at once, and one run comes of it."""
    (runs,) = query("SELECT count(*) FROM training_trainingrun")[0]
    due = datetime.now(UTC) + timedelta(seconds=75)  # a beat sees within seconds that the schedule was changed
    schedule_nightly_run(due.hour, due.minute)
    wait_for(lambda: len(sent_by_host(log, NIGHTLY)) == 2, 2 * SOON, "the beats do not both send the nightly run")
    first, second = sorted(times[0] for times in sent_by_host(log, NIGHTLY).values())
    time.sleep(5)  # workers look at both messages
    (after,) = query("SELECT count(*) FROM training_trainingrun")[0]
    made, apart = after - runs, 1000 * (second - first)
    fact(made == 1, f"the nightly run is due: both send it, {apart:.0f} ms apart, and {made} run comes of it")
    schedule_nightly_run(2, 30)
    (newest,) = query("SELECT max(id) FROM training_trainingrun")[0]
    cancel_run(staff, newest)


def schedule_nightly_run(hour: int, minute: int) -> None:
    """Change the schedule, as an admin would."""
    of_it = "SELECT crontab_id FROM django_celery_beat_periodictask WHERE task = %s"
    change = f"UPDATE django_celery_beat_crontabschedule SET hour = %s, minute = %s WHERE id IN ({of_it}) RETURNING id"
    query(change, str(hour), str(minute), NIGHTLY)
    query("UPDATE django_celery_beat_periodictasks SET last_update = now() RETURNING ident")


@contextmanager
def noted_messages(folder: Path) -> Iterator[Path]:
    """Let Redis write down every command that it gets."""
    log = folder / "redis-commands.txt"
    with log.open("w") as output:
        monitor = subprocess.Popen(["redis-cli", "-h", HOSTS["redis"], "monitor"], stdout=output)
    try:
        yield log
    finally:
        monitor.kill()
        monitor.wait()


def sent_by_host(log: Path, task: str) -> dict[str, list[float]]:
    """Return when each host sent messages of a task (Unix time)."""
    hosts = {address: host for host, address in HOSTS.items()}
    times: dict[str, list[float]] = {}
    for line in log.read_text().splitlines():
        sent = re.match(r'([\d.]+) \[0 ([\d.]+):\d+\] "LPUSH"', line)
        if sent and rf"\"{task}\"" in line:
            times.setdefault(hosts[sent[2]], []).append(float(sent[1]))
    return times


def without_database(staff: dict[str, str]) -> None:
    """Pull the database's cable: what needs it says so, and all of it comes back by itself."""
    with people_drawing():
        time.sleep(2)
        gone = pull("database")
        wait_for(lambda: not any(map(balancer_sees, WEB)), SOON, "the balancer notices nothing")
        fact(True, "database cut: the balancer sees that no web host is ready", time.monotonic() - gone)
        time.sleep(8)
        refused = draw("balancer")
        clear = refused.status == 503 and "database" in refused.json["detail"] and refused.seconds < HANGS
        fact(clear, f"a drawing is answered {refused.status} {refused.text}", refused.seconds)
        page = ask("balancer", "GET", "/models")
        designed = page.status == 503 and "Back in a moment" in page.text
        fact(
            designed,
            f"a page is answered {page.status}, designed, Retry-After {page.headers['Retry-After']}",
            page.seconds,
        )
        for host in WEB:
            ready = ask(host, "GET", "/readyz")
            problem = f"/readyz of {host}: {ready.status}, {ready.json['problem']}"
            fact(ready.status == 503, problem, ready.seconds)
        home = ask("balancer", "GET", "/")
        preview = ask("balancer", "POST", "/api/v1/previews", drawing(3, 0, UPRIGHT))
        both = (home.status, preview.status) == (200, 200)
        fact(both, "the home page and the live answer need no database; the slower", max(home.seconds, preview.seconds))
        restored = plug_in("database")
        away = drawn_between(gone, restored)
        for host in WEB:
            wait_for(partial(is_ready, host), SOON, f"{host} does not recover")
            fact(True, f"the database is back: {host} is ready", time.monotonic() - restored)
        wait_for(lambda: draw("balancer").status == 201, SOON, "nobody can draw")
        fact(True, "a drawing is stored", time.monotonic() - restored)
        wait_for(lambda: all(map(balancer_sees, WEB)), SOON, "the balancer does not see it")
        well = time.monotonic()
        time.sleep(5)
        drawn = drawn_between(well, time.monotonic())
    told = set(count_statuses(away)) <= {201, 503} and max(one.seconds for one in away) < HANGS
    fact(told, f"drawn meanwhile: {story(away)}")
    fact(all_stored(drawn), f"drawn after: {story(drawn)}")
    began = time.monotonic()
    number, _ = request_run(staff)
    taken = wait_for(lambda: running(number), 2 * SOON, "no worker takes a run")
    fact(True, f"a training run is taken by {taken.host}, nothing was restarted", time.monotonic() - began)
    cancel_run(staff, number)


def without_redis(staff: dict[str, str]) -> None:
    """Pull Redis's cable: all goes on, but hosts count calls alone, and nothing is sent to workers."""
    fact(True, f"throttle, {PREVIEWS} previews a minute, hosts in turn: {allowed_previews('203.0.113.1')} let in")
    visitor = Browser()
    visitor.open("balancer")
    with people_drawing():
        gone = pull("redis")
        time.sleep(12)
        mine = draw("balancer", visitor.headers)
        said = ask("balancer", "POST", correction_of(mine.json["id"]), {"digit": 3}, visitor.headers)
        listed = ask("balancer", "GET", "/api/v1/submissions", headers=visitor.headers)
        statuses = (mine.status, said.status, listed.status)
        longest = max(mine.seconds, said.seconds, listed.seconds)
        fact(statuses == (201, 201, 200), f"Redis cut: draw, correct, list answer {statuses}; the longest", longest)
        alone = allowed_previews("203.0.113.2")
        fact(alone == 2 * PREVIEWS, f"throttle, hosts in turn: {alone} let in, {PREVIEWS} by each host on its own")
        number, answer = request_run(staff)
        fact(answer.seconds < HANGS, "a training run is asked for: 202, it stays queued", answer.seconds)
        time.sleep(10)
        away = drawn_between(gone, time.monotonic())
        restored = plug_in("redis")
        drawn = [one for one in away if one.seconds > 1]
        fact(all_stored(away) and not drawn, f"drawn meanwhile: {story(away)}; {len(drawn)} took longer than 1 s")
        wait_for(lambda: running(number), 3 * SOON, "no worker takes the run that waits")
        fact(True, "Redis is back: beat finds the waiting run, and a worker takes it", time.monotonic() - restored)
        cancel_run(staff, number)
    shared = allowed_previews("203.0.113.3")
    fact(shared == PREVIEWS, f"throttle, hosts in turn: {shared} let in, counted together again")


def allowed_previews(client: str) -> int:
    """Let a client, named as the balancer would, preview on both hosts in turn; return how many were let in."""
    headers = {"X-Forwarded-For": client}
    body = drawing(3, 0, UPRIGHT)
    answers = [ask(WEB[number % 2], "POST", "/api/v1/previews", body, headers) for number in range(3 * PREVIEWS)]
    return sum(answer.status == 200 for answer in answers)


def nothing_ended() -> None:
    dead = [name for name, part in PARTS.items() if part.process.poll() is not None]
    fact(not dead, f"parts that ended by themselves: {', '.join(dead) or 'none'}")


def every_answer_is_kept() -> None:
    """Compare what was answered with what the database holds."""
    given = [one.id for one in DRAWN if one.id is not None]
    stored: dict[int, int] = dict(query(f"SELECT id, {SERIAL_IN_INK} FROM recognizer_submission"))
    twice = [serial for serial, count in Counter(stored.values()).items() if count > 1]
    kept = sum(one.id is not None and stored.get(one.id) == one.serial for one in DRAWN)
    same = kept == len(given) == len(set(given)) and not twice
    fact(same, f"{len(given)} drawings were answered 201, {kept} of them are stored, {len(twice)} twice")
    unheard = len(set(stored) - set(given))
    print(f"{'':18} {len(DRAWN)} were sent in all; {unheard} were stored whose answer got lost on its way")
