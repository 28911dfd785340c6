"""Runs Django behind ASGI: waits for bodies without a thread, and sends long answers as fast as they are read.

Under WSGI a thread waits for each client. A few phones that upload photos over a bad line, or clients that never finish
on purpose, would stop the whole site. Of Granian's interfaces only this one has both: bodies without a thread, and
answers that wait for their reader (RSGI keeps a whole answer in memory as soon as it is made).
"""

import asyncio
import contextlib
import ctypes
import gc
import io
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from django.conf import settings
from django.db import connections
from django.urls import resolve

from hdr_site import traffic
from hdr_site.sockets import bound_connections
from hdr_site.supervisor import end_with
from hdr_site.traffic import Load, Traffic
from hdr_site.turns import GoneError, Pool
from web.addresses import address_in

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

WORKERS = 2  # threads, one of them for one client; more are slower, for they wait for Python's lock and SQLite's writer
STREAMS = 4  # threads that make long answers, one piece at a time
PIECE = 16 * 1024  # bytes of a long answer that are sent together
MAKING = 2 * 1024 * 1024  # bytes that are counted for an answer that is made while it is sent
LONG = 128 * 1024  # bytes of an answer from which it is sent in pieces
ALIVE = "/healthz"  # answered even when all threads are busy; its GET touches no database
PASSWORDS = "/account/"  # POST requests here hash passwords
PASSWORDS_WAITING = 32  # of one client; they are hashed one at a time, for each takes a core and 100 MiB
RETRY_SECONDS = 5
LONGEST_LENGTH = 18  # digits of a Content-Length
LARGEST_FORM = 256 * 1024  # bytes; Django takes a second and 200 MB for 8 MB of escapes
GIVEN_BACK = 1024 * 1024  # bytes; freed pieces of memory of this size go back to the system
M_MMAP_THRESHOLD = -3  # <malloc.h>

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Headers = list[tuple[str, str]]
Gone = asyncio.Future[None]


class Site:
    """The application that Granian calls in each web process; it wraps a WSGI application."""

    def __init__(self, application: "WSGIApplication") -> None:
        self._application = application
        self._workers = Pool("worker", WORKERS)
        self._streams = Pool("stream", STREAMS)
        self._passwords = Pool("password", 1)
        self._pictures = Pool("picture", 1)  # a picture takes up to a hundred times as long as ink
        self._traffic = Traffic()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or start and stop with the process."""
        if scope["type"] == "lifespan":
            await live(receive, send)
            return
        length, body = length_of(scope), io.BytesIO()
        environ = environ_of(scope, body)
        client = address_in(environ)
        if is_form(environ) and (length or 0) > LARGEST_FORM:
            await refuse(send, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The form is larger than 256 KiB.")
            return
        with self._traffic.load(client) as load:
            try:
                await self._read(body, length or 0, receive, load)
            except TimeoutError:
                await refuse(send, HTTPStatus.REQUEST_TIMEOUT, "The body did not come in time.")
                return
            except ConnectionError:
                await refuse(send, HTTPStatus.BAD_REQUEST, "The body ended early.")  # the client may still listen
                return
            # Waiting for the end of a body that is left unread would read it.
            gone = asyncio.ensure_future(leave(receive)) if length is not None else Gone()
            try:
                with contextlib.suppress(GoneError):
                    status, headers, answer = await self._work(environ, body, client, gone)
                    await self._answer(send, status, headers, answer, client, gone)
            finally:
                gone.cancel()

    async def _read(self, body: io.BytesIO, length: int, receive: Receive, load: Load) -> None:
        """Wait for the body.

        Raises:
            TimeoutError: it comes too slowly, or there is no room for it.
            ConnectionError: it ended before its announced length.
        """
        while body.tell() < length:
            message = await self._traffic.wait_for(load, receive())
            if message["type"] == "http.disconnect":
                raise ConnectionError
            load.moved(len(message["body"]))
            body.write(message["body"])
            await self._traffic.hold(load, length if self._traffic.is_tight(load) else body.tell(), traffic.ROOM)
        body.seek(0)

    async def _work(
        self, environ: "WSGIEnvironment", body: io.BytesIO, client: str, gone: Gone
    ) -> tuple[int, Headers, Any]:
        """Have Django answer, in a thread, when it is the client's turn.

        Raises:
            GoneError: the client left before its turn.
        """
        path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
        if path == ALIVE and method in ("GET", "HEAD"):
            return respond(self._application, environ)
        threads = self._workers
        if method == "POST" and path.startswith(PASSWORDS):
            threads = self._passwords
            if threads.waiting(client) >= PASSWORDS_WAITING:
                told = b"Many people log in just now. Try again in a few seconds.\n"
                headers = [("Content-Type", "text/plain"), ("Retry-After", str(RETRY_SECONDS))]
                return HTTPStatus.SERVICE_UNAVAILABLE, headers, told
        elif may_hold_picture(environ, body):
            threads = self._pictures
        return await threads.run(client, gone, respond, self._application, environ)

    async def _answer(self, send: Send, status: int, headers: Headers, answer: Any, client: str, gone: Gone) -> None:
        if isinstance(answer, bytes) and len(answer) <= LONG:
            await begin(send, status, headers)
            await send({"type": "http.response.body", "body": answer})
            return
        try:
            with self._traffic.load(client) as load:
                if await self._finds_room(answer, load):
                    await begin(send, status, headers)
                    await self._send(answer, send, load, gone)
                else:
                    told = "Too much is downloaded just now. Try again soon."
                    await refuse(send, HTTPStatus.SERVICE_UNAVAILABLE, told)
        except TimeoutError:
            pass  # the server closes the connection; the client sees that the answer is not complete
        finally:
            if not isinstance(answer, bytes):
                await self._streams.run(client, None, answer.close)

    async def _finds_room(self, answer: Any, load: Load) -> bool:
        made = isinstance(answer, bytes)  # it takes its memory already, so it cannot wait for room
        try:
            await self._traffic.hold(load, len(answer) if made else MAKING, 0.0 if made else traffic.PATIENCE)
        except TimeoutError:
            return False
        return True

    async def _send(self, answer: Any, send: Send, load: Load, gone: Gone) -> None:
        """Send a long answer as fast as its reader takes it; a thread makes each piece.

        Raises:
            GoneError: the reader left.
            TimeoutError: the reader takes too long.
        """
        whole = isinstance(answer, bytes)
        pieces = iter(partial(io.BytesIO(answer).read, PIECE), b"") if whole else iter(answer)
        while piece := await self._streams.run(load.client, gone, next_piece, pieces):
            message = {"type": "http.response.body", "body": piece, "more_body": True}
            await self._traffic.wait_for(load, send(message))
            load.moved(len(piece))
        await send({"type": "http.response.body", "body": b""})


async def live(receive: Receive, send: Send) -> None:
    """Begin and end with the process."""
    await receive()
    await send({"type": "lifespan.startup.complete"})
    bounding = asyncio.create_task(bound_connections())
    await receive()
    bounding.cancel()  # the process may stop before it listens
    await send({"type": "lifespan.shutdown.complete"})


async def leave(receive: Receive) -> None:
    """Wait until the client has left; sending to a client that has left raises nothing."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def begin(send: Send, status: int, headers: Headers) -> None:
    encoded = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    await send({"type": "http.response.start", "status": status, "headers": encoded})


async def refuse(send: Send, status: int, detail: str) -> None:
    """Refuse a request and close its connection."""
    headers = [("Content-Type", "application/json"), ("Connection", "close"), ("Retry-After", str(RETRY_SECONDS))]
    await begin(send, status, headers)
    await send({"type": "http.response.body", "body": f'{{"detail":"{detail}"}}'.encode()})


def length_of(scope: Scope) -> int | None:
    """Read the length of the body; None if it is not to be read: the length is missing, not a number, or too large."""
    headers = dict(scope["headers"])
    if b"transfer-encoding" in headers:
        return None
    text = headers.get(b"content-length", b"0")
    length = int(text) if text.isdigit() and len(text) <= LONGEST_LENGTH else None
    return length if length is not None and length <= settings.DATA_UPLOAD_MAX_MEMORY_SIZE else None


def environ_of(scope: Scope, body: io.BytesIO) -> "WSGIEnvironment":
    """Describe a request as WSGI does (PEP 3333), where text holds bytes as Latin-1; `body` may be filled later."""
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
        if "_" in name:  # it would look like the header with a hyphen, which a proxy in front may have checked
            continue
        key = name.upper().replace("-", "_")
        key = key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"
        joint = "; " if key == "HTTP_COOKIE" else ","
        environ[key] = f"{environ[key]}{joint}{value}" if key in environ else value
    return environ


def is_form(environ: "WSGIEnvironment") -> bool:
    """Tell whether the body is a form without files."""
    kind: str = environ.get("CONTENT_TYPE", "")
    return kind.strip().lower().startswith("application/x-www-form-urlencoded")


def may_hold_picture(environ: "WSGIEnvironment", body: io.BytesIO) -> bool:
    """Tell whether a body may have a field `image`. In JSON only an escape can hide the name; ink has none."""
    if environ.get("CONTENT_TYPE", "").lower().startswith("multipart/"):
        return True
    content = body.getvalue()
    return b"image" in content or b"\\" in content


def respond(application: "WSGIApplication", environ: "WSGIEnvironment") -> tuple[int, Headers, Any]:
    """Call the application. Return a short answer as bytes, and a long or endless one as the response to iterate."""
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
    """Make the next piece of a long answer, empty at its end, and close the database connections that this opened."""
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
    """Make glibc return freed large blocks to the system. By default it keeps what a burst of long bodies took."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(M_MMAP_THRESHOLD, GIVEN_BACK)


def load() -> Site:
    """Return the application of a web process: Django with the model loaded."""
    # Granian's handler, inherited from the server, does nothing here; it sets another one once this is loaded.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if end := end_with(os.getppid()):  # a server that was killed must not leave processes that hold its port
        end()
    from hdr_site.wsgi import application

    resolve("/")  # loads the views now, so that the first visitor does not wait for it
    give_memory_back()
    gc.collect()
    gc.freeze()  # a collection that looks through all that is loaded stops everybody for 50 ms
    return Site(application)
