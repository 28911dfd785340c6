"""Django behind ASGI: a body is waited for without a thread, a thread works, and a long answer goes as it is read.

Under WSGI a thread waits, so a handful of phones that upload photos over a bad line, or of clients that never mean to
end, would hold the whole site. Of Granian's interfaces this one alone has both: bodies without a thread, and answers
that wait for their reader (under RSGI all of an answer is in memory as soon as it is made).
"""

import asyncio
import ctypes
import gc
import io
import sys
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote_to_bytes

from django.conf import settings
from django.db import connections
from django.urls import resolve

from hdr_site import traffic
from hdr_site.sockets import bound_connections
from hdr_site.traffic import Load, Traffic
from hdr_site.turns import Turns
from web.addresses import address_in

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

WORKERS = 2  # threads: more read no faster, and wait longer for each other and for SQLite's one writer
STREAMS = 4  # threads that make long answers, a piece at a time
PIECE = 16 * 1024  # bytes of a long answer that go together
MAKING = 2 * 1024 * 1024  # bytes that are counted for an answer which is made while it is sent
LONG = 128 * 1024  # bytes of an answer that is sent piece by piece
ALIVE = "/healthz"  # says that the process answers, whatever its threads wait for; it touches no database
PASSWORDS = "/account/"  # where passwords are hashed, by whoever posts there
PASSWORDS_WAITING = 32  # requests; one is worked on at a time, for each takes a core and 100 MiB
RETRY_SECONDS = 5
GIVEN_BACK = 1024 * 1024  # bytes of memory in one piece, from which on it goes back to the system when it is free
M_MMAP_THRESHOLD = -3  # <malloc.h>

T = TypeVar("T")
Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Headers = list[tuple[str, str]]


class GoneError(Exception):
    """A client has left before its request was worked on."""


class Site:
    """What Granian calls in each web process, around a WSGI application."""

    def __init__(self, application: "WSGIApplication") -> None:
        self._application = application
        self._workers = ThreadPoolExecutor(WORKERS, thread_name_prefix="worker")
        self._streams = ThreadPoolExecutor(STREAMS, thread_name_prefix="stream")
        self._passwords = ThreadPoolExecutor(1, thread_name_prefix="password")
        self._passwords_waiting = 0
        self._pictures = ThreadPoolExecutor(1, thread_name_prefix="picture")
        self._picture_turns = Turns()
        self._traffic = Traffic()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or hear that the process starts or stops."""
        if scope["type"] == "lifespan":
            await live(receive, send)
            return
        load = Load()
        try:
            body = await self._body(scope, receive, load)
        except TimeoutError:
            self._traffic.release(load)
            await refuse(send, HTTPStatus.REQUEST_TIMEOUT, "The body did not come in time.")
            return
        except ConnectionError:
            self._traffic.release(load)
            return
        try:
            status, headers, answer = await self._work(scope, receive, body)
        except GoneError:
            return
        finally:
            self._traffic.release(load)
        await self._answer(receive, send, status, headers, answer)

    async def _body(self, scope: Scope, receive: Receive, load: Load) -> io.BytesIO:
        """Wait for the body; one that is too long, or does not say how long it is, is left unread, and refused later.

        Raises:
            TimeoutError: it comes too slowly.
            ConnectionError: whoever sent it is gone.
        """
        length, body = length_of(scope), io.BytesIO()
        while body.tell() < length:
            message = await self._traffic.wait_for(load, receive())
            if message["type"] == "http.disconnect":
                raise ConnectionError
            load.moved(len(message["body"]))
            body.write(message["body"])
            await self._traffic.hold(load, length if self._traffic.is_tight else body.tell(), traffic.ROOM)
        body.seek(0)
        return body

    async def _work(self, scope: Scope, receive: Receive, body: io.BytesIO) -> tuple[int, Headers, Any]:
        environ = environ_of(scope, body)
        if environ["PATH_INFO"] == ALIVE:
            return respond(self._application, environ)  # at once, for no thread may be free
        if scope["method"] != "POST" or not environ["PATH_INFO"].startswith(PASSWORDS):
            if may_hold_picture(environ, body):
                return await self._read_picture(environ, receive)
            return await run(self._workers, respond, self._application, environ)
        if self._passwords_waiting >= PASSWORDS_WAITING:
            told = b"Many people log in just now. Try again in a few seconds.\n"
            headers = [("Content-Type", "text/plain"), ("Retry-After", str(RETRY_SECONDS))]
            return HTTPStatus.SERVICE_UNAVAILABLE, headers, told
        self._passwords_waiting += 1
        try:
            return await run(self._passwords, respond, self._application, environ)
        finally:
            self._passwords_waiting -= 1

    async def _read_picture(self, environ: "WSGIEnvironment", receive: Receive) -> tuple[int, Headers, Any]:
        """Pictures wait for each other, beside everything else: one takes up to a hundred times as long as ink.

        Clients take turns, so that nobody's picture waits for all that somebody else has sent.

        Raises:
            GoneError: whoever sent it has left while it waited.
        """
        gone = asyncio.create_task(leave(receive))
        try:
            async with self._picture_turns.turn(address_in(environ)):
                if gone.done():
                    raise GoneError
                return await run(self._pictures, respond, self._application, environ)
        finally:
            gone.cancel()

    async def _answer(self, receive: Receive, send: Send, status: int, headers: Headers, answer: Any) -> None:
        if isinstance(answer, bytes) and len(answer) <= LONG:
            await begin(send, status, headers)
            await send({"type": "http.response.body", "body": answer})
            return
        load = Load()
        gone = asyncio.create_task(leave(receive))
        try:
            if await self._finds_room(answer, load):
                await begin(send, status, headers)
                await self._send(answer, send, load, gone)
            else:
                await refuse(send, HTTPStatus.SERVICE_UNAVAILABLE, "Too much is downloaded just now. Try again soon.")
        except TimeoutError:
            pass  # the server closes the connection: less has come than was announced
        finally:
            gone.cancel()
            self._traffic.release(load)
            if not isinstance(answer, bytes):
                await run(self._streams, answer.close)

    async def _finds_room(self, answer: Any, load: Load) -> bool:
        made = isinstance(answer, bytes)  # and in memory already, so that nobody can be waited for
        try:
            await self._traffic.hold(load, len(answer) if made else MAKING, 0.0 if made else traffic.PATIENCE)
        except TimeoutError:
            return False
        return True

    async def _send(self, answer: Any, send: Send, load: Load, gone: "asyncio.Task[None]") -> None:
        """Send a long answer, as fast as its reader takes it, until that is gone; a thread makes each piece.

        Raises:
            TimeoutError: the reader takes too long.
        """
        whole = isinstance(answer, bytes)
        pieces = iter(partial(io.BytesIO(answer).read, PIECE), b"") if whole else iter(answer)
        while not gone.done() and (piece := await run(self._streams, next_piece, pieces)):
            message = {"type": "http.response.body", "body": piece, "more_body": True}
            await self._traffic.wait_for(load, send(message))
            load.moved(len(piece))
        await send({"type": "http.response.body", "body": b""})


async def live(receive: Receive, send: Send) -> None:
    """Begin and end with the process."""
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await bound_connections()
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def leave(receive: Receive) -> None:
    """Wait until a client has gone: to send to it is no error."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def run(threads: Executor, function: Callable[..., T], *arguments: Any) -> T:
    return await asyncio.get_running_loop().run_in_executor(threads, function, *arguments)


async def begin(send: Send, status: int, headers: Headers) -> None:
    encoded = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    await send({"type": "http.response.start", "status": status, "headers": encoded})


async def refuse(send: Send, status: int, detail: str) -> None:
    """Refuse a request without having worked on it, or sent what came of that, and its connection with it."""
    headers = [("Content-Type", "application/json"), ("Connection", "close"), ("Retry-After", str(RETRY_SECONDS))]
    await begin(send, status, headers)
    await send({"type": "http.response.body", "body": f'{{"detail":"{detail}"}}'.encode()})


def length_of(scope: Scope) -> int:
    """Read the length that a body says it has; 0 if it is not to be read: none, no number, or too long."""
    text = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    length = int(text) if text.isdigit() and len(text) <= 9 else 0
    return length if length <= settings.DATA_UPLOAD_MAX_MEMORY_SIZE else 0


def environ_of(scope: Scope, body: io.BytesIO) -> "WSGIEnvironment":
    """Describe a request as WSGI does (PEP 3333): text there holds bytes, as Latin-1."""
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(scope["raw_path"]).decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_NAME": scope["server"][0],
        "SERVER_PORT": str(scope["server"][1]),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "REMOTE_ADDR": scope["client"][0],
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope["scheme"],
        "wsgi.input": body,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for name, value in ((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]):
        if "_" in name:  # it would pass for the one with a hyphen, which a proxy in front may vouch for
            continue
        key = name.upper().replace("-", "_")
        key = key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"
        joint = "; " if key == "HTTP_COOKIE" else ","
        environ[key] = f"{environ[key]}{joint}{value}" if key in environ else value
    return environ


def may_hold_picture(environ: "WSGIEnvironment", body: io.BytesIO) -> bool:
    """Tell whether a body may have a field `image`: in JSON only an escape could hide it, and ink has none."""
    if environ.get("CONTENT_TYPE", "").lower().startswith("multipart/"):
        return True
    content = body.getvalue()
    return b"image" in content or b"\\" in content


def respond(application: "WSGIApplication", environ: "WSGIEnvironment") -> tuple[int, Headers, Any]:
    """Have the application answer; an answer that is long, or may be, comes as the iterable that makes its pieces."""
    said: list[tuple[int, Headers]] = []

    def start_response(status: str, headers: Headers, _: object = None) -> Any:
        said.append((int(status[:3]), headers))

    answer: Any = application(environ, start_response)
    status, headers = said[-1]
    if getattr(answer, "streaming", False) and int(dict(headers).get("Content-Length", LONG)) >= LONG:
        return status, headers, answer
    try:
        return status, headers, b"".join(answer)
    finally:
        answer.close()


def next_piece(pieces: Iterator[bytes]) -> bytes:
    """Make a long answer's next piece; nothing at its end. Whatever connection that took is given back."""
    piece = bytearray()
    try:
        while len(piece) < PIECE:
            piece += next(pieces)
    except StopIteration:
        pass
    finally:
        connections.close_all()
    return bytes(piece)


def give_memory_back() -> None:
    """Have glibc give every large piece of memory back; by itself it keeps what a moment of many long bodies took."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(M_MMAP_THRESHOLD, GIVEN_BACK)


def load() -> Site:
    """Make a web process's application: Django with the model loaded."""
    from hdr_site.wsgi import application

    resolve("/")  # loads the views: the first visitor need not wait for that
    give_memory_back()
    gc.collect()
    gc.freeze()  # what is loaded stays; to look through it for garbage holds up everybody for 50 ms
    return Site(application)
