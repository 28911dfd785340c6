"""The hosts: network namespaces on one bridge, each with an address, a name, and a cable that can be pulled."""

import os
import signal
import subprocess
import time

BRIDGE, NETWORK = "digits0", "10.213.77"
HOSTS = {  # and their addresses; this script is .1, on the bridge
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
ADDRESSES = {host: f"{HOSTS[host]}:{port}" for host, port in (("balancer", 80), ("web-a", 8000), ("web-b", 8000))}


def run(*command: str) -> None:
    subprocess.run(command, check=True)


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
    """Pull a host's cable: all packets to and from it are lost silently. Return when."""
    run("ip", "link", "set", cable(host), "down")
    return time.monotonic()


def plug_in(host: str) -> float:
    run("ip", "link", "set", cable(host), "up")
    return time.monotonic()


def on(host: str, *command: str) -> list[str]:
    """Return a command that runs another command in a host's network, under its name."""
    named = ["unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', host]
    return ["ip", "netns", "exec", namespace(host), *named, *command]


def remove_network() -> None:
    """Remove processes, namespaces and the bridge. Does not fail if some are missing."""
    for host in HOSTS:
        found = subprocess.run(["ip", "netns", "pids", namespace(host)], capture_output=True, text=True, check=False)
        for pid in found.stdout.split():
            try:
                os.kill(int(pid), signal.SIGKILL)
            except ProcessLookupError:
                continue
        # Delete the cable first: a namespace lives on while its connections have something to send.
        subprocess.run(["ip", "link", "delete", cable(host)], stderr=subprocess.DEVNULL, check=False)
        subprocess.run(["ip", "netns", "delete", namespace(host)], stderr=subprocess.DEVNULL, check=False)
    subprocess.run(["ip", "link", "delete", BRIDGE], stderr=subprocess.DEVNULL, check=False)
