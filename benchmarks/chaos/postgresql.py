"""PostgreSQL servers of our own. PostgreSQL refuses to run as root, so they run as the user `postgres`."""

import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.harness import until

AS_POSTGRES = ("setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups")
STOP_TIMEOUT = 60.0  # seconds


def is_installed() -> bool:
    return bool(list(Path("/usr/lib/postgresql").glob("*/bin/initdb")))


def postgres_command(program: str, *arguments: str) -> list[str]:
    """Return a command of the newest PostgreSQL, run as its own user."""
    return [*AS_POSTGRES, str(sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1] / program), *arguments]


def run_postgres(folder: Path, program: str, *arguments: str) -> None:
    done = subprocess.run(postgres_command(program, *arguments), cwd=folder, capture_output=True, check=False)
    if done.returncode:
        raise SystemExit(f"{program} failed:\n{(done.stdout + done.stderr).decode()}")


def create_database(folder: Path) -> Path:
    """Create an empty database in a folder; return its data directory."""
    shutil.chown(folder, "postgres", "postgres")
    data = folder / "data"
    run_postgres(folder, "initdb", "-D", str(data), "-U", "digits", "--auth", "trust")
    return data


class PostgreSQL:
    """A server on a port. Its log stands beside its folder, which may be on a disk that gets full."""

    def __init__(self, folder: Path, port: int) -> None:
        shutil.chown(folder, "postgres", "postgres")
        self._folder, self.data, self.port = folder, folder / "data", port
        self._log = folder.parent / f"{folder.name}.log"
        self._log.touch()
        shutil.chown(self._log, "postgres", "postgres")

    def create(self) -> None:
        create_database(self._folder)

    def copy_from(self, primary: "PostgreSQL") -> None:
        """Become a standby that streams from a primary."""
        source = f"host=127.0.0.1 port={primary.port} user=digits"
        self.run("pg_basebackup", "-d", source, "-D", str(self.data), "-R", "-X", "stream", "-c", "fast")

    def start(self, options: str = "") -> None:
        options += f" -p {self.port} -k {self._folder} -c listen_addresses=127.0.0.1"
        self.run("pg_ctl", "-D", str(self.data), "-w", "-l", str(self._log), "-o", options, "start")

    def run(self, program: str, *arguments: str) -> None:
        run_postgres(self._folder, program, *arguments)

    def query(self, sql: str) -> list[Any]:
        where = f"host=127.0.0.1 port={self.port} user=digits dbname=postgres"
        with psycopg.connect(where, autocommit=True) as connection:
            found = connection.execute(sql)
            return found.fetchall() if found.description else []

    def set(self, name: str, value: str) -> None:
        """Change a setting of the running server."""
        self.query(f"ALTER SYSTEM SET {name} = '{value}'")
        self.query("SELECT pg_reload_conf()")

    def promote(self) -> None:
        self.run("pg_ctl", "-D", str(self.data), "-w", "promote")

    def kill(self) -> None:
        """Kill the server and all its children."""
        first = self._first_process()
        children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
        for process in (first, *map(int, children)):
            os.kill(process, signal.SIGKILL)
        until(lambda: not Path(f"/proc/{first}").exists(), STOP_TIMEOUT, "PostgreSQL is still there.")

    def is_running(self) -> bool:
        return (self.data / "postmaster.pid").exists() and Path(f"/proc/{self._first_process()}").exists()

    def stop(self) -> None:
        if self.is_running():
            self.run("pg_ctl", "-D", str(self.data), "-m", "immediate", "stop")

    def _first_process(self) -> int:
        return int((self.data / "postmaster.pid").read_text().split()[0])
