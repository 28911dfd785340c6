"""Seven hosts on one machine, and what happens when their cables are pulled: the site on several hosts, in earnest.

    make cluster-test        (as root, on Debian; needs redis-server, postgresql, haproxy, iproute2 and git)

Each host is a network namespace with an address, a host name and an empty HDR_DATA_DIR of its own, on one bridge: the
database, Redis, two web servers, a load balancer, two workers. They share DATABASE_URL, REDIS_URL and SECRET_KEY,
nothing else. Training runs are real ones, so it takes about a quarter of an hour. Each line is a fact with measured
seconds; a FAILED one should be otherwise, and the exit status is then 1. `--clean` removes what a killed one left.
"""

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.cluster import scenes
from benchmarks.cluster.facts import FAILED, fact
from benchmarks.cluster.network import BRIDGE, HOSTS, WEB, WORKERS, build_network, cable, plug_in, pull
from benchmarks.cluster.site import (
    PARTS,
    clean_up,
    kill,
    mnist,
    prepare,
    staff_token,
    start_balancer,
    start_beat,
    start_database,
    start_redis,
    start_web,
    start_worker,
)
from benchmarks.cluster.upgrade import back_and_up_again, check_out_earlier_release


def require_what_is_needed() -> None:
    if os.geteuid() != 0:
        raise SystemExit("Only root can make network namespaces: sudo make cluster-test")
    packages = {"redis-server": "redis-server", "haproxy": "haproxy", "ip": "iproute2", "git": "git"}
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


def play(folder: Path, only: str) -> None:
    began = time.monotonic()
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
    fact(True, f"{len(HOSTS)} hosts, {len(PARTS)} parts are up", time.monotonic() - began)
    staff = {"Authorization": f"Token {staff_token(folder)}"}

    scenes.one_drawing_on_three_requests(staff)
    scenes.people_teach(staff)
    if only in ("", "version"):
        scenes.new_version(staff)
    if only in ("", "web"):
        scenes.without_a_web_host("web-a", "cut", lambda: pull("web-a"), lambda: plug_in("web-a"))
        scenes.without_a_web_host("web-b", "killed", lambda: kill("web-b"), lambda: start_web("web-b", folder))
    if only in ("", "worker"):
        scenes.without_a_worker(staff)
    if only in ("", "beat"):
        scenes.without_beats_host(staff, folder)
    if only in ("", "database"):
        scenes.without_database(staff)
    if only in ("", "redis"):
        scenes.without_redis(staff)
    if only in ("", "upgrade"):
        back_and_up_again(staff, earlier, folder)
    scenes.nothing_ended()
    scenes.every_answer_is_kept()
    print(f"{len(FAILED)} of these facts should be otherwise; {(time.monotonic() - began) / 60:.1f} minutes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clean", action="store_true", help="remove what a killed one left, and do nothing else")
    parts = ("", "version", "web", "worker", "beat", "database", "redis", "upgrade")
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
