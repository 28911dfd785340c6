"""A benchmark measures its own site, or fails."""

import json
import os
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from benchmarks.harness import Answer, Client, Server, ask, expect, serving
from tests.processes import free_port, lives, until

ANSWERS = """
import os, sys
from tests.test_benchmarks import Answering, HTTPServer
HTTPServer(("127.0.0.1", int(sys.argv[1])), Answering).serve_forever()
"""


class Answering(BaseHTTPRequestHandler):
    """Answers like a site that is ready."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"model_version": 1, "process": os.getpid()}).encode())

    def log_message(self, *args: object) -> None:
        """Log nothing."""


@pytest.fixture
def taken() -> Iterator[str]:
    """The address of another site."""
    with HTTPServer(("127.0.0.1", 0), Answering) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{other.server_port}"
        other.shutdown()


def test_own_site_is_measured_and_stopped(tmp_path: Path) -> None:
    port = free_port()
    address = f"127.0.0.1:{port}"
    command = ["sh", "-c", f"{sys.executable} -c '{ANSWERS}' {port}; true"]  # its child process answers
    with serving(tmp_path / "log", command, address) as server:
        child = ask("GET", "/readyz", address=address).json["process"]
        assert child != server.process.pid

    assert server.process.poll() is not None
    until(lambda: not lives(child))


def test_another_site_at_the_address_stops_the_benchmark(tmp_path: Path, taken: str) -> None:
    with pytest.raises(SystemExit, match=f"{taken} is another site's"):
        Server.start(tmp_path / "log", ["sleep", "600"], address=taken)


def test_another_site_that_takes_the_address_later_stops_the_benchmark(tmp_path: Path, taken: str) -> None:
    server = Server.start(tmp_path / "log", ["sleep", "600"], lambda _: True, taken)
    try:
        with pytest.raises(SystemExit, match="is another site's"):
            server.is_ready()
    finally:
        server.stop()


def test_failed_start_shows_the_log(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="Cannot listen"):
        Server.start(tmp_path / "log", ["sh", "-c", "echo Cannot listen; exit 1"], address=f"127.0.0.1:{free_port()}")


@pytest.mark.parametrize("statuses", [{404: 346}, {200: 56, 429: 1}, {}])
def test_unexpected_status_is_not_counted_as_throughput(statuses: dict[int, int]) -> None:
    expect("previews", Counter({200: 5}), 200)
    expect("mixed", Counter({200: 5, 201: 1}), 200, 201)
    with pytest.raises(SystemExit, match="previews: answered"):
        expect("previews", Counter(statuses), 200)


@pytest.mark.parametrize(("body", "parsed"), [("[1]", [1]), ("<html>", {}), ("", {})])
def test_answer_that_is_not_json_has_no_fields(body: str, parsed: object) -> None:
    assert Answer(200, body, {}, 0.0).json == parsed


def test_failed_call_stops_the_benchmark_with_status_and_path() -> None:
    with pytest.raises(SystemExit, match="GET /api/v1/models: 0 ConnectionRefusedError"):
        Client(address=f"127.0.0.1:{free_port()}").call("GET", "/api/v1/models")
