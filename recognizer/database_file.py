"""The SQLite file: locks against restoring it while it is in use, and detects that it was removed or replaced.

SQLite keeps using a file that was removed or replaced, so everything stored from then on would be lost.
"""

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

SUFFIXES = ("-wal", "-shm")  # suffixes of the write-ahead log and its shared-memory index

_known: dict[str, tuple[int, int]] = {}  # device and inode of the files that this process has opened
_locks: dict[str, int] = {}  # file descriptors; open until the process ends, when the kernel releases the locks
_mutex = threading.Lock()


class HeldError(RuntimeError):
    """Another process uses the database, or is restoring it."""


def problem(database: str) -> str | None:
    """Return why the file must not be used (it was replaced or removed since this process opened it), or None."""
    known, now = _known.get(database), _identity(database)
    if known in (None, now):
        return None
    return "the database's file was replaced: start the site again" if now else "the database's file is gone"


def note(database: str) -> None:
    """Remember the identity of the open file; an in-memory database has none."""
    if identity := _identity(database):
        _known.setdefault(database, identity)


def is_writable(database: str) -> bool:
    """Return whether the file and SQLite's files beside it are writable; missing ones will be created."""
    files = [Path(database + end) for end in ("", *SUFFIXES)]
    # Existence is checked last: SQLite may remove them at any moment, with its last connection.
    return all(os.access(file, os.W_OK) or not file.exists() for file in files)


def hold(database: str) -> None:
    """Hold a shared lock on the database until this process ends.

    Raises:
        HeldError: the database is being restored.
    """
    with suppress(OSError):  # if no lock file can be created, restoring is impossible too
        _lock(database, fcntl.LOCK_SH)


@contextmanager
def hold_alone(database: str) -> Iterator[None]:
    """Hold an exclusive lock on the database, to replace its file.

    Raises:
        HeldError: another process uses it.
    """
    _lock(database, fcntl.LOCK_EX)
    try:
        yield
    finally:
        _known.pop(database, None)
        _lock(database, fcntl.LOCK_SH)


def _identity(database: str) -> tuple[int, int] | None:
    try:
        status = os.stat(database)  # noqa: PTH116 - a `Path` takes four times as long, in each request
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _lock(database: str, kind: int) -> None:
    with _mutex:
        if database not in _locks:
            # A hidden file, so that `rm db.sqlite3*` does not remove it.
            lock = Path(database).with_name(f".{Path(database).name}.lock")
            _locks[database] = os.open(lock, os.O_RDONLY | os.O_CREAT, 0o644)
        try:
            fcntl.flock(_locks[database], kind | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise HeldError from error
