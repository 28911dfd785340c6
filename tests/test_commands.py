"""The operator's commands."""

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command

from hdr_site.supervisor import PARTS
from recognizer.models import ModelVersion
from tests.processes import free_port, until

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.django_db
def test_prepare_is_idempotent(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJANGO_SUPERUSER_USERNAME", "root")
    call_command("prepare")
    first = capsys.readouterr().out
    call_command("prepare")
    second = capsys.readouterr().out

    password = re.search(r"password (\S+) \(shown only now\)", first)
    assert password is not None
    assert User.objects.get().username == "root"
    assert User.objects.get().check_password(password[1])
    assert ModelVersion.objects.get().state == "active"
    assert second == ""


@pytest.mark.django_db
def test_given_password_is_not_printed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", "correct horse")
    call_command("prepare")

    assert "correct horse" not in capsys.readouterr().out
    assert User.objects.get().check_password("correct horse")


class Site:
    """The whole site as one command, in a data directory of its own."""

    def __init__(self, data: Path, **environment: str) -> None:
        self.address = f"http://127.0.0.1:{(port := free_port())}"
        self.environment = os.environ | {"HDR_DATA_DIR": str(data), "PORT": str(port), "SECRET_KEY": ""} | environment
        self.process = subprocess.Popen(
            [sys.executable, "manage.py", "runsite"],
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def line_with(self, *words: str) -> str:
        """Read its output up to a line with all these words."""
        assert self.process.stdout is not None
        return next(line for line in self.process.stdout if all(word in line for word in words))

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(self.address + path, timeout=5) as response:
            body: bytes = response.read()
            return body

    def stop(self, number: signal.Signals) -> str:
        """Stop it and return the rest of its output."""
        self.process.send_signal(number)
        rest, _ = self.process.communicate(timeout=60)
        return rest


@pytest.mark.site
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_site_starts_with_one_command_and_stops_cleanly(tmp_path: Path, stop: signal.Signals) -> None:
    """With a real web server, worker and scheduler, in their own data directory."""
    site = Site(tmp_path, WEB_CONCURRENCY="2")
    try:
        workers = {"site@", "training@"}
        while workers:
            line = site.line_with(" ready.")
            workers -= {worker for worker in workers if f" {worker}" in line}
        until(lambda: answers(site))
        ready, counted = site.get("/readyz"), site.get("/metrics")
        inspect = [sys.executable, "-m", "celery", "--app", "hdr_site", "inspect", "ping", "--timeout", "10"]
        ping = subprocess.run(inspect, cwd=ROOT, env=site.environment, capture_output=True, text=True, check=False)
    finally:
        rest = site.stop(stop)

    assert b'"model_version": 1' in ready
    assert counted.count(b"digits_serving_version{pid=") == 2
    assert "2 nodes online" in ping.stdout
    assert site.process.returncode == 0, rest
    for part in ("web", "worker", "training", "beat"):
        assert f"{part} stopped (rc=0)" in rest
    assert not list(tmp_path.rglob("*.pid"))
    assert (tmp_path / "secret_key").stat().st_mode & 0o777 == 0o600


@pytest.mark.site
def test_killed_part_is_restarted(tmp_path: Path) -> None:
    site = Site(tmp_path, WEB_CONCURRENCY="1")
    try:
        started = {part: int(site.line_with("system", f" {part} started").split("pid=")[1][:-2]) for part in PARTS}
        site.line_with("Ready in")
        for part, pid in started.items():
            os.kill(pid, signal.SIGKILL)
            site.line_with("system", f" {part} stopped (rc=-9)")
            site.line_with("system", f" {part} started")
        until(lambda: answers(site))
    finally:
        rest = site.stop(signal.SIGTERM)

    assert site.process.returncode == 0, rest
    assert "cannot stay up" not in rest


@pytest.mark.site
def test_part_that_keeps_failing_stops_site_with_reason(tmp_path: Path) -> None:
    site = Site(tmp_path, WEB_CONCURRENCY="many")
    said, _ = site.process.communicate(timeout=120)

    assert site.process.returncode == 1
    assert "The site ends because web cannot stay up" in said
    assert said.splitlines()[-1] == "WEB_CONCURRENCY must be a whole number, got 'many'."


@pytest.mark.slow
def test_taken_port_stops_start_before_anything_is_written(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        site = Site(tmp_path, PORT=str(other.getsockname()[1]))
        said, _ = site.process.communicate(timeout=60)

    assert site.process.returncode == 1
    assert "Cannot listen on 127.0.0.1" in said
    assert not list(tmp_path.glob("db.sqlite3*"))


def answers(site: Site) -> bool:
    try:
        return bool(site.get("/readyz"))
    except OSError:
        return False
