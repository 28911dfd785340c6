"""The parts of the site: what each host runs, in which environment, and whether it is ready."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import psycopg

from benchmarks import harness
from benchmarks.chaos.cluster.network import ADDRESSES, HOSTS, NETWORK, WEB, on, remove_network
from benchmarks.chaos.cluster.people import ask
from benchmarks.chaos.parts import is_worker_ready
from benchmarks.chaos.postgresql import create_database, postgres_command
from benchmarks.harness import LOG_TAIL, ROOT, STOP_TIMEOUT, Server, until

DATABASE_URL = f"postgres://digits@{HOSTS['database']}/postgres"

PREVIEWS = 20  # a minute per client: few, so that the throttle shows
SOON = 90.0  # seconds for a start or a change to be seen

DATABASE_SETTINGS = {
    "listen_addresses": HOSTS["database"],
    # A lost host may hold a lock. By default the server notices after two hours.
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
    option http-server-close       # a request that reached no server can go to the other one: …
    option redispatch 1            # … none of it was sent
    retries 3
    default-server inter 1s fall 2 rise 1
frontend site
    bind {balancer}:80
    http-request set-header X-Forwarded-Proto http
    use_backend ready if {{ nbsrv(ready) gt 0 }}
    default_backend alive          # none is ready (the database is away): their own page is better than the balancer's
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


PARTS: dict[str, Server] = {}


def start(
    name: str,
    host: str,
    folder: Path,
    command: list[str],
    ready: Callable[[Server], bool] = lambda _: True,
    code: Path = ROOT,
) -> None:
    """Start a process on a host, and wait until it is ready."""
    PARTS[name] = Server.start(
        folder / f"{name}.log",
        on(host, *command),
        ready,
        ADDRESSES.get(host, HOSTS[host]),
        environment(host, folder),
        code,
    )


def says(text: str) -> Callable[[Server], bool]:
    return lambda part: text in part.output()


def kill(part: str) -> float:
    """Kill a part and its children without warning. Return when."""
    PARTS[part].kill()
    return time.monotonic()


def stop(part: str) -> None:
    """Terminate a part, as systemd and Docker do, and wait until it has finished its work."""
    PARTS[part].process.terminate()
    try:
        PARTS[part].process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        raise SystemExit(f"FAILED  {part} does not stop within {STOP_TIMEOUT:.0f} s") from None


def environment(host: str, folder: Path) -> dict[str, str]:
    """Return a host's whole environment. Of this process's own it has only the PATH."""
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
    (own := folder / "postgres").mkdir()
    data = create_database(own)
    with (data / "pg_hba.conf").open("a") as rules:
        rules.write(f"host all digits {NETWORK}.0/24 trust\n")
    options = [f"--{name}={value}" for name, value in DATABASE_SETTINGS.items()]
    command = postgres_command("postgres", "-D", str(data), "-k", str(data), *options)
    start("database", "database", folder, command, says("ready to accept connections"))


def start_redis(folder: Path) -> None:
    quiet = ("--save", "", "--appendonly", "no", "--protected-mode", "no", "--dir", str(folder))
    command = ["redis-server", "--bind", HOSTS["redis"], *quiet]
    start("redis", "redis", folder, command, says("Ready to accept connections"))


def start_balancer(folder: Path) -> None:
    settings = folder / "haproxy.cfg"
    settings.write_text(BALANCER.format(**HOSTS))
    start("balancer", "balancer", folder, ["haproxy", "-db", "-f", str(settings)])
    for host in WEB:
        until(partial(balancer_sees, host), SOON, f"The balancer does not see {host}.")


def prepare(host: str, folder: Path, code: Path = ROOT) -> None:
    """Run `manage.py prepare`, as each release does on each web host."""
    manage(host, folder, "prepare", code=code)


def manage(host: str, folder: Path, *arguments: str, code: Path = ROOT) -> str:
    command = on(host, sys.executable, "manage.py", *arguments)
    done = subprocess.run(command, cwd=code, env=environment(host, folder), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-LOG_TAIL:]}")
    return done.stdout


def start_web(host: str, folder: Path, code: Path = ROOT) -> None:
    start(host, host, folder, [sys.executable, "-m", "hdr_site.server"], Server.is_ready, code)


def start_worker(host: str, folder: Path, code: Path = ROOT) -> None:
    worker = [sys.executable, "-m", "celery", "--app", "hdr_site", "worker", "--loglevel", "info"]
    site = ("--hostname", "site@%h", "--queues", "site", "--pool", "threads")
    training = ("--hostname", "training@%h", "--queues", "training")
    one_by_one = ("--pool", "prefork", "--concurrency", "1", "--max-tasks-per-child", "1")
    start(f"{host} site", host, folder, [*worker, *site], is_worker_ready, code)
    start(f"{host} training", host, folder, [*worker, *training, *one_by_one], is_worker_ready, code)


def start_beat(host: str, folder: Path, code: Path = ROOT) -> None:
    beat = [sys.executable, "-m", "celery", "--app", "hdr_site", "beat", "--pidfile=", "--loglevel", "info"]
    start(f"{host} beat", host, folder, beat, code=code)


def balancer_state(host: str) -> str:
    """Return what the balancer says of a web host: UP or DOWN."""
    rows = harness.ask("GET", "/stats;csv", address=f"{HOSTS['balancer']}:8404").text.splitlines()
    columns = rows[0].lstrip("# ").split(",")
    for row in rows[1:]:
        server = dict(zip(columns, row.split(","), strict=False))
        if (server["pxname"], server["svname"]) == ("ready", host):
            return server["status"].split()[0]
    return ""


def balancer_sees(host: str) -> bool:
    return balancer_state(host) == "UP"


def is_ready(host: str) -> bool:
    return ask(host, "GET", "/readyz").status == 200


def query(sql: str, *values: Any) -> list[Any]:
    """Query the database directly."""
    with psycopg.connect(DATABASE_URL, connect_timeout=5) as connection:
        return connection.execute(sql, values).fetchall()


def clean_up(folder: Path | None) -> None:
    """Remove processes, namespaces, the bridge and all files. Does not fail if some are missing."""
    if "database" in PARTS:  # if killed, it would leave its shared memory behind
        PARTS["database"].process.send_signal(signal.SIGQUIT)
        try:
            PARTS["database"].process.wait(10)
        except subprocess.TimeoutExpired:
            print("PostgreSQL did not stop and is killed.")
    remove_network()
    for part in PARTS.values():
        part.process.wait()
    if folder:
        shutil.rmtree(folder, ignore_errors=True)
