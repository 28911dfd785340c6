"""The parts of the site: what each host runs, with which environment, and whether it is well."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.cluster import ROOT
from benchmarks.cluster.network import HOSTS, NETWORK, WEB, on, remove_network
from benchmarks.cluster.people import ask
from benchmarks.harness import descends_from

DATABASE_URL = f"postgres://digits@{HOSTS['database']}/postgres"

PREVIEWS = 20  # a minute, of one client: few, so that the throttle is seen
SOON = 90.0  # seconds in which a start or a change is seen

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


@dataclass(slots=True)
class Part:
    """A process on one of the hosts."""

    host: str
    process: subprocess.Popen[bytes]
    log: Path
    before: int  # bytes in the log, of those that ran before it

    def said(self, text: str) -> bool:
        return text in self.log.read_bytes()[self.before :].decode(errors="replace")

    def kill(self) -> None:
        """Kill it and all that it started, without warning."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


PARTS: dict[str, Part] = {}


def start(name: str, host: str, folder: Path, *command: str, code: Path = ROOT) -> Part:
    """Start a process on a host; the host's folder is its data directory and its working directory's stand-in."""
    log = folder / f"{name}.log"
    with log.open("a") as output:
        before = output.tell()
        process = subprocess.Popen(
            on(host, *command),
            cwd=code,
            env=environment(host, folder),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    PARTS[name] = Part(host, process, log, before)
    return PARTS[name]


def kill(part: str) -> float:
    PARTS[part].kill()
    return time.monotonic()


def stop(part: str) -> None:
    """Ask a part to end, as systemd and Docker do, and wait until it has done what it had begun."""
    PARTS[part].process.terminate()
    try:
        PARTS[part].process.wait(60)
    except subprocess.TimeoutExpired:
        raise SystemExit(f"FAILED  {part} does not stop within 60 s") from None


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
        "HDR_QUOTAS": "off",
        "HOST": HOSTS[host],
        "WEB_CONCURRENCY": "1",
        "DJANGO_SUPERUSER_PASSWORD": "cluster",
    }


def mnist() -> Path:
    return Path(os.environ.get("HDR_MNIST_DIR") or ROOT / "var" / "mnist").resolve()


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


def prepare(host: str, folder: Path, code: Path = ROOT) -> None:
    """Run what each release runs: the database once, the collected static files on each web host."""
    manage(host, folder, "prepare", code=code)


def staff_token(folder: Path) -> str:
    return manage("web-a", folder, "drf_create_token", "admin").split()[2]


def manage(host: str, folder: Path, *arguments: str, code: Path = ROOT) -> str:
    command = on(host, sys.executable, "manage.py", *arguments)
    done = subprocess.run(command, cwd=code, env=environment(host, folder), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return done.stdout


def start_web(host: str, folder: Path, code: Path = ROOT) -> None:
    start(host, host, folder, sys.executable, "-m", "hdr_site.server", code=code)
    wait_for(partial(is_ready, host), SOON, f"{host} does not start")
    if not descends_from(ask(host, "GET", "/readyz").json["process"], PARTS[host].process.pid):
        raise SystemExit(f"FAILED  {HOSTS[host]} is another site's")


def start_worker(host: str, folder: Path, code: Path = ROOT) -> None:
    worker = (sys.executable, "-m", "celery", "--app", "hdr_site", "worker", "--loglevel", "info")
    site = ("--hostname", "site@%h", "--queues", "site", "--pool", "threads")
    training = ("--hostname", "training@%h", "--queues", "training")
    one_by_one = ("--pool", "prefork", "--concurrency", "1", "--max-tasks-per-child", "1")
    start(f"{host} site", host, folder, *worker, *site, code=code)
    start(f"{host} training", host, folder, *worker, *training, *one_by_one, code=code)
    for queue in ("site", "training"):
        wait_for(partial(PARTS[f"{host} {queue}"].said, " ready."), SOON, f"{host} does not start")


def start_beat(host: str, folder: Path, code: Path = ROOT) -> None:
    beat = (sys.executable, "-m", "celery", "--app", "hdr_site", "beat", "--pidfile=", "--loglevel", "info")
    start(f"{host} beat", host, folder, *beat, code=code)


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


def clean_up(folder: Path | None) -> None:
    """Remove processes, namespaces, the bridge and all files; never fails, whatever is there."""
    if "database" in PARTS:  # killed, PostgreSQL would leave its shared memory behind
        PARTS["database"].process.send_signal(signal.SIGQUIT)
        try:
            PARTS["database"].process.wait(10)
        except subprocess.TimeoutExpired:
            print("PostgreSQL did not stop, so it is killed.")
    remove_network()
    for part in PARTS.values():
        part.process.wait()
    if folder:
        shutil.rmtree(folder, ignore_errors=True)
