"""A small HTTP load generator: keeps connections open, one request in flight on each, and notes every latency.

It shares the machine with the server it loads, so absolute numbers are low; ratios between addresses are what to read.
"""

import selectors
import socket
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(slots=True)
class Load:
    """What came back."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)  # seconds
    ends: list[float] = field(default_factory=list)  # when each answer was whole, by `time.perf_counter`
    codes: list[int] = field(default_factory=list)

    @property
    def statuses(self) -> Counter[int]:
        return Counter(self.codes)

    def between(self, start: float, end: float) -> "Load":
        """Limit to the answers that came in a span of time."""
        rows = zip(self.latencies, self.ends, self.codes, strict=True)
        within = [row for row in rows if start <= row[1] < end]
        latencies, ends, codes = (list(column) for column in zip(*within, strict=True)) if within else ([], [], [])
        return Load(end - start, latencies, ends, codes)

    def together(self, other: "Load") -> "Load":
        """Join two loads."""
        return Load(
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


@dataclass(slots=True)
class _Connection:
    socket: socket.socket
    sent: float = 0.0
    received: bytearray = field(default_factory=bytearray)


def request_bytes(method: str, path: str, body: bytes, port: int, headers: Mapping[str, str] | None = None) -> bytes:
    """Compose a request."""
    head = [
        f"{method} {path} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *(f"{name}: {value}" for name, value in (headers or {}).items()),
    ]
    return "\r\n".join([*head, "", ""]).encode() + body


def load(port: int, requests: list[bytes], connections: int, seconds: float) -> Load:
    """Send requests in turn over open connections for some seconds."""
    result, selector = Load(), selectors.DefaultSelector()
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
    """Read what has come; return the status once the answer is whole."""
    chunk = connection.socket.recv(65536)
    if not chunk:
        raise ConnectionError("The server closed a connection in the middle of an answer.")
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
