"""The web server itself: slow senders, long answers, and what clients make up, over real connections."""

import asyncio
import hashlib
import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest

from hdr_site import rsgi, server
from tests.drawings import THREE
from tests.processes import free_port

ROOT = Path(__file__).resolve().parent.parent
SLOW_SENDERS = 60
LONG_FILE = "drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-bundle.js.map"  # 1.9 MB


def scope_of(headers: list[tuple[str, str]], **more: str) -> Any:
    """Describe a request as Granian does."""
    usual = {"method": "POST", "path": "/", "query_string": "", "http_version": "1.1", "scheme": "http"}
    usual |= {"server": "127.0.0.1:8000", "client": "127.0.0.1:5000"}
    given = SimpleNamespace(get=dict(headers).get, items=lambda: headers)
    return SimpleNamespace(**(usual | more), headers=given)


class Silent:
    """A client that names a length and sends nothing."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, Any, bytes]] = []

    async def __call__(self) -> bytes:
        await asyncio.sleep(60)
        return b""

    def response_bytes(self, *answer: Any) -> None:
        self.answers.append(answer)


def test_a_body_that_does_not_come_is_408(monkeypatch: Any) -> None:
    monkeypatch.setattr(rsgi, "PATIENCE", 0.01)
    client: Any = Silent()
    asyncio.run(rsgi.Site(Mock()).__rsgi__(scope_of([("content-length", "5")]), client))

    ((status, _, told),) = client.answers
    assert (status, list(json.loads(told))) == (408, ["detail"])


def test_a_request_is_described_as_wsgi_does() -> None:
    headers = [
        ("host", "digits.example"),
        ("content-type", "application/json"),
        ("content-length", "2"),
        ("cookie", "a=1"),
        ("cookie", "b=2"),
        ("x-forwarded-for", "203.0.113.1"),
        ("x-forwarded-for", "203.0.113.2"),
        ("x_forwarded_for", "made up"),
    ]
    environ = rsgi.environ_of(scope_of(headers, path="/é", query_string="q=é", client="[2001:db8::1]:5000"), b"{}")

    assert environ["PATH_INFO"].encode("latin-1").decode() == "/é"
    assert environ["QUERY_STRING"].encode("latin-1").decode() == "q=é"
    assert (environ["REMOTE_ADDR"], environ["HTTP_HOST"]) == ("2001:db8::1", "digits.example")
    assert (environ["CONTENT_TYPE"], environ["CONTENT_LENGTH"]) == ("application/json", "2")
    assert environ["HTTP_COOKIE"] == "a=1; b=2"
    assert environ["HTTP_X_FORWARDED_FOR"] == "203.0.113.1,203.0.113.2"
    assert environ["wsgi.input"].read() == b"{}"


def test_a_reader_who_takes_nothing_is_given_up(monkeypatch: Any) -> None:
    monkeypatch.setattr(rsgi, "STALLED", 0.01)
    closed = Mock()

    class Answer:
        close = closed

        def __iter__(self) -> Iterator[bytes]:
            yield b"first"

    async def reading() -> None:
        transport = SimpleNamespace(send_bytes=lambda _: asyncio.sleep(60))
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, rsgi.send, Answer(), transport, loop)

    asyncio.run(reading())
    closed.assert_called_once()


# --- The server as it runs --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def port(tmp_path_factory: Any) -> Iterator[int]:
    """A web server of one process, with nothing but the bundled model."""
    number = free_port()
    data = tmp_path_factory.mktemp("data")
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    environ = kept | {"HDR_DATA_DIR": str(data), "HDR_THROTTLES": "off", "PORT": str(number), "WEB_CONCURRENCY": "1"}
    subprocess.run([sys.executable, "manage.py", "prepare"], cwd=ROOT, env=environ, check=True, capture_output=True)
    process = subprocess.Popen([sys.executable, "-m", "hdr_site.server"], cwd=ROOT, env=environ)
    try:
        wait_until_ready(number)
        yield number
    finally:
        process.terminate()
        assert process.wait(timeout=20) == 0


def wait_until_ready(port: int) -> None:
    for _ in range(200):
        try:
            if ask(port, "GET", "/readyz")[0] == 200:
                return
        except OSError:
            pass  # it does not listen yet
        time.sleep(0.1)
    raise AssertionError("The server did not start.")


def ask(port: int, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        sent = None if body is None else json.dumps(body)
        connection.request(method, path, sent, {"Content-Type": "application/json"} | headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def begin(port: int, request: bytes, window: int = 0) -> socket.socket:
    """Send the beginning of a request; a small window makes a slow reader."""
    client = socket.socket()
    if window:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
    client.connect(("127.0.0.1", port))
    client.sendall(request)
    return client


def test_a_port_that_another_site_has_is_refused() -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # as Granian's processes share theirs
        other.bind(("127.0.0.1", 0))
        other.listen()
        environ = os.environ | {"PORT": str(other.getsockname()[1])}
        command = [sys.executable, "-m", "hdr_site.server"]
        tried = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)

    assert tried.returncode == 1
    assert "Cannot listen on 127.0.0.1" in tried.stderr


@pytest.mark.parametrize(("held", "tried"), [("127.0.0.1", "0.0.0.0"), ("127.0.0.1", "::"), ("0.0.0.0", "127.0.0.1")])
def test_a_port_that_is_held_at_one_address_is_refused_for_all(held: str, tried: str) -> None:
    with socket.create_server((held, 0)) as other, pytest.raises(SystemExit, match="Cannot listen on"):
        server.free_address(tried, other.getsockname()[1])


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has such names")
def test_of_two_servers_that_start_in_the_same_moment_one_is_refused() -> None:
    first, second, elsewhere = (server.alone_on("127.0.0.1", port) for port in (1, 1, 2))
    with first, elsewhere, pytest.raises(SystemExit, match="another server starts there"), second:
        pass


@pytest.mark.parametrize(("host", "port"), [("no-such-host.invalid", 0), ("192.0.2.1", 0), ("127.0.0.1", 65536)])
def test_an_address_that_is_not_here_is_refused(host: str, port: int) -> None:
    with pytest.raises(SystemExit, match="Cannot listen on"):
        server.free_address(host, port)


def test_a_hosts_name_is_resolved() -> None:
    assert server.free_address("localhost", 0) in ("127.0.0.1", "::1")


@pytest.mark.site
def test_slow_senders_hold_up_nobody(port: int) -> None:
    head = b"POST /api/v1/previews HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    body = json.dumps(THREE).encode()
    senders = [
        begin(port, head + b"Content-Length: %d\r\n\r\n" % len(body) + body[: number % 9])
        for number in range(SLOW_SENDERS)
    ]
    senders += [begin(port, head + b"Content-Length: 8000000\r\n\r\n{") for _ in range(SLOW_SENDERS)]

    assert ask(port, "POST", "/api/v1/previews", THREE)[0] == 200
    assert ask(port, "GET", "/models")[0] == 200
    senders[4].sendall(body[4:])  # late, but in time
    assert senders[4].recv(4096).startswith(b"HTTP/1.1 200")
    for sender in senders:
        sender.close()
    assert ask(port, "POST", "/api/v1/previews", THREE)[0] == 200


@pytest.mark.site
def test_slow_readers_hold_up_nobody(port: int) -> None:
    head = f"GET /static/{LONG_FILE} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    readers = [begin(port, head.encode(), window=2048) for _ in range(10)]
    time.sleep(0.3)

    assert ask(port, "POST", "/api/v1/previews", THREE)[0] == 200
    for reader in readers:
        reader.close()
    assert ask(port, "GET", "/models")[0] == 200


@pytest.mark.site
def test_a_long_file_comes_whole(port: int) -> None:
    import drf_spectacular_sidecar

    file = Path(drf_spectacular_sidecar.__file__).parent / "static" / LONG_FILE
    status, content = ask(port, "GET", f"/static/{LONG_FILE}")

    assert status == 200
    assert hashlib.sha256(content).digest() == hashlib.sha256(file.read_bytes()).digest()
    assert ask(port, "HEAD", f"/static/{LONG_FILE}") == (200, b"")


@pytest.mark.site
def test_an_answer_of_unknown_length_comes_whole(port: int) -> None:
    status, content = ask(port, "GET", "/mine/drawings.json")

    assert (status, type(json.loads(content))) == (200, dict)


@pytest.mark.site
@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET /%ff%fe HTTP/1.1", 404),
        (b"GET /models?q=%ff\xc3\xa9 HTTP/1.1", 200),
        (b"GET /..%2f..%2fetc/passwd HTTP/1.1", 404),
        (b"GET /static/../../manage.py HTTP/1.1", 404),
        (b"OPTIONS /api/v1/previews HTTP/1.1", 200),
        (b"TRACE / HTTP/1.1", 405),
        (b"GET http://elsewhere.example/ HTTP/1.1", 200),
    ],
)
def test_odd_requests_are_answered(port: int, request_line: bytes, status: int) -> None:
    with begin(port, request_line + b"\r\nHost: 127.0.0.1\r\nX-Odd: \xff\xfe\r\nCookie: owner=\xe9\r\n\r\n") as client:
        assert client.recv(4096).split(b" ")[1] == str(status).encode()


@pytest.mark.site
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (b"Content-Length: 9000000\r\n\r\n", 413),
        (b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 411),
        (b"Content-Length: -1\r\n\r\n", 400),
        (b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400),
    ],
)
def test_bodies_without_a_proper_length_are_refused_unread(port: int, headers: bytes, status: int) -> None:
    head = b"POST /api/v1/previews HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    with begin(port, head + headers) as client:
        assert client.recv(4096).split(b" ")[1] == str(status).encode()
    assert ask(port, "GET", "/healthz")[0] == 200
