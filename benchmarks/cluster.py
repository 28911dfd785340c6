"""Seven hosts on one machine, and what happens when their cables are pulled: the site on several hosts, in earnest.

    make cluster-test        (as root, on Debian; needs the packages redis-server, postgresql, haproxy and iproute2)

Each host is a network namespace with an address, a host name and an empty HDR_DATA_DIR of its own, on one bridge: the
database, Redis, two web servers, a load balancer, two workers. They share DATABASE_URL, REDIS_URL and SECRET_KEY,
nothing else. Training runs are real ones, so it takes about ten minutes. Each line is a fact with measured seconds;
a FAILED one should be otherwise, and the exit status is then 1. `--clean` removes what a killed one left behind.
"""

import argparse
import itertools
import json
import math
import os
import random
import re
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
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPConnection, HTTPException
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import psycopg

ROOT = Path(__file__).resolve().parent.parent
BRIDGE, NETWORK = "digits0", "10.213.77"
HOSTS = {  # and their addresses in the network; this script is .1, on the bridge
    "database": f"{NETWORK}.2",
    "redis": f"{NETWORK}.3",
    "balancer": f"{NETWORK}.4",
    "web-a": f"{NETWORK}.11",
    "web-b": f"{NETWORK}.12",
    "worker-a": f"{NETWORK}.21",  # beat runs here
    "worker-b": f"{NETWORK}.22",
}
WEB = ("web-a", "web-b")
WORKERS = ("worker-a", "worker-b")
PORTS = {"balancer": 80, "web-a": 8000, "web-b": 8000}
DATABASE_URL = f"postgres://digits@{HOSTS['database']}/postgres"

PREVIEWS = 20  # a minute, of one client: few, so that the throttle is seen
SERIAL_IN_INK = "(ink->'strokes'->0->0->>2)::numeric::int"  # see `drawing`
PEOPLE, EACH = 6, 10  # who draw for the training runs, and what each of them draws
CLIENTS, PAUSE = 2, 0.3  # who draw all the time, and the seconds between two drawings of one
ANSWER = 30.0  # seconds after which a client gives up
HANGS = 10.0  # seconds that no answer may take, whatever is away
SOON, RUN = 90.0, 400.0  # seconds in which a start or a change is seen; in which a run is over

DATABASE_SETTINGS = {
    "listen_addresses": HOSTS["database"],
    # A host that is gone may have held a lock: let the server notice, too. By itself it takes two hours.
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
}

BALANCER = """
global
    maxconn 1000
defaults
    mode http
    timeout client 30s
    timeout connect 500ms
    timeout server 15s
    timeout check 2s
    option forwardfor
    option http-server-close       # a request that finds no server is safe to send to the other one: …
    option redispatch 1            # … nothing of it was sent
    retries 3
    default-server inter 1s fall 2 rise 1
frontend site
    bind {balancer}:80
    http-request set-header X-Forwarded-Proto http
    use_backend ready if {{ nbsrv(ready) gt 0 }}
    default_backend alive          # none is ready (the database is away): they still say so better than a balancer
backend ready
    option httpchk
    http-check send meth GET uri /readyz ver HTTP/1.1 hdr Host {balancer}
    server web-a {web-a}:8000 check
    server web-b {web-b}:8000 check
backend alive
    server web-a {web-a}:8000
    server web-b {web-b}:8000
frontend state
    bind {balancer}:8404
    stats enable
    stats uri /stats
"""


# --- Hosts, cables and processes --------------------------------------------------------------------------------------


@dataclass(slots=True)
class Part:
    """A process on one of the hosts."""

    host: str
    process: subprocess.Popen[bytes]
    log: Path

    def said(self, text: str) -> bool:
        return text in self.log.read_text(errors="replace")

    def kill(self) -> None:
        """Kill it and all that it started, without warning."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


PARTS: dict[str, Part] = {}


def run(*command: str) -> None:
    subprocess.run(command, check=True)


def require_what_is_needed() -> None:
    if os.geteuid() != 0:
        raise SystemExit("Only root can make network namespaces: sudo make cluster-test")
    packages = {"redis-server": "redis-server", "haproxy": "haproxy", "ip": "iproute2"}
    missing = [package for command, package in packages.items() if not shutil.which(command)]
    if not list(Path("/usr/lib/postgresql").glob("*/bin/initdb")):
        missing.append("postgresql")
    if missing:
        raise SystemExit(f"Missing: apt-get install -y --no-install-recommends {' '.join(missing)}")
    if not list(mnist().glob("*-ubyte.gz")):
        raise SystemExit(f"MNIST is not in {mnist()}: name its folder in HDR_MNIST_DIR, or run manage.py fetch_mnist.")
    for name in (BRIDGE, *map(cable, HOSTS)):
        if Path(f"/sys/class/net/{name}").exists():
            raise SystemExit(f"{name} is there already: another one is running, or clean up with --clean.")


def mnist() -> Path:
    return Path(os.environ.get("HDR_MNIST_DIR") or ROOT / "var" / "mnist").resolve()


def build_network() -> None:
    run("ip", "link", "add", BRIDGE, "type", "bridge", "forward_delay", "0")
    run("ip", "address", "add", f"{NETWORK}.1/24", "dev", BRIDGE)
    run("ip", "link", "set", BRIDGE, "up")
    for host, address in HOSTS.items():
        run("ip", "netns", "add", namespace(host))
        run("ip", "link", "add", cable(host), "type", "veth", "peer", "name", "eth0", "netns", namespace(host))
        run("ip", "link", "set", cable(host), "master", BRIDGE, "up")
        inside = ("ip", "-netns", namespace(host))
        run(*inside, "address", "add", f"{address}/24", "dev", "eth0")
        run(*inside, "link", "set", "eth0", "up")
        run(*inside, "link", "set", "lo", "up")


def namespace(host: str) -> str:
    return f"digits-{host}"


def cable(host: str) -> str:
    return f"dig-{host}"


def pull(host: str) -> float:
    """Pull a host's cable: whatever is sent to it or by it is lost without a word. Return when."""
    run("ip", "link", "set", cable(host), "down")
    return time.monotonic()


def plug_in(host: str) -> float:
    run("ip", "link", "set", cable(host), "up")
    return time.monotonic()


def clean_up(folder: Path | None) -> None:
    """Remove processes, namespaces, the bridge and all files; never fails, whatever is there."""
    if "database" in PARTS:  # killed, PostgreSQL would leave its shared memory behind
        PARTS["database"].process.send_signal(signal.SIGQUIT)
        try:
            PARTS["database"].process.wait(10)
        except subprocess.TimeoutExpired:
            print("PostgreSQL did not stop, so it is killed.")
    for host in HOSTS:
        found = subprocess.run(["ip", "netns", "pids", namespace(host)], capture_output=True, text=True, check=False)
        for pid in found.stdout.split():
            try:
                os.kill(int(pid), signal.SIGKILL)
            except ProcessLookupError:
                continue
        # The cable by itself: a namespace lives on for a while if its connections still have something to send.
        subprocess.run(["ip", "link", "delete", cable(host)], stderr=subprocess.DEVNULL, check=False)
        subprocess.run(["ip", "netns", "delete", namespace(host)], stderr=subprocess.DEVNULL, check=False)
    for part in PARTS.values():
        part.process.wait()
    subprocess.run(["ip", "link", "delete", BRIDGE], stderr=subprocess.DEVNULL, check=False)
    if folder:
        shutil.rmtree(folder, ignore_errors=True)


def start(name: str, host: str, folder: Path, *command: str) -> Part:
    """Start a process on a host; the host's folder is its data directory and its working directory's stand-in."""
    log = folder / f"{name}.log"
    with log.open("a") as output:
        process = subprocess.Popen(
            on(host, *command),
            cwd=ROOT,
            env=environment(host, folder),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    PARTS[name] = Part(host, process, log)
    return PARTS[name]


def on(host: str, *command: str) -> list[str]:
    """Return a command that runs another one in a host's network and under its name."""
    named = ["unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', host]
    return ["ip", "netns", "exec", namespace(host), *named, *command]


def environment(host: str, folder: Path) -> dict[str, str]:
    """Return a host's whole environment; nothing of this process's own is in it but where programs are."""
    data = folder / host
    data.mkdir(exist_ok=True)
    return {
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "HDR_DATA_DIR": str(data),
        "HDR_MNIST_DIR": str(mnist()),
        "DATABASE_URL": DATABASE_URL,
        "REDIS_URL": f"redis://{HOSTS['redis']}:6379/0",
        "SECRET_KEY": "the same on every host",
        "ALLOWED_HOSTS": ",".join(HOSTS.values()),
        "HDR_PROXIES": "1",
        "HDR_REVIEW": "all",  # this script is the reviewer
        "HDR_THROTTLES": f"previews={PREVIEWS}/min,submissions=3000/min,corrections=3000/min,writes=3000/min",
        "HOST": HOSTS[host],
        "WEB_CONCURRENCY": "1",
        "DJANGO_SUPERUSER_PASSWORD": "cluster",
    }


# --- The parts of the site --------------------------------------------------------------------------------------------


def start_database(folder: Path) -> None:
    """Start PostgreSQL, which refuses to run as root."""
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1]
    as_postgres = ("setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups")
    data = folder / "postgres"
    data.mkdir()
    shutil.chown(data, "postgres", "postgres")
    made = subprocess.run(
        [*as_postgres, f"{binaries}/initdb", "-D", str(data), "-U", "digits", "--auth", "trust"],
        cwd=data,
        capture_output=True,
        check=False,
    )
    if made.returncode:
        raise SystemExit(f"initdb failed:\n{made.stderr.decode()}")
    with (data / "pg_hba.conf").open("a") as rules:
        rules.write(f"host all digits {NETWORK}.0/24 trust\n")
    options = [f"--{name}={value}" for name, value in DATABASE_SETTINGS.items()]
    start(
        "database", "database", folder, *as_postgres, f"{binaries}/postgres", "-D", str(data), "-k", str(data), *options
    )
    wait_for(lambda: PARTS["database"].said("ready to accept connections"), SOON, "PostgreSQL does not start")


def start_redis(folder: Path) -> None:
    quiet = ("--save", "", "--appendonly", "no", "--protected-mode", "no", "--dir", str(folder))
    start("redis", "redis", folder, "redis-server", "--bind", HOSTS["redis"], *quiet)
    wait_for(lambda: PARTS["redis"].said("Ready to accept connections"), SOON, "Redis does not start")


def start_balancer(folder: Path) -> None:
    settings = folder / "haproxy.cfg"
    settings.write_text(BALANCER.format(**HOSTS))
    start("balancer", "balancer", folder, "haproxy", "-db", "-f", str(settings))
    for host in WEB:
        wait_for(partial(balancer_sees, host), SOON, f"the balancer does not see {host}")


def prepare(host: str, folder: Path) -> None:
    """Run what each release runs: the database once, the collected static files on each web host."""
    command = on(host, sys.executable, "manage.py", "prepare")
    run_in(command, host, folder)


def staff_token(folder: Path) -> str:
    return run_in(on("web-a", sys.executable, "manage.py", "drf_create_token", "admin"), "web-a", folder).split()[2]


def run_in(command: list[str], host: str, folder: Path) -> str:
    done = subprocess.run(command, cwd=ROOT, env=environment(host, folder), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return done.stdout


def start_web(host: str, folder: Path) -> None:
    start(host, host, folder, sys.executable, "-m", "hdr_site.server")
    wait_for(partial(is_ready, host), SOON, f"{host} does not start")


def start_worker(host: str, folder: Path) -> None:
    worker = (sys.executable, "-m", "celery", "--app", "hdr_site", "worker", "--loglevel", "info")
    one_by_one = ("--pool", "prefork", "--concurrency", "1", "--max-tasks-per-child", "1")
    start(f"{host} site", host, folder, *worker, "--hostname", "site@%h", "--queues", "site", "--pool", "threads")
    start(f"{host} training", host, folder, *worker, "--hostname", "training@%h", "--queues", "training", *one_by_one)
    for queue in ("site", "training"):
        wait_for(partial(PARTS[f"{host} {queue}"].said, " ready."), SOON, f"{host} does not start")


def start_beat(host: str, folder: Path) -> None:
    start("beat", host, folder, sys.executable, "-m", "celery", "--app", "hdr_site", "beat", "--pidfile=", "-l", "info")


# --- Asking -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; the status is 0 if nothing did."""

    status: int
    text: str
    headers: Any
    seconds: float

    @property
    def json(self) -> Any:
        return json.loads(self.text)


def ask(host: str, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
    """Send one request to a host, on a connection of its own."""
    began = time.monotonic()
    connection = HTTPConnection(HOSTS[host], PORTS[host], timeout=ANSWER)
    sent = {"Content-Type": "application/json"} | (headers or {})
    try:
        connection.request(method, path, None if body is None else json.dumps(body), sent)
        response = connection.getresponse()
        text = response.read().decode(errors="replace")
    except (OSError, HTTPException) as error:
        return Answer(0, repr(error), {}, time.monotonic() - began)
    finally:
        connection.close()
    return Answer(response.status, text, response.headers, time.monotonic() - began)


def state_of(host: str) -> str:
    """Say what the balancer thinks of a web host: UP or DOWN."""
    connection = HTTPConnection(HOSTS["balancer"], 8404, timeout=5)
    try:
        connection.request("GET", "/stats;csv")
        rows = connection.getresponse().read().decode().splitlines()
    except OSError:
        return ""
    finally:
        connection.close()
    columns = rows[0].lstrip("# ").split(",")
    for row in rows[1:]:
        server = dict(zip(columns, row.split(","), strict=False))
        if (server["pxname"], server["svname"]) == ("ready", host):
            return server["status"].split()[0]
    return ""


def balancer_sees(host: str) -> bool:
    return state_of(host) == "UP"


def is_ready(host: str) -> bool:
    return ask(host, "GET", "/readyz").status == 200


def query(sql: str, *values: Any) -> list[Any]:
    """Ask the database itself, past the site."""
    with psycopg.connect(DATABASE_URL, connect_timeout=5) as connection:
        return connection.execute(sql, values).fetchall()


def wait_for(look: Callable[[], Any], seconds: float, otherwise: str) -> Any:
    end = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() > end:
            raise SystemExit(f"FAILED  after {seconds:.0f} s: {otherwise}")
        time.sleep(0.05)
    return found


# --- Facts ------------------------------------------------------------------------------------------------------------

FAILED: list[str] = []


def fact(holds: bool, what: str, seconds: float | None = None) -> None:
    """Print a line, and remember it if it should be otherwise."""
    time_taken = f"{seconds:8.2f} s" if seconds is not None else f"{'':10}"
    print(f"{'ok    ' if holds else 'FAILED'} {time_taken}  {what}", flush=True)
    if not holds:
        FAILED.append(what)


# --- Who draws --------------------------------------------------------------------------------------------------------

CANARIES = json.loads((ROOT / "recognizer" / "bundled" / "canaries.json").read_text())
SERIAL = itertools.count(
    1
)  # stands in each drawing, as the time of its points, so that none can be stored twice unseen


@dataclass(frozen=True, slots=True)
class Hand:
    """How somebody writes: turned (radians) and slanted."""

    turn: float = 0.0
    slant: float = 0.0


def drawing(digit: int, serial: int, hand: Hand) -> dict[str, Any]:
    """Draw a digit, each time a little differently."""
    rng = random.Random(serial)
    strokes = rng.choice([c["strokes"] for c in CANARIES if c["digit"] == digit])
    turn, slant = hand.turn + rng.uniform(-0.1, 0.1), hand.slant + rng.uniform(-0.1, 0.1)
    width = rng.uniform(1.6, 2.2)

    def place(x: float, y: float) -> list[float]:
        x, y = width * (x - 50 + slant * (y - 50)), 2 * (y - 50)
        x, y = x * math.cos(turn) - y * math.sin(turn), x * math.sin(turn) + y * math.cos(turn)
        return [round(x + 150, 2), round(y + 150, 2), serial]

    return {"strokes": [[place(x, y) for x, y in stroke] for stroke in strokes], "width": 300, "height": 300}


@dataclass(frozen=True, slots=True)
class Drawn:
    """One drawing that was sent."""

    at: float
    seconds: float
    status: int
    serial: int
    id: int | None
    said: str  # what came instead of a 201


DRAWN: list[Drawn] = []
UPRIGHT = Hand()


def draw(host: str, headers: dict[str, str] | None = None, digit: int | None = None, hand: Hand = UPRIGHT) -> Answer:
    """Send a drawing, and write down what came of it."""
    serial, at = next(SERIAL), time.monotonic()
    body = drawing(serial % 10 if digit is None else digit, serial, hand)
    answer = ask(host, "POST", "/api/v1/submissions", body, headers)
    stored = answer.status == 201
    id_given = answer.json["id"] if stored else None
    DRAWN.append(Drawn(at, answer.seconds, answer.status, serial, id_given, "" if stored else answer.text[:200]))
    return answer


@dataclass(slots=True)
class Browser:
    """An anonymous visitor: the cookies of the home page and its CSRF token."""

    headers: dict[str, str] = field(default_factory=dict)

    def open(self, host: str) -> None:
        page, jar = ask(host, "GET", "/"), SimpleCookie()
        for cookie in page.headers.get_all("Set-Cookie") or []:
            jar.load(cookie)
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
        cookies = "; ".join(f"{name}={morsel.value}" for name, morsel in jar.items())
        self.headers = {"Cookie": cookies, "X-CSRFToken": token[1] if token else ""}


@contextmanager
def people_drawing() -> Iterator[None]:
    """Let a few clients draw through the balancer all the while."""
    over = threading.Event()

    def go_on() -> None:
        while not over.wait(PAUSE):
            draw("balancer")

    clients = [threading.Thread(target=go_on) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    try:
        yield
    finally:
        over.set()
        for client in clients:
            client.join()


def drawn_between(begin: float, end: float) -> list[Drawn]:
    """Return what was sent in a span of time."""
    return [one for one in DRAWN if begin <= one.at < end]


def story(drawn: list[Drawn]) -> str:
    statuses = ", ".join(f"{count} answered {status}" for status, count in sorted(count_statuses(drawn).items()))
    return f"{statuses or 'no drawing'}; the longest took {max((one.seconds for one in drawn), default=0):.2f} s"


def count_statuses(drawn: list[Drawn]) -> Counter[int]:
    return Counter(one.status for one in drawn)


def all_stored(drawn: list[Drawn]) -> bool:
    return bool(drawn) and set(count_statuses(drawn)) == {201}


# --- What is played ---------------------------------------------------------------------------------------------------


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


def correction_of(submission: int) -> str:
    return f"/api/v1/submissions/{submission}/correction"


@dataclass(frozen=True, slots=True)
class Run:
    """A training run's row."""

    state: str
    phase: str
    attempt: int
    host: str
    process: int
    version: int | None
    reason: str

    @property
    def over(self) -> bool:
        return self.state not in ("queued", "running")


def look_at(number: int) -> Run:
    sql = """SELECT run.state, run.phase, run.attempt, split_part(run.worker, ':', 1),
             coalesce(nullif(split_part(run.worker, ':', 2), '')::int, 0), version.version, run.reason
             FROM training_trainingrun run LEFT JOIN recognizer_modelversion version ON version.id = run.version_id
             WHERE run.id = %s"""
    return Run(*query(sql, number)[0])


def request_run(staff: dict[str, str], host: str = "balancer") -> tuple[int, Answer]:
    answer = ask(host, "POST", "/api/v1/training-runs", {"force": True}, staff)
    if answer.status != 202:
        raise SystemExit(f"FAILED  a training run was asked for: {answer.status} {answer.text[:300]}")
    return answer.json["id"], answer


def running(number: int) -> Run | None:
    now = look_at(number)
    if now.over:
        raise SystemExit(f"FAILED  the run is over too soon: {now}")
    return now if now.state == "running" else None


def cancel_run(staff: dict[str, str], number: int) -> None:
    ask("balancer", "POST", f"/api/v1/training-runs/{number}/cancel", {}, staff)
    wait_for(lambda: look_at(number).over, SOON, "a run cannot be cancelled")


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
    for _ in range(6):
        number, _ = request_run(staff)
        taken = wait_for(partial(running, number), SOON, "no worker takes the run")
        if taken.host == "worker-b":
            break
        cancel_run(staff, number)  # beat is on the other one, and is to go on
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


def play(folder: Path, only: str) -> None:
    began = time.monotonic()
    build_network()
    start_database(folder)
    start_redis(folder)
    for host in WEB:
        prepare(host, folder)
        start_web(host, folder)
    start_balancer(folder)
    for host in WORKERS:
        start_worker(host, folder)
    start_beat("worker-a", folder)
    fact(True, f"{len(HOSTS)} hosts, {len(PARTS)} parts are up", time.monotonic() - began)
    staff = {"Authorization": f"Token {staff_token(folder)}"}

    one_drawing_on_three_requests(staff)
    people_teach(staff)
    if only in "version":
        new_version(staff)
    if only in "web":
        without_a_web_host("web-a", "cut", lambda: pull("web-a"), lambda: plug_in("web-a"))
        without_a_web_host("web-b", "killed", lambda: kill("web-b"), lambda: start_web("web-b", folder))
    if only in "worker":
        without_a_worker(staff)
    if only in "database":
        without_database(staff)
    if only in "redis":
        without_redis(staff)
    nothing_ended()
    every_answer_is_kept()
    print(f"{len(FAILED)} of these facts should be otherwise; {(time.monotonic() - began) / 60:.1f} minutes")


def kill(part: str) -> float:
    PARTS[part].kill()
    return time.monotonic()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clean", action="store_true", help="remove what a killed one left, and do nothing else")
    parts = ("", "version", "web", "worker", "redis", "database")
    parser.add_argument("--only", choices=parts, default="", help="play that part alone, after the beginning")
    parser.add_argument("--logs", type=Path, help="copy what the parts printed into this folder")
    arguments = parser.parse_args()
    if arguments.clean:
        clean_up(None)
        return
    require_what_is_needed()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("Stopped."))
    folder = Path(tempfile.mkdtemp(prefix="digits-cluster-"))
    folder.chmod(0o755)  # PostgreSQL's own user has to get in
    try:
        play(folder, arguments.only)
    except KeyboardInterrupt:
        sys.exit("Stopped.")
    finally:
        if arguments.logs:
            arguments.logs.mkdir(parents=True, exist_ok=True)
            for log in folder.glob("*.log"):
                shutil.copy(log, arguments.logs)
        clean_up(folder)
    sys.exit(1 if FAILED else 0)


if __name__ == "__main__":
    main()
