"""Measures reading, drawing and serving on this machine, in one run, and prints ratios.

python -m benchmarks [--seconds 5] [--connections 16] [--server granian|gunicorn]

Fails if anything is answered otherwise than expected.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import reduce
from pathlib import Path

import numpy as np

from benchmarks.harness import PORT, WEB_SERVER, configure, expect, prepare, serving
from benchmarks.load import Load, load, request_bytes

WORKERS = 2
ROUNDS = 3  # the addresses are loaded in turn, so that a noisy moment hits all of them


def main() -> None:
    arguments = parse_arguments()
    with tempfile.TemporaryDirectory(prefix="digits-bench-") as folder:
        configure(folder, "benchmarks.settings", WEB_CONCURRENCY=str(WORKERS))
        measure_functions()
        prepare()
        started = time.perf_counter()
        with serving(Path(folder, "web.log"), COMMANDS[arguments.server]) as server:
            seconds = time.perf_counter() - started
            print(f"\n{arguments.server}, {WORKERS} processes: ready {seconds:.2f} s after start")
            measure_http(arguments.connections, arguments.seconds)
            for child, megabytes in memory_of(server.process.pid):
                print(
                    f"web process {child}: {megabytes:.0f} MB resident, {private_memory_of(child):.0f} MB of it its own"
                )


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4.0, help="of load per address and round")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--server", choices=COMMANDS, default="granian")
    return parser.parse_args()


# --- One function at a time -------------------------------------------------------------------------------------------


def measure_functions() -> None:
    import django

    django.setup()
    from recognizer.engine import DigitModel
    from recognizer.explanation import explain
    from recognizer.parsing import parse_drawing
    from recognizer.preprocessing import ink_to_input
    from recognizer.preprocessing.decoding import decode_picture
    from recognizer.preprocessing.picture import picture_to_input
    from recognizer.registry import BUNDLED
    from recognizer.verdicts import Thresholds
    from tests.drawings import canary, encoded, picture_of

    strokes = wavy(45)
    body = {"strokes": [stroke.tolist() for stroke in strokes], "width": 280, "height": 280}
    model = DigitModel((BUNDLED / "digits.tflite").read_bytes(), Thresholds(0, 0, 0))
    image = ink_to_input(strokes, 280)
    small = encoded(picture_of(canary(3)))
    large = encoded(np.repeat(np.repeat(picture_of(canary(3)), 12, 0), 12, 1), "JPEG")
    inference = timed(lambda: model.probabilities(image))
    print(f"{'one call':44} {'p50 ms':>8} {'of inference':>13}")
    for name, function in {
        "inference": lambda: model.probabilities(image),
        "explanation": lambda: explain(model, image),
        "ink of 45 points to input": lambda: ink_to_input(strokes, 280),
        "ink of 45 points checked and to input": lambda: parse_drawing(body),
        "picture, 280×280 PNG, decoded and to input": lambda: picture_to_input(decode_picture(small)),
        "picture, 11 MP JPEG, decoded and to input": lambda: picture_to_input(decode_picture(large)),
    }.items():
        milliseconds = timed(function)
        print(f"{name:44} {milliseconds:8.3f} {milliseconds / inference:12.1f}×")


def wavy(points: int) -> list[np.ndarray]:
    """A drawn line of so many points."""
    along = np.linspace(0, 2 * np.pi, points)
    return [np.stack([140 + 60 * np.sin(2 * along), 40 + 200 * along / (2 * np.pi)], axis=1)]


def timed(function: Callable[[], object], seconds: float = 1.0) -> float:
    """Return the median time of a call in milliseconds."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 20:
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times[len(times) // 10 :])


# --- Over HTTP --------------------------------------------------------------------------------------------------------

COMMANDS = {
    "granian": WEB_SERVER,  # what the site runs on
    # To compare with; needs `pip install gunicorn`.
    "gunicorn": [
        sys.executable,
        *("-m", "gunicorn", "--workers", str(WORKERS), "--threads", "4", "--bind", f"127.0.0.1:{PORT}"),
        "hdr_site.wsgi",
    ],
}


def measure_http(connections: int, seconds: float) -> None:
    strokes = [stroke.tolist() for stroke in wavy(45)]
    body = json.dumps({"strokes": strokes, "width": 280, "height": 280}).encode()
    targets = {  # name: request, the status that answers it
        "bare view": (request_bytes("POST", "/bare", body, PORT), 200),
        "a preview's work in a bare view": (request_bytes("POST", "/work", body, PORT), 200),
        "previews": (request_bytes("POST", "/api/v1/previews", body, PORT), 200),
        "stored submissions": (request_bytes("POST", "/api/v1/submissions", body, PORT), 201),
        "healthz": (request_bytes("GET", "/healthz", b"", PORT), 200),
    }
    runs: dict[str, list[Load]] = {name: [] for name in targets}
    for _ in range(ROUNDS):
        for name, (request, status) in targets.items():
            runs[name].append(load(PORT, [request], connections, seconds))
            expect(name, runs[name][-1].statuses, status)
    bare = statistics.median(run.per_second for run in runs["bare view"])
    title = f"{connections} connections, {ROUNDS} rounds of {seconds:g} s"
    print(f"{title:44} {'per s':>7} {'of bare':>8} {'p50 ms':>8} {'p95':>7} {'p99':>7}  statuses")
    for name, loads in runs.items():
        rate = statistics.median(run.per_second for run in loads)
        together = reduce(Load.together, loads)
        p50, p95, p99 = (together.percentile(share) for share in (0.5, 0.95, 0.99))
        print(f"{name:44} {rate:7.0f} {rate / bare:8.2f} {p50:8.2f} {p95:7.2f} {p99:7.2f}  {dict(together.statuses)}")


def memory_of(pid: int) -> list[tuple[int, float]]:
    """Return the resident memory of a server's children in megabytes (Linux only)."""
    if not shutil.which("ps"):
        return []
    listing = subprocess.run(["ps", "-o", "pid=,rss=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [
        (int(child), int(kilobytes) / 1024)
        for child, kilobytes in (line.split() for line in listing.stdout.splitlines())
    ]


def private_memory_of(pid: int) -> float:
    """Return what a process shares with no other, in megabytes."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024


if __name__ == "__main__":
    main()
