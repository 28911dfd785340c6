"""Django behind RSGI, the web server's own interface: a body is waited for without a thread, then a thread works.

Under WSGI a thread waits, so a handful of phones that upload photos over a bad line, or of clients that never mean to
end, would hold the whole site.
RSGI: https://github.com/emmett-framework/granian/blob/master/docs/spec/RSGI.md
"""

import asyncio
import gc
import io
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from itertools import islice
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import connections
from django.urls import resolve
from granian.rsgi import HTTPProtocol, ProtocolClosed, ProtocolError, Scope  # type: ignore[attr-defined]

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

WORKERS = 2  # threads: more read no faster, and wait longer for each other and for SQLite's one writer
STREAMS = 4  # threads that send long answers, a piece at a time
PATIENCE = 10.0  # seconds for a body to come …
SLOWEST = 32 * 1024  # … and one more for each so many bytes of it
LARGE = 256 * 1024  # bytes of a body; so few that are larger are in memory at once
LARGE_AT_ONCE = 16
AT_ONCE = 16  # pieces of a longer one that go together: a file's have 4 KiB
WHOLE = 4 * 1024 * 1024  # bytes of an answer that are sent in one piece
STALLED = 30.0  # seconds in which a reader must have taken a piece of a longer one

Headers = list[tuple[str, str]]


class Site:
    """What Granian calls in each web process, around a WSGI application."""

    def __init__(self, application: "WSGIApplication") -> None:
        self._application = application
        self._workers = ThreadPoolExecutor(WORKERS, thread_name_prefix="worker")
        self._streams = ThreadPoolExecutor(STREAMS, thread_name_prefix="stream")
        self._large = asyncio.Semaphore(LARGE_AT_ONCE)

    async def __rsgi__(self, scope: Scope, protocol: HTTPProtocol) -> None:
        """Answer one request."""
        try:
            body = await self._body(scope, protocol)
        except TimeoutError:
            told = b'{"detail":"The body did not come in time."}'
            protocol.response_bytes(HTTPStatus.REQUEST_TIMEOUT, [("content-type", "application/json")], told)
            return
        except (ProtocolClosed, ProtocolError):
            return  # whoever asked is gone
        loop = asyncio.get_running_loop()
        status, headers, answer = await loop.run_in_executor(
            self._workers, respond, self._application, environ_of(scope, body)
        )
        if isinstance(answer, bytes):
            protocol.response_bytes(status, headers, answer)
        else:
            transport = protocol.response_stream(status, headers)
            await loop.run_in_executor(self._streams, send, answer, transport, loop)

    async def _body(self, scope: Scope, protocol: HTTPProtocol) -> bytes:
        """Wait for the body; one that is too long, or does not say how long it is, is refused unread."""
        length = scope.headers.get("content-length", "0")
        if not length.isdecimal() or len(length) > 9 or not 0 < int(length) <= settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
            return b""
        async with asyncio.timeout(PATIENCE + int(length) / SLOWEST):
            if int(length) <= LARGE:
                return await protocol()
            async with self._large:
                return await protocol()


def environ_of(scope: Scope, body: bytes) -> "WSGIEnvironment":
    """Describe a request as WSGI does (PEP 3333): text there holds bytes, as Latin-1."""
    host, _, port = scope.server.rpartition(":")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": scope.path.encode().decode("latin-1"),
        "QUERY_STRING": scope.query_string.encode().decode("latin-1"),
        "SERVER_NAME": host,
        "SERVER_PORT": port,
        "SERVER_PROTOCOL": f"HTTP/{scope.http_version}",
        "REMOTE_ADDR": scope.client.rpartition(":")[0].strip("[]"),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.scheme,
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for name, value in scope.headers.items():
        if "_" in name:  # it would pass for the one with a hyphen, which a proxy in front may vouch for
            continue
        key = name.upper().replace("-", "_")
        key = key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"
        joint = "; " if key == "HTTP_COOKIE" else ","
        environ[key] = f"{environ[key]}{joint}{value}" if key in environ else value
    return environ


def respond(application: "WSGIApplication", environ: "WSGIEnvironment") -> tuple[int, Headers, Any]:
    """Have the application answer; an answer that is long, or may be, comes as the iterable that makes its pieces."""
    said: list[tuple[int, Headers]] = []

    def start_response(status: str, headers: Headers, _: object = None) -> Any:
        said.append((int(status[:3]), headers))

    answer: Any = application(environ, start_response)
    status, headers = said[-1]
    if getattr(answer, "streaming", False) and int(dict(headers).get("Content-Length", WHOLE)) >= WHOLE:
        return status, headers, answer
    try:
        return status, headers, b"".join(answer)
    finally:
        answer.close()


def send(answer: Iterable[bytes], transport: Any, loop: asyncio.AbstractEventLoop) -> None:
    """Send an answer piece by piece, as fast as its reader takes it; all on one thread, for its rows are of one
    connection, which is given back at the end.
    """

    async def send_piece(piece: bytes) -> None:
        await transport.send_bytes(piece)

    pieces = iter(answer)
    try:
        while piece := b"".join(islice(pieces, AT_ONCE)):
            asyncio.run_coroutine_threadsafe(send_piece(piece), loop).result(STALLED)
    except (ProtocolClosed, ProtocolError, TimeoutError):
        pass  # whoever read it has gone, or as good as
    finally:
        answer.close()  # type: ignore[attr-defined]
        connections.close_all()


def load() -> Site:
    """Make a web process's application: Django with the model loaded."""
    from hdr_site.wsgi import application

    resolve("/")  # loads the views: the first visitor need not wait for that
    gc.collect()
    gc.freeze()  # what is loaded stays; to look through it for garbage holds up everybody for 50 ms
    return Site(application)
