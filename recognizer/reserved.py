"""Files that processes share as memory, with their space on the disk reserved.

Such a file may be longer than its space. Who writes where there is none while the disk is full is killed by the kernel
(SIGBUS), as is every web process that takes its place.
"""

import mmap
import os
from pathlib import Path

from prometheus_client import values
from prometheus_client.mmap_dict import _INITIAL_MMAP_SIZE, MmapedDict

ENTRY = 64  # bytes that an entry takes beside its name, at most; so many at the end are never in use
VALUE = 16  # bytes of an entry's value


def reserve(descriptor: int, size: int) -> bool:
    """Give a file its space; return whether it has it. Only Linux can promise that."""
    try:
        if os.fstat(descriptor).st_size < size:
            os.truncate(descriptor, size)
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, 0, size)
    except OSError:
        return False
    return True


def shared_memory(descriptor: int, size: int) -> mmap.mmap:
    """Map a file for all processes that have it; where it gets no space, memory for this process alone."""
    return mmap.mmap(descriptor if reserve(descriptor, size) else -1, size)


class Counts(MmapedDict):
    """What a process counts for Prometheus. What there is no space for is not counted, rather than the end of it."""

    def __init__(self, filename: str, read_mode: bool = False) -> None:
        if not read_mode:
            with Path(filename).open("ab") as file:
                has_space = reserve(file.fileno(), _INITIAL_MMAP_SIZE)
            if not has_space:
                Path(filename).unlink()
                filename = f"/proc/self/fd/{os.memfd_create('counts')}"  # for nobody else
        super().__init__(filename, read_mode)  # type: ignore[no-untyped-call]

    def _init_value(self, key: str) -> None:
        if self._used + len(key.encode()) + ENTRY < self._capacity or reserve(self._f.fileno(), 2 * self._capacity):
            super()._init_value(key)  # type: ignore[no-untyped-call]
        else:
            self._positions[key] = self._capacity - VALUE  # beyond what is read


def reserve_counts() -> None:
    """Have Prometheus' client, which leaves its files without space, use these. Call it before anything is counted."""
    values.MmapedDict = Counts  # type: ignore[attr-defined]
