"""The operator's commands."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command

from recognizer.models import ModelVersion

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.django_db
def test_prepare_makes_everything_once(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_a_given_password_is_not_printed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", "correct horse")
    call_command("prepare")

    assert "correct horse" not in capsys.readouterr().out
    assert User.objects.get().check_password("correct horse")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@pytest.mark.site
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_the_site_starts_as_one_command_and_stops_cleanly(tmp_path: Path, stop: signal.Signals) -> None:
    """Web server, worker and scheduler for real, in a data directory of their own."""
    port = free_port()
    environment = {
        **os.environ,
        "HDR_DATA_DIR": str(tmp_path),
        "PORT": str(port),
        "SECRET_KEY": "",
        "WEB_CONCURRENCY": "2",
    }
    site = subprocess.Popen(
        [sys.executable, "manage.py", "runsite"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert site.stdout is not None
        workers = {"site@", "training@"}
        while workers:
            line = next(site.stdout)
            workers -= {worker for worker in workers if f" {worker}" in line and " ready." in line}
        ready = _wait_for(f"http://127.0.0.1:{port}/readyz")
        counted = _wait_for(f"http://127.0.0.1:{port}/metrics")
        inspect = [sys.executable, "-m", "celery", "--app", "hdr_site", "inspect", "ping", "--timeout", "10"]
        ping = subprocess.run(inspect, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    finally:
        site.send_signal(stop)
        rest, _ = site.communicate(timeout=30)

    assert b'"model_version": 1' in ready
    assert counted.count(b"digits_serving_version{pid=") == 2
    assert "2 nodes online" in ping.stdout
    assert site.returncode == 0, rest
    for part in ("web", "worker", "training", "beat"):
        assert f"{part} stopped (rc=0)" in rest
    assert not list(tmp_path.rglob("*.pid"))
    assert (tmp_path / "secret_key").stat().st_mode & 0o777 == 0o600


def _wait_for(url: str) -> bytes:
    end = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as response:
                body: bytes = response.read()
                return body
        except OSError:
            assert time.monotonic() < end, f"{url} did not answer"
            time.sleep(0.1)
