"""A small HTTP load generator: keeps connections open, one request in flight on each, and records every latency."""

import json
import selectors
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.harness import PORT


def wavy_line(points: int) -> list[np.ndarray]:
    """Return ink of one stroke with so many points, on a surface of 280 × 280."""
    along = np.linspace(0, 2 * np.pi, points)
    return [np.stack([140 + 60 * np.sin(2 * along), 40 + 200 * along / (2 * np.pi)], axis=1)]


INK = wavy_line(45)
DRAWING = {"strokes": [stroke.tolist() for stroke in INK], "width": 280, "height": 280}
"""What most load benchmarks send."""


@dataclass(slots=True)
class LoadResult:
    """What came back: one entry per answer in each list."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)  # seconds
    ends: list[float] = field(default_factory=list)  # when the answer was complete, by `time.perf_counter`
    codes: list[int] = field(default_factory=list)

    @property
    def statuses(self) -> Counter[int]:
        return Counter(self.codes)

    def between(self, start: float, end: float) -> "LoadResult":
        """Keep only the answers that came in a span of time."""
        rows = zip(self.latencies, self.ends, self.codes, strict=True)
        within = [row for row in rows if start <= row[1] < end]
        latencies, ends, codes = (list(column) for column in zip(*within, strict=True)) if within else ([], [], [])
        return LoadResult(end - start, latencies, ends, codes)

    def __add__(self, other: "LoadResult") -> "LoadResult":
        return LoadResult(
            self.seconds + other.seconds,
            self.latencies + other.latencies,
            self.ends + other.ends,
            self.codes + other.codes,
        )

    @property
    def per_second(self) -> float:
        return len(self.latencies) / self.seconds

    def percentile(self, share: float) -> float:
        """Return a latency in milliseconds."""
        ordered = sorted(self.latencies)
        return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    def columns(self, per_second: float, bare: float) -> str:
        """Format one table row under `COLUMNS`; `bare` is the bare view's requests per second."""
        p50, p95, p99 = (self.percentile(share) for share in (0.5, 0.95, 0.99))
        rates = f"{per_second:7.0f} {per_second / bare:8.2f}"
        return f"{rates} {p50:8.2f} {p95:7.2f} {p99:7.2f}  {dict(self.statuses)}"


COLUMNS = f"{'per s':>7} {'of bare':>8} {'p50 ms':>8} {'p95':>7} {'p99':>7}  statuses"


@dataclass(slots=True)
class _Connection:
    socket: socket.socket
    sent: float = 0.0
    received: bytearray = field(default_factory=bytearray)


def request_bytes(method: str, path: str, body: object = b"", headers: Mapping[str, str] | None = None) -> bytes:
    """Compose a request; a body that is not bytes is sent as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = [
        f"{method} {path} HTTP/1.1",
        f"Host: 127.0.0.1:{PORT}",
        "Content-Type: application/json",
        f"Content-Length: {len(content)}",
        *(f"{name}: {value}" for name, value in (headers or {}).items()),
    ]
    return "\r\n".join([*head, "", ""]).encode() + content


def load(requests: Sequence[bytes], connections: int, seconds: float, port: int = PORT) -> LoadResult:
    """Send requests in turn over open connections for some seconds."""
    result, selector = LoadResult(), selectors.DefaultSelector()
    turn = 0
    for _ in range(connections):
        connection = _Connection(socket.create_connection(("127.0.0.1", port)))
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(connection.socket, selectors.EVENT_READ, connection)
        connection.sent = time.perf_counter()
        connection.socket.sendall(requests[turn % len(requests)])
        turn += 1
    started = time.perf_counter()
    while time.perf_counter() - started < seconds:
        for key, _ in selector.select(timeout=1):
            connection = key.data
            status = _receive(connection)
            if status is None:
                continue
            now = time.perf_counter()
            result.latencies.append(now - connection.sent)
            result.ends.append(now)
            result.codes.append(status)
            connection.sent = now
            connection.socket.sendall(requests[turn % len(requests)])
            turn += 1
    result.seconds = time.perf_counter() - started
    for key in list(selector.get_map().values()):
        key.data.socket.close()
    return result


def _receive(connection: _Connection) -> int | None:
    """Read what has come; return the status once the answer is complete."""
    chunk = connection.socket.recv(65536)
    if not chunk:
        raise ConnectionError("The server closed a connection before it had answered.")
    buffer = connection.received
    buffer += chunk
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = bytes(buffer[:end]).lower()
    length = int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0])
    if len(buffer) < end + 4 + length:
        return None
    status = int(buffer[9:12])
    buffer.clear()
    return status


# --- Memory (Linux) ---------------------------------------------------------------------------------------------------


def resident_memory(parent: int) -> dict[int, float]:
    """Return the resident memory of a process's children in megabytes, by process id."""
    command = ["ps", "-o", "pid=,rss=", "--ppid", str(parent)]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {int(child): int(kilobytes) / 1024 for child, kilobytes in (line.split() for line in listing.splitlines())}


def private_memory(pid: int) -> float:
    """Return the memory that a process shares with no other, in megabytes."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024
