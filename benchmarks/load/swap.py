"""Model swaps under load: clients draw while three versions are promoted, and one of them is made active again.

    python -m benchmarks.load.swap [--seconds 60] [--connections 16] [--processes 4]

Fails if a request failed, or if a process served the old version for longer than two seconds.
"""

import http.client
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness import ADDRESS, WEB_SERVER, Client, command_line, configure, manage, serving
from benchmarks.load.generator import DRAWING, LoadResult, load, request_bytes, resident_memory

PROMOTED = 3  # versions, one after the other; then the last but one is made active again
WINDOW = 2.0  # seconds in which every process must have swapped; answers in it count as "during"
GIVE_UP = 30.0  # seconds

Processes = dict[int, http.client.HTTPConnection]  # an open connection to each web process, by process id


@dataclass(frozen=True, slots=True)
class Swap:
    """One change of the active version."""

    version: int
    at: float  # when it was requested, by `time.perf_counter`
    answered: float  # seconds until the API answered
    seconds: float  # until every process served it


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="of load")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--processes", type=int, default=4, help="web processes")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="digits-swap-") as folder:
        configure(folder, "benchmarks.load.settings", WEB_CONCURRENCY=str(arguments.processes))
        manage("prepare")
        versions, staff = register_versions(), Client.staff()
        with (
            serving(Path(folder, "web.log"), WEB_SERVER) as server,
            drawing(arguments.connections, arguments.seconds) as load_result,
        ):
            pause = arguments.seconds / (len(versions) + 1)
            swaps = [swap(version, staff, arguments.processes, pause) for version in versions]
            result = load_result.result()
            memory = ", ".join(f"{megabytes:.0f} MB" for megabytes in resident_memory(server.process.pid).values())
    good = report(swaps, result)
    print(f"web processes at the end: {memory} resident")
    sys.exit(0 if good else 1)


def register_versions() -> list[int]:
    """Register copies of the bundled model as new versions; return the versions to activate in turn."""
    import django

    django.setup()
    from recognizer import registry

    bundled = registry.active_version()
    assert bundled is not None
    versions = [
        registry.register(
            (registry.BUNDLED / "digits.tflite").read_bytes(),
            (registry.BUNDLED / "digits.keras").read_bytes(),
            preprocessing_version=bundled.preprocessing_version,
            thresholds=bundled.thresholds,
            metrics={},
            parent=bundled,
        ).version
        for _ in range(PROMOTED)
    ]
    return [*versions, versions[-2]]


@contextmanager
def drawing(connections: int, seconds: float) -> Iterator["Future[LoadResult]"]:
    """Store drawings from a separate process, so that the load and the measurement do not delay each other."""
    requests = [request_bytes("POST", "/api/v1/submissions", DRAWING)]
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        yield pool.submit(load, requests, connections, seconds)


def connect(count: int) -> Processes:
    """Open a connection to each web process; the kernel chooses which of them takes one."""
    processes: Processes = {}
    give_up = time.perf_counter() + GIVE_UP
    while len(processes) < count:
        if time.perf_counter() > give_up:
            raise SystemExit(f"Only {len(processes)} of {count} web processes answer.")
        connection = http.client.HTTPConnection(ADDRESS, timeout=GIVE_UP)
        process = ready(connection)["process"]
        if process in processes:
            connection.close()
        else:
            processes[process] = connection
    return processes


def ready(connection: http.client.HTTPConnection) -> dict[str, int]:
    """Ask `/readyz` on an open connection, and so of one known process."""
    connection.request("GET", "/readyz")
    answer: dict[str, int] = json.loads(connection.getresponse().read())
    return answer


def swap(version: int, staff: Client, count: int, pause: float) -> Swap:
    """Let the load run for a while, activate a version, and wait until every process serves it."""
    time.sleep(pause)
    processes = connect(count)  # only now: the server closes idle connections
    at = time.perf_counter()
    staff.call("POST", f"/api/v1/models/{version}/activate", {})
    answered = time.perf_counter() - at
    waiting = set(processes)
    while waiting and time.perf_counter() - at < GIVE_UP:
        waiting -= {process for process in waiting if ready(processes[process])["model_version"] == version}
        time.sleep(0.02)
    seconds = float("inf") if waiting else time.perf_counter() - at
    for connection in processes.values():
        connection.close()
    return Swap(version, at, answered, seconds)


def report(swaps: list[Swap], result: LoadResult) -> bool:
    """Print each swap's figures; return whether no request failed and no swap took too long."""
    print(
        f"{'swap':18} {'served by all':>13} {'API ms':>7}   {'ms before':>15} {'during':>15} {'after':>15}  p99 ratio"
    )
    befores, durings = LoadResult(), LoadResult()
    begin, end = result.ends[0], result.ends[-1]
    for swap, previous, following in zip(swaps, [None, *swaps], [*swaps[1:], None], strict=False):
        before = result.between(previous.at + WINDOW if previous else begin, swap.at)
        during = result.between(swap.at, swap.at + WINDOW)
        after = result.between(swap.at + WINDOW, following.at if following else end)
        befores, durings = befores + before, durings + during
        name = f"to version {swap.version}" + (" (back)" if previous and swap.version < previous.version else "")
        print(f"{name:18} {swap.seconds:11.2f} s {1000 * swap.answered:7.0f}   {columns(before, during, after)}")
    print(f"{'all together':18} {'':13} {'':7}   {columns(befores, durings, result)}")
    quiet = sorted(span.percentile(0.99) for span in spans_without_swap(swaps, result))
    if quiet:
        print(f"p99 of {WINDOW:g} s without a swap: median {quiet[len(quiet) // 2]:.0f} ms, highest {quiet[-1]:.0f} ms")
    failed = len(result.codes) - result.statuses[201]
    print(f"{len(result.codes)} requests, {result.per_second:.0f} per second, {failed} failed; {dict(result.statuses)}")
    return not failed and all(swap.seconds <= WINDOW for swap in swaps)


def spans_without_swap(swaps: list[Swap], result: LoadResult) -> Iterator[LoadResult]:
    """Yield the answers of spans as long as a swap's but without one: they show how much p99 varies by itself."""
    for step in range(int(result.seconds / WINDOW)):
        start = result.ends[0] + step * WINDOW
        span = result.between(start, start + WINDOW)
        if span.codes and not any(start - WINDOW < swap.at < start + WINDOW for swap in swaps):
            yield span


def columns(*parts: LoadResult) -> str:
    """Format p50/p99 of each part, and the ratio of the second one's p99 to the first one's."""
    if not all(part.latencies for part in parts):
        return "too few answers: give it more --seconds"
    cells = [f"{part.percentile(0.5):.0f}/{part.percentile(0.99):.0f} n={len(part.latencies)}" for part in parts]
    ratio = parts[1].percentile(0.99) / parts[0].percentile(0.99)
    return " ".join(f"{cell:>15}" for cell in cells) + f"  {ratio:.2f}"


if __name__ == "__main__":
    main()
