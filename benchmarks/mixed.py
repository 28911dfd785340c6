"""Load as people make it: previews, drawings that are stored and corrections, at 1 to 64 connections.

python -m benchmarks.mixed [--seconds 5] [--rows 0] [--naive]

On the database that `DATABASE_URL` names, which must be empty, or on SQLite. `--rows` fills it first, to see whether
cost stays flat; `--naive` measures Keras' `model.predict` in a view too, which needs TensorFlow. Everything is by one
anonymous visitor with their cookies. Fails if anything is answered otherwise than expected.
"""

import argparse
import json
import sys
import tempfile
import urllib.request
from functools import reduce
from pathlib import Path

from benchmarks.__main__ import memory_of, wavy
from benchmarks.harness import PORT, WEB_SERVER, ask, configure, expect, free_port, prepare, serving
from benchmarks.load import Load, load, request_bytes

CONNECTIONS = (1, 4, 16, 64)
ROUNDS = 4  # for each line, with new connections: the kernel deals them to the processes as it likes
PREVIEWS, STORED, CORRECTED = 12, 3, 1  # of sixteen requests: a digit takes some previews, and few are corrected
OF_ONES_OWN = 64  # submissions that are corrected


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0, help="of load for each line")
    parser.add_argument("--rows", type=int, default=0, help="submissions to store before")
    parser.add_argument("--naive", action="store_true", help="measure model.predict in a view too")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="digits-mixed-") as folder:
        configure(folder, "benchmarks.settings", WEB_CONCURRENCY="2")
        prepare()
        fill_database(arguments.rows)
        with serving(Path(folder, "web.log"), WEB_SERVER) as server:
            measure(arguments.seconds)
            print("memory:", ", ".join(f"{megabytes:.0f} MB" for _, megabytes in memory_of(server.process.pid)))
            if arguments.naive:  # beside the site, which has nothing to do
                measure_naive(Path(folder), arguments.seconds, "model.predict, one process", "1")
                measure_naive(Path(folder), arguments.seconds, "model.predict, two", "2")


def fill_database(rows: int) -> None:
    import django

    django.setup()
    from django.db import connection

    from benchmarks.pages import fill

    if rows:
        fill(rows)
    print(f"{connection.vendor}, {rows:,} submissions stored before")
    connection.close()


def measure(seconds: float) -> None:
    """Print a table."""
    preview, store, mixed = requests_of(open_page())
    drawing = drawn()
    targets = {  # name: requests, the statuses that answer them
        "the same work, bare": ([request_bytes("POST", "/work", drawing, PORT)], (200,)),
        "previews": ([preview], (200,)),
        "stored submissions": ([store], (201,)),
        "mixed": (mixed, (200, 201)),  # who corrects again replaces what was said: 200
    }
    print(f"{'':26} connections   per s  of bare   p50 ms     p95     p99  statuses")
    for connections in CONNECTIONS:
        bare = 0.0
        for name, (requests, statuses) in targets.items():
            result = rounds(PORT, requests, connections, seconds)
            bare = bare or result.per_second
            expect(name, result.statuses, *statuses)
            tell(name, connections, result, bare)


def rounds(port: int, requests: list[bytes], connections: int, seconds: float) -> Load:
    return reduce(Load.together, [load(port, requests, connections, seconds / ROUNDS) for _ in range(ROUNDS)])


def drawn() -> bytes:
    return json.dumps({"strokes": [stroke.tolist() for stroke in wavy(45)], "width": 280, "height": 280}).encode()


def requests_of(visitor: dict[str, str]) -> tuple[bytes, bytes, list[bytes]]:
    """Return a preview, a drawing that is stored, and both mixed with corrections of what is stored already."""
    drawing = drawn()
    preview = request_bytes("POST", "/api/v1/previews", drawing, PORT, visitor)
    store = request_bytes("POST", "/api/v1/submissions", drawing, PORT, visitor)
    mixed = []
    for number in range(OF_ONES_OWN):
        said = json.dumps({"digit": number % 10}).encode()
        path = f"/api/v1/submissions/{stored(drawing, visitor)}/correction"
        mixed += [preview] * PREVIEWS + [store] * STORED + [request_bytes("POST", path, said, PORT, visitor)]
    return preview, store, mixed


def open_page() -> dict[str, str]:
    """Open the page as a browser would; return what it sends from then on."""
    with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/") as page:
        cookies = [value.partition(";")[0] for name, value in page.getheaders() if name.lower() == "set-cookie"]
        token = page.read().decode().split('name="csrfmiddlewaretoken" value="')[1].split('"')[0]
    return {"Cookie": "; ".join(cookies), "X-CSRFToken": token}


def tell(name: str, connections: int, result: Load, bare: float) -> None:
    p50, p95, p99 = (result.percentile(share) for share in (0.5, 0.95, 0.99))
    rates = f"{connections:11} {result.per_second:7.0f} {result.per_second / bare:8.2f}"
    print(f"{name:26} {rates} {p50:8.2f} {p95:7.2f} {p99:7.2f}  {dict(result.statuses)}")


def stored(drawing: bytes, visitor: dict[str, str]) -> int:
    """Store a drawing; return its number."""
    status, answer = ask("POST", "/api/v1/submissions", json.loads(drawing), headers=visitor)
    if status != 201:
        raise SystemExit(f"A drawing was answered {status} {answer}.")
    return int(answer["id"])


def measure_naive(folder: Path, seconds: float, name: str, workers: str) -> None:
    """Measure Keras in a view, on the same server: as `flask run` has it, and with as many processes as the site."""
    from tests.drawings import canary, encoded, picture_of

    port = free_port()
    command = [sys.executable, "-m", "granian", "--interface", "wsgi", "--port", str(port), "--blocking-threads", "4"]
    command += ["--workers", workers, "--workers-kill-timeout", "5"]  # what is inside TensorFlow does not end when told
    picture = encoded(picture_of(canary(3)))
    requests = [request_bytes("POST", "/", picture, port)]
    with serving(folder / "naive.log", [*command, "benchmarks.naive:application"], port):
        load(port, requests, 8, 3)  # its first predictions trace the network
        for connections in CONNECTIONS:
            result = load(port, requests, connections, seconds)
            expect(name, result.statuses, 200)
            tell(name, connections, result, result.per_second)


if __name__ == "__main__":
    main()
