"""Backup of the database to one file, and restore into an empty database. All of the site's data is there."""

import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

from django.db import DatabaseError, connection

from recognizer import database_file

IN_USE = "the database is in use: stop the web server, the workers and the scheduler first"


class BackupError(Exception):
    """Backup or restore failed and changed nothing; the message says why."""


def backup(file: Path) -> None:
    """Write a consistent snapshot of the database; the site may be running.

    On PostgreSQL this runs `pg_dump` with its custom format.

    Raises:
        BackupError: the database is empty, the file already exists, or it could not be written.
    """
    if file.exists():
        raise BackupError(f"{file} already exists")
    if not connection.introspection.table_names():
        raise BackupError("the database is empty")
    try:
        _write(file)
    except BaseException:
        file.unlink(missing_ok=True)  # a partial backup could be mistaken for a complete one
        raise


def _write(file: Path) -> None:
    if connection.vendor == "postgresql":
        _run("pg_dump", "--format=custom", "--no-owner", f"--file={file}")
        return
    try:
        with connection.cursor() as cursor:
            cursor.execute("VACUUM INTO %s", [str(file)])
    except DatabaseError as error:
        raise BackupError(f"{file} could not be written: {error}") from error


def restore(file: Path) -> None:
    """Restore a backup into the database, which must be empty and unused.

    Raises:
        BackupError: another process uses the database, it is not empty, or the file is not a complete backup.
    """
    if not file.is_file():
        raise BackupError(f"{file} does not exist")
    if connection.vendor == "sqlite":
        database = Path(connection.settings_dict["NAME"])
        try:
            with database_file.hold_alone(str(database)):
                _restore_sqlite(file, database)
        except database_file.HeldError as error:
            raise BackupError(IN_USE) from error
    else:
        _refuse_if_in_use()
        _refuse_unless_empty()
        _run("pg_restore", "--single-transaction", "--exit-on-error", "--no-owner", "--dbname=", str(file))


def _refuse_unless_empty() -> None:
    if connection.introspection.table_names():
        raise BackupError("the database is not empty: restore into a new one")


def _refuse_if_in_use() -> None:
    """Refuse a PostgreSQL database with other client connections; PostgreSQL's own processes do not count."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND usesysid IS NOT NULL AND pid <> pg_backend_pid()"
        )
        if cursor.fetchone() != (0,):
            raise BackupError(IN_USE)


def _restore_sqlite(file: Path, database: Path) -> None:
    if database.exists():  # if it is missing, opening it could fail on a leftover log file
        _refuse_unless_empty()
    copy = database.with_name(database.name + ".restored")
    try:
        shutil.copyfile(file, copy)
        with closing(sqlite3.connect(copy)) as restored:
            if restored.execute("PRAGMA integrity_check").fetchone() != ("ok",):
                raise BackupError(f"{file} is damaged")
        connection.close()
        for leftover in database_file.SUFFIXES:
            database.with_name(database.name + leftover).unlink(missing_ok=True)
        copy.replace(database)
    except (OSError, sqlite3.DatabaseError) as error:
        raise BackupError(f"{file} could not be restored: {error}") from error
    finally:
        copy.unlink(missing_ok=True)


def _run(tool: str, *arguments: str) -> None:
    """Run one of PostgreSQL's tools; the password is passed in the environment, hidden from process lists."""
    of = connection.settings_dict
    known = {"PGHOST": of["HOST"], "PGPORT": of["PORT"], "PGUSER": of["USER"], "PGPASSWORD": of["PASSWORD"]}
    environment = os.environ | {name: str(value) for name, value in known.items() if value} | {"PGDATABASE": of["NAME"]}
    try:
        subprocess.run([tool, *arguments], env=environment, check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise BackupError(f"{tool} is not installed: it comes with PostgreSQL's client") from error
    except subprocess.CalledProcessError as error:
        raise BackupError(f"{tool}: {error.stderr.strip()}") from error
