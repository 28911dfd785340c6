"""A backup restores everything on another host: drawings, people, versions and their files.

A running site blocks a restore. A site whose database file is missing, replaced or damaged answers 503.
"""

import os
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from recognizer.database_file import HeldError, hold, hold_alone
from tests.hosts import ROOT, USE_THE_SITE, Host

HOLD = """
import sys
import urllib.parse
import django
django.setup()
from django.db import connection
connection.ensure_connection()
print("It is open.", flush=True)
sys.stdin.read()
"""

SERVE = """
import os, shutil
import django
django.setup()
from django.conf import settings
from django.core.management import call_command
from django.db import close_old_connections, connection
from django.test import Client
from recognizer import registry
from recognizer.engine import engine
from tests.drawings import THREE
call_command("migrate", verbosity=0)
registry.ensure_bundled()
engine.refresh()

def look():
    close_old_connections()  # as each request begins, but for those of the tests' client
    answers = Client(raise_request_exception=False)
    drawn = answers.post("/api/v1/submissions", THREE, content_type="application/json")
    listed, ready = answers.get("/api/v1/models"), answers.get("/readyz")
    print(drawn.status_code, listed.status_code, ready.status_code, ready.json()["problem"])

file = settings.DATA_DIR / "db.sqlite3"
away = file.with_name("away")
look()
"""
REMOVED = """
file.rename(away)
look()
away.rename(file)
look()
shutil.copyfile(file, away)
away.replace(file)
look()
"""
READ_ONLY = """
def change(mode):
    for each in file.parent.glob("db.sqlite3*"):
        each.chmod(mode)
connection.close()
change(0o444)
look()
change(0o644)
look()
"""
DAMAGED = """
connection.close()
whole = file.read_bytes()
def write(content):
    with file.open("r+b") as opened:
        opened.write(content)
write(whole[:4096] + bytes(len(whole) - 4096))
look()
connection.close()
write(whole)
look()
"""
WITHOUT_ROOTS_RIGHTS = ["setpriv", "--bounding-set=-dac_override", "--inh-caps=-all"]  # root may write to any file


def back_up_and_restore(first: Host, second: Host, file: Path) -> None:
    first.manage("migrate", "--verbosity", "0")
    first.manage("shell", "--verbosity", "0", script=USE_THE_SITE)
    assert "Wrote" in first.manage("backup", str(file))
    assert "already exists" in first.manage("backup", str(file), works=False)
    assert "not empty" in first.manage("restore", str(file), works=False)

    damaged = file.with_suffix(".damaged")
    damaged.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    second.manage("restore", str(damaged), works=False)
    second.manage("restore", str(file))

    everything = first.everything()
    assert len(everything) > 50
    assert second.everything() == everything


@contextmanager
def open_database(host: Host) -> Iterator[None]:
    """Run a process that has the database open, and kill it at the end."""
    command, pipe = [sys.executable, "-c", HOLD], subprocess.PIPE
    environment = host.environment | {"DJANGO_SETTINGS_MODULE": "hdr_site.settings"}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdin=pipe, stdout=pipe, text=True) as holder:
        assert holder.stdout and holder.stdout.readline() == "It is open.\n"
        try:
            yield
        finally:
            holder.kill()


def refuse_to_restore_under_a_site(host: Host, file: Path) -> None:
    with open_database(host):
        assert "is in use" in host.manage("restore", str(file), works=False)
    host.manage("restore", str(file))


@pytest.mark.services
def test_sqlite_in_use_is_not_restored(tmp_path: Path) -> None:
    first, second = Host(tmp_path / "first"), Host(tmp_path / "second")
    first.manage("migrate", "--verbosity", "0")
    first.manage("backup", str(tmp_path / "backup"))
    refuse_to_restore_under_a_site(second, tmp_path / "backup")

    for file in (tmp_path / "second").glob("db.sqlite3*"):
        file.unlink()
    (tmp_path / "second" / "db.sqlite3-wal").write_bytes(b"of the one before")
    refuse_to_restore_under_a_site(second, tmp_path / "backup")


@pytest.mark.services
def test_site_does_not_start_while_database_is_restored(tmp_path: Path) -> None:
    host = Host(tmp_path / "host")
    with hold_alone(str(tmp_path / "host" / "db.sqlite3")):
        told = host.manage("prepare", works=False)

    assert told.splitlines() == ["CommandError: The database cannot be used: the database is being restored"]


def test_own_connections_keep_the_database_locked_for_others(tmp_path: Path) -> None:
    """`restore` reads an existing database before it replaces it."""
    database = str(tmp_path / "db.sqlite3")
    use = "import sys; from recognizer.database_file import hold; hold(sys.argv[1])"
    with hold_alone(database):
        hold(database)
        other = subprocess.run(
            [sys.executable, "-c", use, database], cwd=ROOT, capture_output=True, text=True, check=False
        )

    assert HeldError.__name__ in other.stderr


def site_answers(folder: Path, happens: str, *run_by: str) -> list[str]:
    """Return the answers to a drawing, a list and /readyz: at first, and while the database file is changed."""
    host = Host(folder / "data")
    environment = host.environment | {"DJANGO_SETTINGS_MODULE": "hdr_site.settings", "HDR_THROTTLES": "off"}
    command = [*run_by, sys.executable, "-c", SERVE + happens]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


WELL = "201 200 200 None"


@pytest.mark.slow
def test_missing_or_replaced_database_file_is_503(tmp_path: Path) -> None:
    assert site_answers(tmp_path, REMOVED) == [
        WELL,
        "503 503 503 the database does not answer: the database's file is gone",
        WELL,
        "503 503 503 the database does not answer: the database's file was replaced: start the site again",
    ]


@pytest.mark.slow
def test_read_only_database_is_503_until_writable(tmp_path: Path) -> None:
    run_by = WITHOUT_ROOTS_RIGHTS if os.geteuid() == 0 else []
    there, read_only, mended = site_answers(tmp_path, READ_ONLY, *run_by)

    assert read_only == "503 503 503 the database does not answer: the database can only be read"
    assert (there, mended) == (WELL, WELL)


@pytest.mark.slow
def test_damaged_database_is_503_until_repaired(tmp_path: Path) -> None:
    there, damaged, mended = site_answers(tmp_path, DAMAGED)

    assert damaged == "503 503 503 the database does not answer: database disk image is malformed"
    assert (there, mended) == (WELL, WELL)


@pytest.mark.services
def test_empty_database_is_not_backed_up(tmp_path: Path) -> None:
    assert "is empty" in Host(tmp_path / "host").manage("backup", str(tmp_path / "backup"), works=False)
    assert not (tmp_path / "backup").exists()


@pytest.mark.services
def test_sqlite_backup_restores_everything(tmp_path: Path) -> None:
    hosts = Host(tmp_path / "first"), Host(tmp_path / "second")
    back_up_and_restore(*hosts, tmp_path / "backup.sqlite3")


@pytest.mark.services
def test_postgresql_backup_restores_everything(tmp_path: Path) -> None:
    import psycopg

    url = os.environ.get("DATABASE_URL", "")
    if not url.startswith("postgres"):
        pytest.skip("DATABASE_URL names no PostgreSQL")
    names = [f"backup_{number}_{os.getpid()}" for number in (1, 2)]
    urls = [urllib.parse.urlparse(url)._replace(path=f"/{name}").geturl() for name in names]
    with psycopg.connect(url, autocommit=True) as server:
        for name in names:
            server.execute(f"CREATE DATABASE {name}")
        try:
            first, second = (Host(tmp_path / name, address) for name, address in zip(names, urls, strict=True))
            back_up_and_restore(first, second, tmp_path / "backup.dump")
            server.execute(f"DROP DATABASE {names[1]} WITH (FORCE)")
            server.execute(f"CREATE DATABASE {names[1]}")
            refuse_to_restore_under_a_site(second, tmp_path / "backup.dump")
        finally:
            for name in names:
                server.execute(f"DROP DATABASE {name} WITH (FORCE)")
