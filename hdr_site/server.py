"""The web server: `python -m hdr_site.server` listens on HOST and PORT with WEB_CONCURRENCY processes."""

import contextlib
import os
import resource
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from granian import Granian
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels

from hdr_site import environment

CONNECTIONS = 2048  # of one process; more wait for their turn
BUFFER = 64 * 1024  # bytes of a request's head, and of an answer on its way to the kernel
HEAD_SECONDS = 10  # within which a request's head must have come

STOP_SECONDS = 10  # for requests in flight, when the server stops


def main() -> None:
    """Serve until SIGINT or SIGTERM; requests in flight are finished.

    Raises:
        SystemExit: the address cannot be listened on, or the secret key is easy to guess.
    """
    allow_open_files()
    environment.refuse_guessable("SECRET_KEY")  # here, once; each process would be started again and again
    port = environment.number("PORT", 8000)
    address = free_address(environment.text("HOST", "127.0.0.1"), port)
    with alone_on(address, port), tempfile.TemporaryDirectory(prefix="digits-metrics-") as counts:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = counts  # the processes count there, and any of them adds up
        serve(address, port)


def allow_open_files() -> None:
    """Raise the limit of open files as far as the system allows: many systems begin with 1024, fewer than CONNECTIONS.

    At the limit no connection is taken, and no file opened.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # macOS has a lower limit than it says
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def free_address(host: str, port: int) -> str:
    """Resolve a host's name, and refuse a port where somebody listens already.

    Granian would share it, and each of two sites have half of the requests.

    Raises:
        SystemExit: the site cannot listen there.
    """
    try:
        family, *_, (address, *_) = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        # Of both kinds, as Granian does: `::` means every IPv4 address too.
        socket.create_server((address, port), family=family, dualstack_ipv6=family == socket.AF_INET6).close()
    except (OSError, OverflowError, UnicodeError) as error:
        raise SystemExit(f"Cannot listen on {host}, port {port}: {error}. HOST and PORT choose another.") from error
    return str(address)


@contextmanager
def alone_on(address: str, port: int) -> Iterator[None]:
    """Keep out a second server that starts in the same moment, when neither listens yet.

    Linux has names that belong to one process of a network and are gone with it; elsewhere nobody is kept out.

    Raises:
        SystemExit: another one has just begun to start there.
    """
    with socket.socket(socket.AF_UNIX) as name:
        try:
            if sys.platform == "linux":
                name.bind(f"\0digits web server {address} {port}")
        except OSError as error:
            raise SystemExit(f"Cannot listen on {address}, port {port}: another server starts there.") from error
        yield


def serve(address: str, port: int) -> None:
    Granian(
        "hdr_site.asgi:load",
        factory=True,
        interface=Interfaces.ASGI,
        address=address,
        port=port,
        workers=environment.number("WEB_CONCURRENCY", min(os.cpu_count() or 1, 4)) or 1,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=1000 * HEAD_SECONDS, max_buffer_size=BUFFER),
        backpressure=CONNECTIONS,
        websockets=False,
        respawn_failed_workers=True,
        workers_kill_timeout=STOP_SECONDS,
        log_level=LogLevels.warning,
    ).serve()


if __name__ == "__main__":
    main()
