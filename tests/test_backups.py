"""A backup is put back on another host, and everything is there: drawings, people, versions and their files."""

import os
import urllib.parse
from pathlib import Path

import pytest

from tests.hosts import USE_THE_SITE, Host


def back_up_and_restore(first: Host, second: Host, file: Path) -> None:
    first.manage("migrate", "--verbosity", "0")
    first.manage("shell", "--verbosity", "0", script=USE_THE_SITE)
    assert "Wrote" in first.manage("backup", str(file))
    assert "is there already" in first.manage("backup", str(file), works=False)
    assert "not empty" in first.manage("restore", str(file), works=False)

    damaged = file.with_suffix(".damaged")
    damaged.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    second.manage("restore", str(damaged), works=False)
    second.manage("restore", str(file))

    everything = first.everything()
    assert len(everything) > 50
    assert second.everything() == everything


@pytest.mark.services
def test_sqlite(tmp_path: Path) -> None:
    hosts = Host(tmp_path / "first"), Host(tmp_path / "second")
    back_up_and_restore(*hosts, tmp_path / "backup.sqlite3")


@pytest.mark.services
def test_postgresql(tmp_path: Path) -> None:
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
        finally:
            for name in names:
                server.execute(f"DROP DATABASE {name} WITH (FORCE)")
