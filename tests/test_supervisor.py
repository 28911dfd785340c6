"""The supervisor of the site's parts, tested with small scripts that end in every way."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hdr_site.supervisor import Part, Policy, Readiness
from tests.processes import lives, until

ROOT = Path(__file__).resolve().parent.parent

SUPERVISE = """
import sys
from hdr_site.supervisor import Part, Policy, Supervisor
_, steady, tries, stop, *scripts = sys.argv
parts = [Part(f"part {number}", ["sh", "-c", script]) for number, script in enumerate(scripts, 1)]
sys.exit(Supervisor(parts, Policy(float(steady), int(tries), 0, float(stop)), lambda: True).run() or None)
"""
LASTS = "exec sleep 600"
STOPS_THE_SITE = "kill $PPID; " + LASTS  # a part's parent is the supervisor
FOURTH_STOPS_THE_SITE = f"echo start >> starts; test $(wc -l < starts) -lt 4 || {{ {STOPS_THE_SITE}; }}"


def command_of(folder: Path, *scripts: str, steady: float = 600, tries: int = 3, stop: float = 600) -> list[str]:
    """Return the command of a supervisor of shell scripts, which run in a folder and restart without a pause."""
    policy = map(str, (steady, tries, stop))
    return [sys.executable, "-c", SUPERVISE, *policy, *(f"cd {folder}; {script}" for script in scripts)]


def supervise(folder: Path, *scripts: str, **policy: float) -> subprocess.CompletedProcess[str]:
    """Supervise scripts until the supervisor ends."""
    command = command_of(folder, *scripts, **policy)  # type: ignore[arg-type]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_pauses_double_until_giving_up() -> None:
    policy = Policy(tries=5, pause=0.5)

    assert [policy.pause_after(failures) for failures in range(6)] == [0.5, 0.5, 1, 2, 4, None]


@pytest.mark.parametrize("end", ["exit 0", "exit 1", "kill -9 $$"])
def test_ended_part_is_restarted(tmp_path: Path, end: str) -> None:
    done = supervise(tmp_path, f"{FOURTH_STOPS_THE_SITE}; {end}", LASTS, tries=4)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("part 1 is started again") == 3
    assert done.stdout.count("part 2 started") == done.stdout.count("part 2 stopped") == 1


def test_failures_after_a_long_run_are_forgotten(tmp_path: Path) -> None:
    done = supervise(tmp_path, FOURTH_STOPS_THE_SITE, steady=0, tries=1)

    assert (done.returncode, done.stdout.count("part 1 is started again")) == (0, 3)


@pytest.mark.parametrize(
    ("end", "how"),
    [("exit 7", "with exit status 7"), ("exit 0", "with exit status 0"), ("kill -9 $$", "killed by SIGKILL")],
)
def test_part_that_keeps_failing_stops_supervisor_with_reason(tmp_path: Path, end: str, how: str) -> None:
    done = supervise(tmp_path, LASTS, f"echo $$ >> tried; echo The port is taken.; {end}")

    assert done.returncode == 1
    first, *last = done.stderr.splitlines()
    assert "part 2 cannot stay up: it ended 3 times" in first and how in first
    assert last[-1] == "The port is taken."
    assert len((tmp_path / "tried").read_text().split()) == 3
    assert "part 1 stopped (rc=-15)" in done.stdout


def test_processes_started_by_a_part_end_with_it(tmp_path: Path) -> None:
    supervise(tmp_path, "sleep 600 & echo $! >> left; exit 1", tries=2)

    left = [int(pid) for pid in (tmp_path / "left").read_text().split()]
    assert len(left) == 2
    until(lambda: not any(map(lives, left)))


def test_part_that_does_not_stop_is_killed(tmp_path: Path) -> None:
    done = supervise(tmp_path, f"trap '' TERM; {STOPS_THE_SITE}", stop=0)

    assert done.returncode == 0
    assert "part 1 stopped (rc=-9)" in done.stdout


@pytest.fixture
def hangup_as_usual() -> Iterator[None]:
    """Handle SIGHUP as usual, although the tests may run under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("hangup_as_usual")
@pytest.mark.parametrize("name", ["INT", "TERM", "HUP"])
def test_signal_stops_parts_before_supervisor(tmp_path: Path, name: str) -> None:
    """Closing a terminal sends SIGHUP."""
    script = f"trap 'echo closing; exit 3' TERM; kill -{name} $PPID; while :; do sleep 0.1; done"
    done = supervise(tmp_path, script)

    assert (done.returncode, done.stderr) == (0, "")
    assert f"SIG{name} received" in done.stdout
    assert "closing" in done.stdout and "part 1 stopped (rc=3)" in done.stdout


def test_nohup_keeps_the_site_running(tmp_path: Path) -> None:
    command = ["nohup", *command_of(tmp_path, f"kill -HUP $PPID; echo still here; {STOPS_THE_SITE}")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)

    assert "still here" in done.stdout and "SIGTERM received" in done.stdout


def test_site_keeps_running_when_nobody_reads_its_output(tmp_path: Path) -> None:
    told = "echo one; sleep 0.2; echo two; sleep 0.2; echo three"
    script = f"trap 'echo orderly > ended; exit 0' TERM; {told}; touch told; kill $PPID; while :; do sleep 0.1; done"
    command = command_of(tmp_path, script)
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout and supervisor.stderr
        supervisor.stdout.close()
        said = supervisor.stderr.read()

    assert "Traceback" not in said
    assert (tmp_path / "told").exists() and (tmp_path / "ended").exists()


def test_parts_are_stopped_when_supervisor_fails(tmp_path: Path) -> None:
    command = command_of(tmp_path, "trap 'echo orderly > ended; exit 0' TERM; while :; do sleep 0.1; done")
    command[2] = command[2].replace("lambda: True", "lambda: 1 / 0")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)

    assert "ZeroDivisionError" in done.stderr
    assert "part 1 stopped" in done.stdout


@pytest.mark.parametrize(
    "body", [b"[]", b'{"process": "x"}', b'{"process": 1e99}', b"", b'{"process": 99999999999999}']
)
def test_other_server_on_port_is_not_taken_for_the_site(monkeypatch: pytest.MonkeyPatch, body: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        monkeypatch.setenv("PORT", str(other.getsockname()[1]))
        answer = threading.Thread(target=_answer, args=(other, b"HTTP/1.1 200 OK\r\n\r\n" + body))
        answer.start()
        web = Part("web", [])
        web.process = subprocess.Popen(["sleep", "600"])
        try:
            assert not Readiness(web, time.monotonic())()
        finally:
            web.process.kill()
            web.process.wait()
            answer.join()


def _answer(server: socket.socket, answer: bytes) -> None:
    client, _ = server.accept()
    with client:
        client.recv(4096)
        client.sendall(answer)


def test_every_output_line_has_the_name_of_its_part(tmp_path: Path) -> None:
    long = 200_000
    done = supervise(tmp_path, f"head -c {long} /dev/zero | tr '\\0' x; printf 'a\\nb'; {STOPS_THE_SITE}")

    lines = [line.partition(" | ")[2] for line in done.stdout.splitlines() if "part 1   |" in line]
    assert sum(map(len, lines)) == long + 2
    assert [lines[-2][-1], lines[-1]] == ["a", "b"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent is gone")
def test_parts_end_when_supervisor_is_killed(tmp_path: Path) -> None:
    command = command_of(tmp_path, f"echo $$ > running; {LASTS}")
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as supervisor:
        until(lambda: (tmp_path / "running").exists() and (tmp_path / "running").read_text().strip())
        os.kill(supervisor.pid, signal.SIGKILL)

    until(lambda: not lives(int((tmp_path / "running").read_text())))
