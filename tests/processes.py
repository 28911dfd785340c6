"""Processes for tests: find a free port, see whether a process lives, wait for a condition."""

import socket
import time
from collections.abc import Callable
from pathlib import Path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def lives(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def until(true: Callable[[], object], seconds: float = 60, story: Callable[[], object] = lambda: "") -> None:
    """Wait until a condition is true; `story` explains a timeout."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, story()
        time.sleep(0.1)
