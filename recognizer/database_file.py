"""SQLite's file: which processes use it, and whether it was removed or replaced.

SQLite keeps using a file that was removed or replaced, so everything stored from then on would be lost.
"""

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

SUFFIXES = ("-wal", "-shm")  # the write-ahead log, and its index, which the processes share

_known: dict[str, tuple[int, int]] = {}  # device and inode of each file that this process opened
_locks: dict[str, int] = {}  # descriptors, open until the process ends; then the kernel unlocks them
_alone: set[str] = set()  # the databases that this process is restoring
_mutex = threading.Lock()


class HeldError(RuntimeError):
    """Another process uses or restores the database."""


def problem(database: str) -> str | None:
    """Return why the file must not be used, if it is no longer the one that this process opened first."""
    known, now = _known.get(database), _identity(database)
    if known in (None, now):
        return None
    return "the database's file was replaced: start the site again" if now else "the database's file is gone"


def note(database: str) -> None:
    """Remember which file was opened; a database in memory has none."""
    if identity := _identity(database):
        _known.setdefault(database, identity)


def is_writable(database: str) -> bool:
    """Return whether the file and the files beside it may be written. Missing files count as writable."""
    files = [Path(database + end) for end in ("", *SUFFIXES)]
    # `exists` comes last: SQLite removes these files with its last connection, perhaps just now.
    return all(os.access(file, os.W_OK) or not file.exists() for file in files)


def hold(database: str) -> None:
    """Mark the database as in use until this process ends.

    Raises:
        HeldError: the database is being restored.
    """
    if database in _alone:
        return  # a shared lock would replace the exclusive one
    with suppress(OSError):  # without a lock file nothing can be restored either
        _lock(database, fcntl.LOCK_SH)


@contextmanager
def hold_alone(database: str) -> Iterator[None]:
    """Lock the database for this process alone, to replace its file.

    Raises:
        HeldError: another process uses it.
    """
    _lock(database, fcntl.LOCK_EX)
    _alone.add(database)
    try:
        yield
    finally:
        _alone.discard(database)
        _known.pop(database, None)
        _lock(database, fcntl.LOCK_SH)


def _identity(database: str) -> tuple[int, int] | None:
    try:
        status = os.stat(database)  # noqa: PTH116 - `Path` takes four times as long, and this runs in each request
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _lock(database: str, kind: int) -> None:
    with _mutex:
        if database not in _locks:
            # Hidden, so that `rm db.sqlite3*` does not remove it.
            lock = Path(database).with_name(f".{Path(database).name}.lock")
            _locks[database] = os.open(lock, os.O_RDONLY | os.O_CREAT, 0o644)
        try:
            fcntl.flock(_locks[database], kind | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise HeldError from error
