"""The site on seven hosts of one machine: what happens when their network cables are pulled.

    make cluster-test        (as root, on Debian; needs redis-server, postgresql, haproxy, iproute2 and git)

Each host is a network namespace on one bridge, with its own address, host name and empty HDR_DATA_DIR: the database,
Redis, two web servers, a load balancer, two workers. They share DATABASE_URL, REDIS_URL and SECRET_KEY, nothing else.
Training runs are real, so it takes about a quarter of an hour. Each line is a check, with the seconds measured. If one
FAILED, the exit status is 1. `--clean` removes what a killed run of this script left behind.
"""

import os
import shutil
import signal
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from benchmarks.chaos.cluster import scenarios
from benchmarks.chaos.cluster.checks import FAILED, check
from benchmarks.chaos.cluster.network import BRIDGE, HOSTS, WEB, WORKERS, build_network, cable, plug_in, pull
from benchmarks.chaos.cluster.site import (
    PARTS,
    clean_up,
    kill,
    manage,
    mnist,
    prepare,
    start_balancer,
    start_beat,
    start_database,
    start_redis,
    start_web,
    start_worker,
)
from benchmarks.chaos.cluster.upgrade import check_out_earlier_release, downgrade_and_upgrade
from benchmarks.chaos.postgresql import is_installed
from benchmarks.harness import command_line, staff_token


def check_requirements() -> None:
    if os.geteuid() != 0:
        raise SystemExit("Only root can make network namespaces: sudo make cluster-test")
    packages = {"redis-server": "redis-server", "haproxy": "haproxy", "ip": "iproute2", "git": "git"}
    missing = [package for command, package in packages.items() if not shutil.which(command)]
    if not is_installed():
        missing.append("postgresql")
    if missing:
        raise SystemExit(f"Missing: apt-get install -y --no-install-recommends {' '.join(missing)}")
    if not list(mnist().glob("*-ubyte.gz")):
        raise SystemExit(f"MNIST is not in {mnist()}: set HDR_MNIST_DIR to its folder, or run manage.py fetch_mnist.")
    for name in (BRIDGE, *map(cable, HOSTS)):
        if Path(f"/sys/class/net/{name}").exists():
            raise SystemExit(f"{name} exists already: this script is running elsewhere, or clean up with --clean.")


def play(folder: Path, only: str) -> None:
    start = time.monotonic()
    earlier = check_out_earlier_release(folder)
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
    check(True, f"{len(HOSTS)} hosts, {len(PARTS)} parts are up", time.monotonic() - start)
    staff = {"Authorization": f"Token {staff_token(partial(manage, 'web-a', folder))}"}

    scenarios.one_drawing_on_two_hosts(staff)
    scenarios.people_teach(staff)
    if only in ("", "version"):
        scenarios.new_version(staff)
    if only in ("", "web"):
        scenarios.without_web_host("web-a", "cut", lambda: pull("web-a"), lambda: plug_in("web-a"))
        scenarios.without_web_host("web-b", "killed", lambda: kill("web-b"), lambda: start_web("web-b", folder))
    if only in ("", "worker"):
        scenarios.without_worker(staff)
    if only in ("", "beat"):
        scenarios.without_beat_host(staff, folder)
    if only in ("", "database"):
        scenarios.without_database(staff)
    if only in ("", "redis"):
        scenarios.without_redis(staff)
    if only in ("", "upgrade"):
        downgrade_and_upgrade(staff, earlier, folder)
    scenarios.nothing_ended()
    scenarios.every_drawing_is_stored()
    print(f"{len(FAILED)} checks failed; {(time.monotonic() - start) / 60:.1f} minutes")


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--clean", action="store_true", help="remove what a killed run left, and do nothing else")
    parts = ("", "version", "web", "worker", "beat", "database", "redis", "upgrade")
    parser.add_argument("--only", choices=parts, default="", help="play only this part, after the start")
    parser.add_argument("--logs", type=Path, help="keep the parts' logs in this folder")
    arguments = parser.parse_args()
    if arguments.clean:
        clean_up(None)
        return
    check_requirements()
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
