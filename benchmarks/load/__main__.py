"""Reading, drawing and serving, measured in one run, as ratios.

    python -m benchmarks.load [--seconds 4] [--connections 16] [--server granian|gunicorn]

Fails on any unexpected answer.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.harness import PORT, WEB_SERVER, command_line, configure, expect, manage, serving
from benchmarks.load.generator import (
    COLUMNS,
    DRAWING,
    INK,
    LoadResult,
    load,
    private_memory,
    request_bytes,
    resident_memory,
)

WORKERS = 2
ROUNDS = 3  # the requests take turns, so that a noisy moment hits all of them

COMMANDS = {
    "granian": WEB_SERVER,  # what the site runs on
    # To compare with; needs `pip install gunicorn`.
    "gunicorn": [
        sys.executable,
        *("-m", "gunicorn", "--workers", str(WORKERS), "--threads", "4", "--bind", f"127.0.0.1:{PORT}"),
        "hdr_site.wsgi",
    ],
}


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="of load per request and round")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--server", choices=COMMANDS, default="granian")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="digits-bench-") as folder:
        configure(folder, "benchmarks.load.settings", WEB_CONCURRENCY=str(WORKERS))
        measure_functions()
        manage("prepare")
        started = time.perf_counter()
        with serving(Path(folder, "web.log"), COMMANDS[arguments.server]) as server:
            seconds = time.perf_counter() - started
            print(f"\n{arguments.server}, {WORKERS} processes: ready {seconds:.2f} s after start")
            measure_http(arguments.connections, arguments.seconds)
            for child, megabytes in resident_memory(server.process.pid).items():
                print(f"web process {child}: {megabytes:.0f} MB resident, {private_memory(child):.0f} MB of it private")


def measure_functions() -> None:
    """Print the time of single calls in this process."""
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

    model = DigitModel((BUNDLED / "digits.tflite").read_bytes(), Thresholds(0, 0, 0))
    image = ink_to_input(INK, 280)
    small = encoded(picture_of(canary(3)))
    large = encoded(np.repeat(np.repeat(picture_of(canary(3)), 12, 0), 12, 1), "JPEG")
    inference = median_time(lambda: model.probabilities(image))
    print(f"{'one call':44} {'p50 ms':>8} {'of inference':>13}")
    for name, function in {
        "inference": lambda: model.probabilities(image),
        "explanation": lambda: explain(model, image),
        "ink of 45 points to input": lambda: ink_to_input(INK, 280),
        "ink of 45 points checked and to input": lambda: parse_drawing(DRAWING),
        "picture, 280×280 PNG, decoded and to input": lambda: picture_to_input(decode_picture(small)),
        "picture, 11 MP JPEG, decoded and to input": lambda: picture_to_input(decode_picture(large)),
    }.items():
        milliseconds = median_time(function)
        print(f"{name:44} {milliseconds:8.3f} {milliseconds / inference:12.1f}×")


def median_time(function: Callable[[], object], seconds: float = 1.0) -> float:
    """Call a function again and again; return its median time in milliseconds."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 20:
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times[len(times) // 10 :])


def measure_http(connections: int, seconds: float) -> None:
    """Print throughput and latency of the server's main calls."""
    targets = {  # name: request, expected status
        "bare view": (request_bytes("POST", "/bare", DRAWING), 200),
        "a preview's work in a bare view": (request_bytes("POST", "/work", DRAWING), 200),
        "previews": (request_bytes("POST", "/api/v1/previews", DRAWING), 200),
        "stored submissions": (request_bytes("POST", "/api/v1/submissions", DRAWING), 201),
        "healthz": (request_bytes("GET", "/healthz"), 200),
    }
    runs: dict[str, list[LoadResult]] = {name: [] for name in targets}
    for _ in range(ROUNDS):
        for name, (request, status) in targets.items():
            runs[name].append(load([request], connections, seconds))
            expect(name, runs[name][-1].statuses, status)
    rates = {name: statistics.median(run.per_second for run in results) for name, results in runs.items()}
    title = f"{connections} connections, {ROUNDS} rounds of {seconds:g} s"
    print(f"{title:44} {COLUMNS}")
    for name, results in runs.items():
        print(f"{name:44} {sum(results, LoadResult()).columns(rates[name], rates['bare view'])}")


if __name__ == "__main__":
    main()
