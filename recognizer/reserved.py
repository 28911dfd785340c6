"""Memory-mapped files shared between processes, with their disk space reserved.

A sparse file can be longer than its allocated space. Writing to an unallocated page while the disk is full makes the
kernel kill the process (SIGBUS), and every web process that replaces it.
"""

import mmap
import os
from pathlib import Path

from prometheus_client import values
from prometheus_client.mmap_dict import _INITIAL_MMAP_SIZE, MmapedDict

ENTRY = 64  # maximum bytes of an entry besides its name; this many at the end of a file stay unused
VALUE = 16  # bytes of an entry's value


def reserve(descriptor: int, size: int) -> bool:
    """Allocate disk space for a file; return whether that succeeded. Only Linux guarantees it."""
    try:
        if os.fstat(descriptor).st_size < size:
            os.truncate(descriptor, size)
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, 0, size)
    except OSError:
        return False
    return True


def shared_memory(descriptor: int, size: int) -> mmap.mmap:
    """Map a file shared between processes; without disk space, return private memory of this process."""
    return mmap.mmap(descriptor if reserve(descriptor, size) else -1, size)


class Counts(MmapedDict):
    """A process's Prometheus values. Without disk space, new values are not counted, and the process survives."""

    def __init__(self, filename: str, read_mode: bool = False) -> None:
        if not read_mode:
            with Path(filename).open("ab") as file:
                has_space = reserve(file.fileno(), _INITIAL_MMAP_SIZE)
            if not has_space:
                Path(filename).unlink()
                filename = f"/proc/self/fd/{os.memfd_create('counts')}"  # private
        super().__init__(filename, read_mode)  # type: ignore[no-untyped-call]

    def _init_value(self, key: str) -> None:
        if self._used + len(key.encode()) + ENTRY < self._capacity or reserve(self._f.fileno(), 2 * self._capacity):
            super()._init_value(key)  # type: ignore[no-untyped-call]
        else:
            self._positions[key] = self._capacity - VALUE  # beyond the part that is read


def reserve_counts() -> None:
    """Make Prometheus' client reserve space for its files. Call it before the first metric is created."""
    values.MmapedDict = Counts  # type: ignore[attr-defined]
