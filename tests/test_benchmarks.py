"""A benchmark measures its own site or fails."""

import json
import os
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from benchmarks.harness import Server, ask, expect, serving
from tests.processes import free_port, lives, until

ANSWERS = """
import os, sys
from tests.test_benchmarks import Answering, HTTPServer
HTTPServer(("127.0.0.1", int(sys.argv[1])), Answering).serve_forever()
"""


class Answering(BaseHTTPRequestHandler):
    """Answers as a site that is ready."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"model_version": 1, "process": os.getpid()}).encode())

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that another site holds."""
    with HTTPServer(("127.0.0.1", 0), Answering) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        yield other.server_port
        other.shutdown()


def test_a_site_of_its_own_is_measured_and_ended(tmp_path: Path) -> None:
    port = free_port()
    command = ["sh", "-c", f"{sys.executable} -c '{ANSWERS}' {port}; true"]  # it answers by what it has started
    with serving(tmp_path / "log", command, port) as server:
        child = ask("GET", "/readyz", port=port)[1]["process"]
        assert child != server.process.pid

    assert server.process.poll() is not None
    until(lambda: not lives(child))


def test_a_port_that_another_site_holds_is_noticed(tmp_path: Path, taken: int) -> None:
    with pytest.raises(SystemExit, match=f"Port {taken} is another site's"):
        Server.start(tmp_path / "log", ["sleep", "600"], port=taken)


def test_a_port_that_another_site_took_meanwhile_is_noticed(tmp_path: Path, taken: int) -> None:
    server = Server.start(tmp_path / "log", ["sleep", "600"], lambda _: True, port=taken)
    try:
        with pytest.raises(SystemExit, match="is another site's"):
            server.is_ready()
    finally:
        server.stop()


def test_a_site_that_does_not_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="Cannot listen"):
        Server.start(tmp_path / "log", ["sh", "-c", "echo Cannot listen; exit 1"], port=free_port())


@pytest.mark.parametrize("statuses", [{404: 346}, {200: 56, 429: 1}, {}])
def test_other_statuses_than_expected_are_no_throughput(statuses: dict[int, int]) -> None:
    expect("previews", Counter({200: 5}), 200)
    expect("mixed", Counter({200: 5, 201: 1}), 200, 201)
    with pytest.raises(SystemExit, match="previews: answered"):
        expect("previews", Counter(statuses), 200)
