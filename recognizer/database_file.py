"""SQLite's file: who has it open, and whether it is still where it was.

SQLite goes on with a file that was removed or replaced under it, so whatever is stored then is lost.
"""

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

BESIDE = ("-wal", "-shm")  # the log, and its index in memory that the processes share

_known: dict[str, tuple[int, int]] = {}  # device and inode of the files that this process has opened
_locks: dict[str, int] = {}  # descriptors; they stay open as long as the process lives, and the kernel unlocks them
_alone: set[str] = set()  # the databases that this process restores
_one_at_a_time = threading.Lock()


class HeldError(RuntimeError):
    """Another process has the database, or restores it just now."""


def problem(database: str) -> str | None:
    """Return why the file must not be used: it is not the one that this process opened first."""
    known, now = _known.get(database), _identity(database)
    if known in (None, now):
        return None
    return "the database's file was replaced: start the site again" if now else "the database's file is gone"


def note(database: str) -> None:
    """Remember which file it is, once it is open; a database in memory has none."""
    if identity := _identity(database):
        _known.setdefault(database, identity)


def is_writable(database: str) -> bool:
    """Say whether the file, and what SQLite keeps beside it, may be written; what is not there will be made."""
    files = [Path(database + end) for end in ("", *BESIDE)]
    # Looked for last: SQLite removes them with its last connection, perhaps in this moment.
    return all(os.access(file, os.W_OK) or not file.exists() for file in files)


def hold(database: str) -> None:
    """Show, as long as this process lives, that the database is in use.

    Raises:
        HeldError: it is being restored.
    """
    if database in _alone:
        return  # the lock would be shared from now on
    with suppress(OSError):  # where no lock can be made, nothing can be restored either
        _lock(database, fcntl.LOCK_SH)


@contextmanager
def hold_alone(database: str) -> Iterator[None]:
    """Have the database alone, to replace its file.

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
        status = os.stat(database)  # noqa: PTH116 - a `Path` takes four times as long, in each request
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _lock(database: str, kind: int) -> None:
    with _one_at_a_time:
        if database not in _locks:
            # Hidden: `rm db.sqlite3*` must not take it along.
            lock = Path(database).with_name(f".{Path(database).name}.lock")
            _locks[database] = os.open(lock, os.O_RDONLY | os.O_CREAT, 0o644)
        try:
            fcntl.flock(_locks[database], kind | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise HeldError from error
