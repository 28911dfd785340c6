"""Backing everything up into one file, and putting it back into an empty database. All that the site keeps is there."""

import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

from django.db import connection


class BackupError(Exception):
    """Nothing was written, or nothing put back; the message says why."""


def backup(file: Path) -> None:
    """Write the database as it is at one moment; the site may run meanwhile.

    PostgreSQL's own `pg_dump` does it there, in its custom format.

    Raises:
        BackupError: the file is there already, or could not be written.
    """
    if file.exists():
        raise BackupError(f"{file} is there already")
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("VACUUM INTO %s", [str(file)])
    else:
        _run("pg_dump", "--format=custom", "--no-owner", f"--file={file}")


def restore(file: Path) -> None:
    """Put a backup into the database, which must be empty.

    Raises:
        BackupError: the database is not empty, or the file is no whole backup for this kind of database.
    """
    if not file.is_file():
        raise BackupError(f"{file} is not there")
    if connection.introspection.table_names():
        raise BackupError("the database is not empty: restore into a new one")
    if connection.vendor == "sqlite":
        _restore_sqlite(file, Path(connection.settings_dict["NAME"]))
    else:
        _run("pg_restore", "--single-transaction", "--exit-on-error", "--no-owner", "--dbname=", str(file))


def _restore_sqlite(file: Path, database: Path) -> None:
    copy = database.with_name(database.name + ".restored")
    try:
        shutil.copyfile(file, copy)
        with closing(sqlite3.connect(copy)) as restored:
            if restored.execute("PRAGMA integrity_check").fetchone() != ("ok",):
                raise BackupError(f"{file} is damaged")
        connection.close()
        for leftover in ("-wal", "-shm"):
            database.with_name(database.name + leftover).unlink(missing_ok=True)
        copy.replace(database)
    except (OSError, sqlite3.DatabaseError) as error:
        raise BackupError(f"{file} could not be restored: {error}") from error
    finally:
        copy.unlink(missing_ok=True)


def _run(tool: str, *arguments: str) -> None:
    """Run one of PostgreSQL's tools; the password goes by the environment, where no list of processes shows it."""
    of = connection.settings_dict
    known = {"PGHOST": of["HOST"], "PGPORT": of["PORT"], "PGUSER": of["USER"], "PGPASSWORD": of["PASSWORD"]}
    environment = os.environ | {name: str(value) for name, value in known.items() if value} | {"PGDATABASE": of["NAME"]}
    try:
        subprocess.run([tool, *arguments], env=environment, check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise BackupError(f"{tool} is not installed: it comes with PostgreSQL's client") from error
    except subprocess.CalledProcessError as error:
        raise BackupError(f"{tool}: {error.stderr.strip()}") from error
