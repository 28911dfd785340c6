"""A site in separate parts that can be killed one by one, and small disks that can be filled."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.harness import Server
from hdr_site.supervisor import PARTS


class Site:
    """The parts that `runsite` starts, each a process of its own with its own log."""

    def __init__(self, folder: Path, logs: Path) -> None:
        self.folder, self._logs = folder, logs
        self._parts: dict[str, Server] = {}

    def start(self, name: str, **environment: str) -> None:
        """Start a part as `runsite` does, and wait until it is ready."""
        part = name.partition(" ")[0]
        ready = {"web": Server.is_ready, "worker": is_worker_ready, "training": is_worker_ready}
        self._parts[name] = Server.start(
            self._logs / f"{name}.log",
            [sys.executable, "-m", *PARTS[part].split()],
            ready.get(part, lambda _: True),
            environment=os.environ | environment,
        )

    def stop(self, name: str) -> None:
        self._parts.pop(name).stop()

    def restart(self, name: str, **environment: str) -> None:
        self.stop(name)
        self.start(name, **environment)

    def kill(self, name: str) -> None:
        """Kill a part without warning, but not its children."""
        part = self._parts.pop(name)
        part.process.kill()
        part.process.wait()

    def stop_all(self) -> None:
        for name in reversed(list(self._parts)):
            self.stop(name)

    def output(self, name: str) -> str:
        return self._parts[name].output()

    def dead_parts(self) -> list[str]:
        """Name the parts that ended by themselves."""
        return [name for name, part in self._parts.items() if part.process.poll() is not None]


def is_worker_ready(worker: Server) -> bool:
    return " ready." in worker.output()


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[None]:
    """Mount a small disk in memory on a folder, unless its size is 0. Only root can."""
    if not megabytes:
        yield
        return
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "digits-small", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill_disk(ballast: Path) -> None:
    """Append to a file until no space is left."""
    with ballast.open("ab", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1 << 6):
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError:
                continue
