"""Swaps models under load: clients draw while three versions are promoted and one is rolled back through the API.

python -m benchmarks.swap [--seconds 60] [--connections 16] [--processes 4]

Fails if a request failed, or if a process served the old version for longer than two seconds.
"""

import argparse
import http.client
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.__main__ import memory_of, wavy
from benchmarks.harness import PORT, WEB_SERVER, configure, prepare, serving
from benchmarks.load import Load, load, request_bytes

PROMOTED = 3  # versions, one after the other; then the one before the last is made active again
WINDOW = 2.0  # seconds within which every process must have swapped, and which count as during the swap
GIVE_UP = 30.0  # seconds

Processes = dict[int, http.client.HTTPConnection]  # an open connection to each, by process id


@dataclass(frozen=True, slots=True)
class Swap:
    """One move of the pointer."""

    version: int
    at: float  # when it was asked for, by `time.perf_counter`
    answered: float  # seconds until the API had answered
    seconds: float  # until every process served it


def main() -> None:
    arguments = parse_arguments()
    with tempfile.TemporaryDirectory(prefix="digits-swap-") as folder:
        configure(folder, "benchmarks.settings", WEB_CONCURRENCY=str(arguments.processes))
        prepare()
        versions, token = register_versions()
        with (
            serving(Path(folder, "web.log"), WEB_SERVER) as server,
            clients(arguments.connections, arguments.seconds) as drawing,
        ):
            pause = arguments.seconds / (len(versions) + 1)
            swaps = [swap(version, token, arguments.processes, pause) for version in versions]
            result = drawing.result()
            memory = ", ".join(f"{megabytes:.0f} MB" for _, megabytes in memory_of(server.process.pid))
    good = report(swaps, result)
    print(f"web processes at the end: {memory} resident")
    sys.exit(0 if good else 1)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="of load")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--processes", type=int, default=4, help="that serve")
    return parser.parse_args()


def register_versions() -> tuple[list[int], str]:
    """Register the bundled bytes as further versions; return which to activate in turn, and a staff token."""
    import django

    django.setup()
    from django.contrib.auth import get_user_model
    from rest_framework.authtoken.models import Token

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
    token = Token.objects.create(user=get_user_model().objects.get(is_superuser=True))
    return [*versions, versions[-2]], token.key


@contextmanager
def clients(connections: int, seconds: float) -> Iterator["Future[Load]"]:
    """Draw from a process of its own, so that measuring one thing does not hold up the other."""
    strokes = [stroke.tolist() for stroke in wavy(45)]
    body = json.dumps({"strokes": strokes, "width": 280, "height": 280}).encode()
    requests = [request_bytes("POST", "/api/v1/submissions", body, PORT)]
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        yield pool.submit(load, PORT, requests, connections, seconds)


def connect(count: int) -> Processes:
    """Open a connection to each web process; which of them takes one is up to the kernel."""
    processes: Processes = {}
    give_up = time.perf_counter() + GIVE_UP
    while len(processes) < count:
        if time.perf_counter() > give_up:
            raise SystemExit(f"Only {len(processes)} of {count} web processes answer.")
        connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=GIVE_UP)
        process = ready(connection)["process"]
        if process in processes:
            connection.close()
        else:
            processes[process] = connection
    return processes


def ready(connection: http.client.HTTPConnection) -> dict[str, int]:
    connection.request("GET", "/readyz")
    answer: dict[str, int] = json.loads(connection.getresponse().read())
    return answer


def swap(version: int, token: str, count: int, pause: float) -> Swap:
    """Let the load run for a while, then activate a version and wait until every process serves it."""
    time.sleep(pause)
    processes = connect(count)  # only now: the server closes what is idle for long
    at = time.perf_counter()
    with closing(http.client.HTTPConnection("127.0.0.1", PORT, timeout=GIVE_UP)) as connection:
        connection.request("POST", f"/api/v1/models/{version}/activate", b"{}", {"Authorization": f"Token {token}"})
        response = connection.getresponse()
        if response.status != 200:
            raise SystemExit(f"Activating version {version} answered {response.status}: {response.read()!r}")
    answered = time.perf_counter() - at
    waiting = set(processes)
    while waiting and time.perf_counter() - at < GIVE_UP:
        waiting -= {process for process in waiting if ready(processes[process])["model_version"] == version}
        time.sleep(0.02)
    seconds = float("inf") if waiting else time.perf_counter() - at
    for connection in processes.values():
        connection.close()
    return Swap(version, at, answered, seconds)


def report(swaps: list[Swap], result: Load) -> bool:
    """Print each swap's figures; return whether nothing failed and none took too long."""
    print(
        f"{'swap':18} {'served by all':>13} {'API ms':>7}   {'ms before':>15} {'during':>15} {'after':>15}  p99 ratio"
    )
    befores, durings = Load(), Load()
    begin, end = result.ends[0], result.ends[-1]
    for swap, previous, following in zip(swaps, [None, *swaps], [*swaps[1:], None], strict=False):
        before = result.between(previous.at + WINDOW if previous else begin, swap.at)
        during = result.between(swap.at, swap.at + WINDOW)
        after = result.between(swap.at + WINDOW, following.at if following else end)
        befores, durings = befores.together(before), durings.together(during)
        name = f"to version {swap.version}" + (" (back)" if previous and swap.version < previous.version else "")
        print(f"{name:18} {swap.seconds:11.2f} s {1000 * swap.answered:7.0f}   {columns(before, during, after)}")
    print(f"{'all together':18} {'':13} {'':7}   {columns(befores, durings, result)}")
    calm = sorted(span.percentile(0.99) for span in spans_without(swaps, result))
    print(f"p99 of {WINDOW:g} s without a swap: median {calm[len(calm) // 2]:.0f} ms, highest {calm[-1]:.0f} ms")
    failed = len(result.codes) - result.statuses[201]
    print(f"{len(result.codes)} requests, {result.per_second:.0f} per second, {failed} failed; {dict(result.statuses)}")
    return not failed and all(swap.seconds <= WINDOW for swap in swaps)


def spans_without(swaps: list[Swap], result: Load) -> Iterator[Load]:
    """Yield what came in spans as long as a swap's in which there was none: how much p99 varies by itself."""
    for step in range(int(result.seconds / WINDOW)):
        start = result.ends[0] + step * WINDOW
        span = result.between(start, start + WINDOW)
        if span.codes and not any(start - WINDOW < swap.at < start + WINDOW for swap in swaps):
            yield span


def columns(*parts: Load) -> str:
    """Show p50/p99 of each part, and how much larger the second one's p99 is than the first one's."""
    cells = [f"{part.percentile(0.5):.0f}/{part.percentile(0.99):.0f} n={len(part.latencies)}" for part in parts]
    ratio = parts[1].percentile(0.99) / parts[0].percentile(0.99)
    return " ".join(f"{cell:>15}" for cell in cells) + f"  {ratio:.2f}"


if __name__ == "__main__":
    main()
