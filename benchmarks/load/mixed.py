"""A realistic mix of requests: previews, stored drawings and corrections, on 1 to 64 connections.

    python -m benchmarks.load.mixed [--seconds 5] [--rows 0] [--naive]

Runs on the database that `DATABASE_URL` names, which must be empty, or on SQLite. `--rows` fills it first, to see
whether cost stays flat. `--naive` also measures Keras' `model.predict` in a view; it needs TensorFlow. One anonymous
visitor sends everything. Fails on any unexpected answer.
"""

import sys
import tempfile
from pathlib import Path

from benchmarks.harness import WEB_SERVER, Client, command_line, configure, expect, free_port, manage, serving
from benchmarks.load.generator import COLUMNS, DRAWING, LoadResult, load, request_bytes, resident_memory

CONNECTIONS = (1, 4, 16, 64)
ROUNDS = 4  # per line, on new connections: the kernel's choice of a process for each differs
PREVIEWS, STORED = 12, 3  # per correction: a digit takes several previews, and few are corrected
CORRECTED = 64  # submissions that are corrected again and again


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="of load per line")
    parser.add_argument("--rows", type=int, default=0, help="submissions to store first")
    parser.add_argument("--naive", action="store_true", help="also measure model.predict in a view")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="digits-mixed-") as folder:
        configure(folder, "benchmarks.load.settings", WEB_CONCURRENCY="2")
        manage("prepare")
        fill_database(arguments.rows)
        with serving(Path(folder, "web.log"), WEB_SERVER) as server:
            measure(arguments.seconds)
            memory = resident_memory(server.process.pid).values()
            print("memory:", ", ".join(f"{megabytes:.0f} MB" for megabytes in memory))
            if arguments.naive:  # beside the site, which is idle
                measure_naive(Path(folder), arguments.seconds, "model.predict, one process", "1")
                measure_naive(Path(folder), arguments.seconds, "model.predict, two", "2")


def fill_database(rows: int) -> None:
    import django

    django.setup()
    from django.db import connection

    from benchmarks.load.pages import fill

    if rows:
        fill(rows)
    print(f"{connection.vendor}, {rows:,} submissions stored first")
    connection.close()


def measure(seconds: float) -> None:
    """Print a table."""
    preview, store, mix = visitor_requests(Client.visitor())
    targets = {  # name: requests, expected statuses
        "the same work, bare": ([request_bytes("POST", "/work", DRAWING)], (200,)),
        "previews": ([preview], (200,)),
        "stored submissions": ([store], (201,)),
        "mixed": (mix, (200, 201)),  # a repeated correction replaces the first: 200
    }
    print(f"{'':26} connections {COLUMNS}")
    for connections in CONNECTIONS:
        bare = 0.0
        for name, (requests, statuses) in targets.items():
            result = sum((load(requests, connections, seconds / ROUNDS) for _ in range(ROUNDS)), LoadResult())
            bare = bare or result.per_second
            expect(name, result.statuses, *statuses)
            print_row(name, connections, result, bare)


def visitor_requests(visitor: Client) -> tuple[bytes, bytes, list[bytes]]:
    """Return a preview, a drawing to store, and a mix of both with corrections of stored drawings."""
    preview = request_bytes("POST", "/api/v1/previews", DRAWING, visitor.headers)
    store = request_bytes("POST", "/api/v1/submissions", DRAWING, visitor.headers)
    mix = []
    for number in range(CORRECTED):
        path = f"/api/v1/submissions/{visitor.call('POST', '/api/v1/submissions', DRAWING)['id']}/correction"
        correct = request_bytes("POST", path, {"digit": number % 10}, visitor.headers)
        mix += [preview] * PREVIEWS + [store] * STORED + [correct]
    return preview, store, mix


def print_row(name: str, connections: int, result: LoadResult, bare: float) -> None:
    print(f"{name:26} {connections:11} {result.columns(result.per_second, bare)}")


def measure_naive(folder: Path, seconds: float, name: str, workers: str) -> None:
    """Measure Keras in a view, on the same server."""
    from tests.drawings import canary, encoded, picture_of

    port = free_port()
    command = [sys.executable, "-m", "granian", "--interface", "wsgi", "--port", str(port), "--blocking-threads", "4"]
    command += ["--workers", workers, "--workers-kill-timeout", "5"]  # TensorFlow's threads ignore SIGTERM
    requests = [request_bytes("POST", "/", encoded(picture_of(canary(3))))]
    address = f"127.0.0.1:{port}"
    with serving(folder / "naive.log", [*command, "benchmarks.load.naive:application"], address):
        load(requests, 8, 3, port)  # the first predictions trace the network
        for connections in CONNECTIONS:
            result = load(requests, connections, seconds, port)
            expect(name, result.statuses, 200)
            print_row(name, connections, result, result.per_second)


if __name__ == "__main__":
    main()
