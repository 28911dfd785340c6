"""The web server over real connections: slow senders, long answers, and malformed requests."""

import asyncio
import fcntl
import hashlib
import http.client
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.http import HttpResponse

from hdr_site import asgi, server, sockets, traffic
from hdr_site.turns import GoneError, Pool, Turns
from tests import processes
from tests.drawings import THREE
from tests.processes import free_port

ROOT = Path(__file__).resolve().parent.parent
SLOW_SENDERS = 60
LONG_FILE = "drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-bundle.js.map"  # 1.9 MB


def scope_of(headers: list[tuple[str, str]], **more: Any) -> dict[str, Any]:
    """Describe a request as Granian does."""
    encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    usual = {"type": "http", "method": "POST", "raw_path": b"/", "query_string": b"", "http_version": "1.1"}
    usual |= {"scheme": "http", "server": ("127.0.0.1", "8000"), "client": ("127.0.0.1", "5000"), "headers": encoded}
    return usual | more


class Client:
    """A client that sends a few pieces and then stops; it may also read nothing."""

    def __init__(self, *pieces: bytes, reads: bool = True) -> None:
        self._pieces = list(pieces)
        self._reads = reads
        self._gone = False
        self.heard: list[dict[str, Any]] = []

    def leave(self) -> None:
        self._gone = True

    async def receive(self) -> dict[str, Any]:
        if self._gone:
            return {"type": "http.disconnect"}
        if not self._pieces:
            await asyncio.sleep(60)
        return {"type": "http.request", "body": self._pieces.pop(0), "more_body": True}

    async def send(self, message: dict[str, Any]) -> None:
        if not self._reads and message.get("more_body"):
            await asyncio.sleep(60)
        self.heard.append(message)

    @property
    def status(self) -> int:
        return int(self.heard[0]["status"])

    @property
    def has_sent_all(self) -> bool:
        return not self._pieces


class Leaver(Client):
    """A client that leaves when it has sent its pieces."""

    async def receive(self) -> dict[str, Any]:
        self._gone = not self._pieces
        return await super().receive()


def echo(environ: Any, start_response: Any) -> Any:
    """Answer with the length of the body."""
    start_response("200 OK", [])
    return HttpResponse(str(len(environ["wsgi.input"].read())))


async def ask_site(site: asgi.Site, client: Client, length: int, address: str = "127.0.0.1") -> None:
    scope = scope_of([("content-length", str(length))], client=(address, "5000"))
    await site(scope, client.receive, client.send)


def test_body_that_does_not_arrive_is_408(monkeypatch: Any) -> None:
    monkeypatch.setattr(traffic, "PATIENCE", 0.01)
    client = Client()
    asyncio.run(ask_site(asgi.Site(echo), client, 5))

    assert (client.status, list(json.loads(client.heard[1]["body"]))) == (408, ["detail"])


def test_full_buffer_drops_silent_clients_for_active_ones(monkeypatch: Any) -> None:
    monkeypatch.setattr(traffic, "MOST", 200)  # half of it for one client
    monkeypatch.setattr(traffic, "GRACE", 0.01)
    idle = [Client(b"x" * 30) for _ in range(3)]
    honest = Client(*[b"y" * 10] * 6)

    async def play() -> None:
        site = asgi.Site(echo)
        waiting = [asyncio.create_task(ask_site(site, client, 1000)) for client in idle]
        await until(lambda: all(client.has_sent_all for client in idle))
        await ask_site(site, honest, 60)
        assert honest.heard[1]["body"] == b"60"
        await until(lambda: [task.done() for task in waiting] == [True, True, False])  # no more than needed
        waiting[2].cancel()

    asyncio.run(play())
    assert [client.status for client in idle[:2]] == [408, 408]


def test_one_client_may_hold_half_of_the_buffer(monkeypatch: Any) -> None:
    monkeypatch.setattr(traffic, "MOST", 200)

    async def play() -> None:
        room = traffic.Traffic()
        with room.load("a") as first, room.load("a") as second, room.load("a") as third, room.load("b") as other:
            await room.hold(first, 50, 0)
            await room.hold(second, 50, 0)
            with pytest.raises(TimeoutError):
                await room.hold(third, 1, 0)
            await room.hold(other, 100, 0)

    asyncio.run(play())


def test_full_buffer_drops_client_that_holds_most(monkeypatch: Any) -> None:
    """Even if another one has been silent longer."""
    monkeypatch.setattr(traffic, "MOST", 200)

    async def play() -> None:
        room = traffic.Traffic()
        with room.load("a") as phone, room.load("b") as large, room.load("c") as working, room.load("d") as new:
            for load, size in ((phone, 10), (large, 90), (working, 100)):
                await room.hold(load, size, 0)
            silent = [asyncio.create_task(room.wait_for(load, asyncio.sleep(60))) for load in (phone, large)]
            await asyncio.sleep(0)
            await room.hold(new, 1, 0)
            assert (phone.dropped, large.dropped) == (False, True)
            silent[0].cancel()
            assert [type(error) for error in await asyncio.gather(*silent, return_exceptions=True)] == [
                asyncio.CancelledError,
                TimeoutError,
            ]

    asyncio.run(play())


def test_request_without_buffered_bytes_is_not_dropped(monkeypatch: Any) -> None:
    monkeypatch.setattr(traffic, "MOST", 200)

    async def play() -> None:
        room = traffic.Traffic()
        with room.load("a") as announced, room.load("a") as large, room.load("a") as new:
            await room.hold(large, 90, 0)
            silent = [asyncio.create_task(room.wait_for(load, asyncio.sleep(60))) for load in (announced, large)]
            await asyncio.sleep(0)
            await room.hold(new, 90, 0)
            assert (announced.dropped, large.dropped) == (False, True)
            for task in silent:
                task.cancel()

    asyncio.run(play())


def test_request_at_its_time_limit_can_be_dropped(monkeypatch: Any) -> None:
    """Its time limit has expired, but its task has not run since."""
    monkeypatch.setattr(traffic, "MOST", 200)

    async def play() -> None:
        room = traffic.Traffic()
        with room.load("a") as late, room.load("a") as new:
            await room.hold(late, 100, 0)
            late.credit = 0
            waiting = asyncio.create_task(room.wait_for(late, asyncio.sleep(60)))
            while not (late.limit and late.limit.expired()):
                await asyncio.sleep(0)
            await room.hold(new, 100, 0)
            with pytest.raises(TimeoutError):
                await waiting

    asyncio.run(play())


def test_failed_request_frees_its_buffer(monkeypatch: Any) -> None:
    monkeypatch.setattr(traffic, "MOST", 200)

    async def play() -> None:
        site = asgi.Site(echo)
        for _ in range(5):
            broken = Client(b"x" * 80)
            reading = asyncio.create_task(ask_site(site, broken, 100))
            await asyncio.sleep(0.01)
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        honest = Client(b"x" * 80)
        await ask_site(site, honest, 80)
        assert honest.status == 200

    asyncio.run(play())


@pytest.mark.parametrize(("kind", "status"), [("Application/X-WWW-Form-Urlencoded", 413), ("application/json", 200)])
def test_large_forms_are_refused_unread(kind: str, status: int) -> None:
    size = asgi.LARGEST_FORM + 1
    client = Client(b"x" * size)
    headers = [("content-length", str(size)), ("content-type", kind)]
    asyncio.run(asgi.Site(echo)(scope_of(headers), client.receive, client.send))

    assert (client.status, bool(client._pieces)) == (status, status == 413)


def test_body_that_ends_early_is_400() -> None:
    client = Leaver(b"abc")
    asyncio.run(ask_site(asgi.Site(echo), client, 5))

    assert client.status == 400


def test_announced_bodies_use_no_buffer_before_they_arrive(monkeypatch: Any) -> None:
    monkeypatch.setattr(traffic, "MOST", 200)  # half of it for one client
    idle = [Client(b"x") for _ in range(50)]
    honest = Client(b"y" * 40)

    async def play() -> None:
        site = asgi.Site(echo)
        waiting = [asyncio.create_task(ask_site(site, client, 8_000_000)) for client in idle]
        await until(lambda: all(client.has_sent_all for client in idle))
        await ask_site(site, honest, 40)
        assert not any(task.done() for task in waiting)
        for task in waiting:
            task.cancel()

    asyncio.run(play())
    assert honest.status == 200


def test_finished_bodies_free_their_buffer(monkeypatch: Any) -> None:
    monkeypatch.setattr(traffic, "MOST", 200)  # half of it for one client

    async def play() -> list[Client]:
        site = asgi.Site(echo)
        clients = [Client(b"x" * 90) for _ in range(5)]
        for client in clients:
            await ask_site(site, client, 90)
        return clients

    assert [client.status for client in asyncio.run(play())] == [200] * 5


def test_long_bodies_wait_for_space_and_all_arrive(monkeypatch: Any) -> None:
    """No deadlock: none keeps its part while it waits for another to end."""
    monkeypatch.setattr(traffic, "MOST", 200)  # half of it for one client
    clients = [Client(*[b"x" * 10] * 5) for _ in range(20)]

    async def play() -> None:
        site = asgi.Site(echo)
        await asyncio.gather(*[ask_site(site, client, 50) for client in clients])

    asyncio.run(play())
    assert {client.status for client in clients} == {200}


def test_slow_body_has_time_while_it_makes_progress(monkeypatch: Any) -> None:
    monkeypatch.setattr(traffic, "PATIENCE", 0.2)
    monkeypatch.setattr(traffic, "SLOWEST", 10)
    client = Client(*[b"x"] * 20)
    receive = client.receive

    async def slowly() -> dict[str, Any]:
        await asyncio.sleep(0.05)  # 20 bytes a second
        return await receive()

    client.receive = slowly  # type: ignore[method-assign]
    asyncio.run(ask_site(asgi.Site(echo), client, 20))

    assert client.status == 200


def test_asgi_request_becomes_wsgi_environ() -> None:
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
    scope = scope_of(headers, raw_path=b"/%C3%A9", query_string="q=é".encode(), client=("2001:db8::1", "5000"))
    environ = asgi.environ_of(scope, io.BytesIO(b"{}"))

    assert environ["PATH_INFO"].encode("latin-1").decode() == "/é"
    assert environ["QUERY_STRING"].encode("latin-1").decode() == "q=é"
    assert (environ["REMOTE_ADDR"], environ["HTTP_HOST"]) == ("2001:db8::1", "digits.example")
    assert (environ["CONTENT_TYPE"], environ["CONTENT_LENGTH"]) == ("application/json", "2")
    assert environ["HTTP_COOKIE"] == "a=1; b=2"
    assert environ["HTTP_X_FORWARDED_FOR"] == "203.0.113.1,203.0.113.2"
    assert environ["wsgi.input"].read() == b"{}"


class LongAnswer:
    """An endless answer that counts how much of it was made."""

    streaming = True

    def __init__(self) -> None:
        self.made = 0
        self.closed = False

    def __iter__(self) -> Iterator[bytes]:
        while True:
            self.made += 1
            yield b"x" * asgi.PIECE

    def close(self) -> None:
        self.closed = True


def answering(answer: LongAnswer) -> Any:
    def application(environ: Any, start_response: Any) -> LongAnswer:
        start_response("200 OK", [])
        return answer

    return application


def test_reader_that_takes_nothing_is_dropped(monkeypatch: Any) -> None:
    monkeypatch.setattr(traffic, "PATIENCE", 0.01)
    answer, client = LongAnswer(), Client(reads=False)
    asyncio.run(asgi.Site(answering(answer))(scope_of([]), client.receive, client.send))

    assert answer.closed
    assert answer.made == 1  # no more than its reader took
    assert len(client.heard) == 1


def test_answer_stops_when_reader_is_gone() -> None:
    """Sending to it is no error and does not block."""
    answer = LongAnswer()

    async def play() -> None:
        left = asyncio.Event()

        async def receive() -> dict[str, Any]:
            await left.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            left.set()

        async with asyncio.timeout(60):
            await asgi.Site(answering(answer))(scope_of([]), receive, send)

    asyncio.run(play())
    assert answer.closed


def test_silent_readers_hold_no_thread_and_limited_memory(monkeypatch: Any) -> None:
    monkeypatch.setattr(traffic, "MOST", 20 * asgi.MAKING)  # half of it for one client
    monkeypatch.setattr(traffic, "GRACE", 0.01)
    answers = [LongAnswer() for _ in range(30)]

    async def play() -> None:
        sites = asgi.Site(lambda environ, start: answering(answers[int(environ["QUERY_STRING"])])(environ, start))
        silent = [Client(reads=False) for _ in answers]
        scopes = [scope_of([], query_string=str(number).encode()) for number in range(len(answers))]
        reading = [
            asyncio.create_task(sites(scope, client.receive, client.send))
            for scope, client in zip(scopes, silent, strict=True)
        ]
        await until(lambda: sum(answer.closed for answer in answers) == 20)
        assert sum(task.done() for task in reading) == 20
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)

    asyncio.run(play())
    assert all(answer.made <= 1 for answer in answers)


async def until(holds: Any) -> None:
    """Wait until a condition holds."""
    for _ in range(1000):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("That never held.")


def test_logins_queue_without_blocking_others() -> None:
    """One password is hashed at a time; other requests pass, and logins beyond the queue's limit are refused."""
    hashing = threading.Event()

    def application(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"].startswith("/account/"):
            hashing.wait(60)
        start_response("200 OK", [])
        return HttpResponse("done")

    async def play() -> None:
        site = asgi.Site(application)
        people = [Client() for _ in range(1 + asgi.PASSWORDS_WAITING + 3)]
        logins = [
            asyncio.create_task(site(scope_of([], raw_path=b"/account/login"), client.receive, client.send))
            for client in people
        ]
        await until(lambda: sum(task.done() for task in logins) == 3)
        assert [client.status for client in people[-3:]] == [503] * 3
        assert (b"retry-after", b"5") in people[-1].heard[0]["headers"]
        other = Client()
        await site(scope_of([], raw_path=b"/models", method="GET"), other.receive, other.send)
        assert other.status == 200
        hashing.set()
        await asyncio.gather(*logins)
        assert [client.status for client in people[:-3]] == [200] * (1 + asgi.PASSWORDS_WAITING)

    asyncio.run(play())


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", b'{"image": "data:image/png;base64,AAAA"}'),
        ("application/json", rb'{"\u0069mage": "AAAA"}'),
        ("multipart/form-data; boundary=b", b"--b--"),
        ("Multipart/Form-Data; boundary=b", b"--b--"),
    ],
)
def test_pictures_queue_without_blocking_others(kind: str, body: bytes) -> None:
    """One picture is read at a time; ink passes, and none is read for a client that has left."""
    reading, read = threading.Event(), 0

    def application(environ: Any, start_response: Any) -> Any:
        nonlocal read
        if environ["wsgi.input"].read() == body:
            read += 1
            reading.wait(60)
        start_response("200 OK", [])
        return HttpResponse("done")

    async def ask(site: asgi.Site, client: Client, kind: str, length: int) -> None:
        headers = [("content-length", str(length)), ("content-type", kind)]
        await site(scope_of(headers), client.receive, client.send)

    async def play() -> None:
        site = asgi.Site(application)
        people = [Client(body) for _ in range(4)] + [Leaver(body)]
        pictures = [asyncio.create_task(ask(site, client, kind, len(body))) for client in people]
        await until(lambda: read == 1)
        ink = Client(b'{"strokes": []}')
        await ask(site, ink, "application/json", 15)
        assert ink.status == 200
        reading.set()
        await asyncio.gather(*pictures)

    asyncio.run(play())
    assert read == 4


def test_health_check_answers_while_all_threads_wait() -> None:
    """A database that waits for a lock, or for its standby, blocks every thread."""
    waiting = threading.Event()

    def application(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] != "/healthz":
            waiting.wait(60)
        start_response("200 OK", [])
        return HttpResponse("done")

    async def play() -> None:
        site, probe = asgi.Site(application), Client()
        held = [Client() for _ in range(2 * asgi.WORKERS)]
        work = [asyncio.create_task(site(scope_of([]), client.receive, client.send)) for client in held]
        await asyncio.sleep(0)
        async with asyncio.timeout(60):
            await site(scope_of([], method="GET", raw_path=b"/healthz"), probe.receive, probe.send)
        assert probe.status == 200 and not any(client.heard for client in held)
        waiting.set()
        await asyncio.gather(*work)

    asyncio.run(play())


def test_only_simple_probe_runs_in_event_loop() -> None:
    """For other methods Django may read a body and look up the session, which would block everybody."""
    threads: list[tuple[str, bool]] = []

    def application(environ: Any, start_response: Any) -> Any:
        threads.append((environ["REQUEST_METHOD"], threading.current_thread() is threading.main_thread()))
        start_response("200 OK", [])
        return HttpResponse("done")

    async def play() -> None:
        site, client = asgi.Site(application), Client()
        for method in ("GET", "HEAD", "POST", "DELETE"):
            await site(scope_of([], method=method, raw_path=b"/healthz"), client.receive, client.send)

    asyncio.run(play())
    assert threads == [("GET", True), ("HEAD", True), ("POST", False), ("DELETE", False)]


def test_no_work_is_done_for_clients_that_have_left() -> None:
    busy, made = threading.Event(), 0

    def application(environ: Any, start_response: Any) -> Any:
        nonlocal made
        made += 1
        busy.wait(60)
        start_response("200 OK", [])
        return HttpResponse("done")

    async def play() -> None:
        site, staying, leaving = asgi.Site(application), Client(), [Client() for _ in range(50)]
        for client in leaving:
            client.leave()
        work = asyncio.create_task(ask_site(site, staying, 0))
        await until(lambda: made == 1)
        await asyncio.gather(*[ask_site(site, client, 0) for client in leaving])
        busy.set()
        await work

    asyncio.run(play())
    assert made == 1


def test_one_client_does_not_block_logins_of_others() -> None:
    hashing, hashed = threading.Event(), list[str]()

    def application(environ: Any, start_response: Any) -> Any:
        hashing.wait(60)
        hashed.append(environ["REMOTE_ADDR"])
        start_response("200 OK", [])
        return HttpResponse("done")

    async def play() -> None:
        site, people = asgi.Site(application), [Client() for _ in range(asgi.PASSWORDS_WAITING + 2)]
        addresses = ["192.0.2.1"] * (len(people) - 1) + ["192.0.2.2"]
        logins = []
        for client, address in zip(people, addresses, strict=True):
            scope = scope_of([], raw_path=b"/account/login", client=(address, "5000"))
            logins.append(asyncio.create_task(site(scope, client.receive, client.send)))
        await asyncio.sleep(0.01)
        hashing.set()
        await asyncio.gather(*logins)
        assert {client.status for client in people} == {200}

    asyncio.run(play())
    assert hashed.index("192.0.2.2") == 2


def order_of_turns(clients: str, places: int) -> str:
    """Return the order in which clients start that all ask for a turn at once and finish one after another."""
    order: list[str] = []

    async def play() -> None:
        turns = Turns(places)

        async def work(client: str) -> None:
            await turns.take(client)
            order.append(client)

        working = [asyncio.create_task(work(client)) for client in clients]
        await asyncio.sleep(0.01)
        while len(order) < len(clients):
            done = len(order)
            turns.give_back(order[done - places if done >= places else 0])
            await until(lambda done=done: len(order) > done)
        await asyncio.gather(*working)

    asyncio.run(play())
    return "".join(order)


def test_clients_take_turns() -> None:
    assert order_of_turns("aaaabc", places=1) == "aabcaa"  # nobody else waits yet when the second one asks


def test_one_client_never_has_all_places() -> None:
    """Another client's request starts at once, however many the first one sent."""

    async def play() -> None:
        turns = Turns(3)
        many = [asyncio.create_task(turns.take("a")) for _ in range(64)]
        await asyncio.sleep(0.01)
        assert sum(task.done() for task in many) == 2
        assert turns.waiting("a") == 62
        async with asyncio.timeout(60):
            await turns.take("b")
        assert sum(task.done() for task in many) == 2
        for task in many:
            task.cancel()

    asyncio.run(play())


def test_abandoned_turns_leave_nothing_behind() -> None:
    """Some are cancelled while they wait, some when their turn comes; some clients leave."""

    async def play() -> None:
        turns, left = Turns(1), asyncio.get_running_loop().create_future()
        await turns.take("a")
        leaving = [asyncio.create_task(turns.take(client, left)) for client in "aabb"]
        cancelled = [asyncio.create_task(turns.take(client)) for client in "abc"]
        await asyncio.sleep(0.01)
        left.set_result(None)
        cancelled[0].cancel()
        turns.give_back("a")  # the next in turn is cancelled before it learns of it
        for task in cancelled:
            task.cancel()
        ended = await asyncio.gather(*leaving, *cancelled, return_exceptions=True)
        assert [type(error) for error in ended] == [GoneError] * 4 + [asyncio.CancelledError] * 3
        assert not turns.waiting("a") and not turns.waiting("b")
        async with asyncio.timeout(60):
            await turns.take("d")

    asyncio.run(play())


def test_cancelled_call_keeps_its_thread_until_it_ends() -> None:
    async def play() -> None:
        pool, busy, began = Pool("test", 1), threading.Event(), threading.Event()

        def work() -> None:
            began.set()
            busy.wait(60)

        first = asyncio.create_task(pool.run("a", None, work))
        await until(began.is_set)
        first.cancel()
        second = asyncio.create_task(pool.run("b", None, str))
        await asyncio.sleep(0.01)
        assert pool.waiting("b") == 1
        busy.set()
        assert await second == ""

    asyncio.run(play())


def test_finding_sockets_keeps_file_locks(tmp_path: Path) -> None:
    """SQLite's locks belong to the process: closing any descriptor of the file drops them."""
    file, try_it = (
        tmp_path / "db",
        "import fcntl, sys; fcntl.lockf(open(sys.argv[1], 'r+'), fcntl.LOCK_EX | fcntl.LOCK_NB)",
    )
    with file.open("w") as held, socket.create_server(("127.0.0.1", 0)) as listening:
        fcntl.lockf(held, fcntl.LOCK_EX)
        found = [own.fileno() for own in sockets._sockets()]
        assert listening.fileno() in found
        other = subprocess.run([sys.executable, "-c", try_it, str(file)], capture_output=True, text=True, check=False)
        listening.getsockname()  # it is still open

    assert "BlockingIOError" in other.stderr


# --- The server as it runs --------------------------------------------------------------------------------------------


@contextmanager
def web_server(data: Path) -> "Iterator[tuple[int, subprocess.Popen[bytes]]]":
    """Run a web server with one process and only the bundled model; yield its port and its process."""
    number = free_port()
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    environ = kept | {"HDR_DATA_DIR": str(data), "HDR_THROTTLES": "off", "PORT": str(number), "WEB_CONCURRENCY": "1"}
    subprocess.run([sys.executable, "manage.py", "prepare"], cwd=ROOT, env=environ, check=True, capture_output=True)
    with subprocess.Popen([sys.executable, "-m", "hdr_site.server"], cwd=ROOT, env=environ) as process:
        try:
            wait_until_ready(number)
            yield number, process
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def port(tmp_path_factory: Any) -> Iterator[int]:
    with web_server(tmp_path_factory.mktemp("data")) as (number, process):
        yield number
    assert process.returncode == 0


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


def test_port_of_another_site_is_refused() -> None:
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
def test_port_in_use_at_one_address_is_refused_for_all(held: str, tried: str) -> None:
    with socket.create_server((held, 0)) as other, pytest.raises(SystemExit, match="Cannot listen on"):
        server.free_address(tried, other.getsockname()[1])


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has such names")
def test_only_one_of_two_servers_starting_at_once_is_accepted() -> None:
    first, second, elsewhere = (server.alone_on("127.0.0.1", port) for port in (1, 1, 2))
    with first, elsewhere, pytest.raises(SystemExit, match="another server is starting there"), second:
        pass


@pytest.mark.parametrize(
    ("host", "port"), [("no-such-host.invalid", 0), ("192.0.2.1", 0), ("127.0.0.1", 65536), ("a..b", 0)]
)
def test_foreign_address_is_refused(host: str, port: int) -> None:
    with pytest.raises(SystemExit, match="Cannot listen on"):
        server.free_address(host, port)


def test_open_file_limit_is_raised_to_maximum() -> None:
    script = """
import resource as r
from hdr_site.server import allow_open_files
r.setrlimit(r.RLIMIT_NOFILE, (64, 256))
allow_open_files()
print(r.getrlimit(r.RLIMIT_NOFILE))
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "(256, 256)"


def test_host_name_is_resolved() -> None:
    assert server.free_address("localhost", 0) in ("127.0.0.1", "::1")


def test_process_can_be_stopped_before_it_listens(monkeypatch: Any) -> None:
    monkeypatch.setattr(sockets, "_sockets", lambda: iter(()))
    told, heard = ["lifespan.startup", "lifespan.shutdown"], list[str]()

    async def receive() -> dict[str, Any]:
        return {"type": told.pop(0)}

    async def send(message: dict[str, Any]) -> None:
        heard.append(message["type"])

    async def play() -> None:
        async with asyncio.timeout(10):
            await asgi.live(receive, send)

    asyncio.run(play())
    assert heard == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


def test_loading_process_can_be_stopped() -> None:
    script = """
import os, signal, sys
from hdr_site import asgi
class Loading:
    @property
    def application(self):
        os.kill(os.getpid(), signal.SIGTERM)
        raise RuntimeError("It goes on.")
signal.signal(signal.SIGTERM, lambda *_: None)  # as Granian's server does, before it forks
sys.modules["hdr_site.wsgi"] = Loading()
asgi.load()
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (-signal.SIGTERM, "")


@pytest.mark.site
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent is gone")
def test_killed_server_leaves_no_process(tmp_path: Path) -> None:
    with web_server(tmp_path) as (number, process):
        worker = json.loads(ask(number, "GET", "/readyz")[1])["process"]
        assert worker != process.pid
        process.kill()
        processes.until(lambda: not processes.lives(worker))


@pytest.mark.site
def test_slow_senders_block_nobody(port: int) -> None:
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
def test_slow_readers_block_nobody(port: int) -> None:
    head = f"GET /static/{LONG_FILE} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    readers = [begin(port, head.encode(), window=2048) for _ in range(10)]
    for reader in readers:
        assert reader.recv(1)  # its answer has begun

    assert ask(port, "POST", "/api/v1/previews", THREE)[0] == 200
    for reader in readers:
        reader.close()
    assert ask(port, "GET", "/models")[0] == 200


@pytest.mark.site
def test_long_file_arrives_complete(port: int) -> None:
    import drf_spectacular_sidecar

    file = Path(drf_spectacular_sidecar.__file__).parent / "static" / LONG_FILE
    status, content = ask(port, "GET", f"/static/{LONG_FILE}")

    assert status == 200
    assert hashlib.sha256(content).digest() == hashlib.sha256(file.read_bytes()).digest()
    assert ask(port, "HEAD", f"/static/{LONG_FILE}") == (200, b"")


@pytest.mark.site
def test_answer_of_unknown_length_arrives_complete(port: int) -> None:
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
def test_bodies_without_valid_length_are_refused_unread(port: int, headers: bytes, status: int) -> None:
    head = b"POST /api/v1/previews HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    with begin(port, head + headers) as client:
        assert client.recv(4096).split(b" ")[1] == str(status).encode()
    assert ask(port, "GET", "/healthz")[0] == 200
