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

CONNECTIONS = 2048  # of one process; further ones wait until one closes
BUFFER = 64 * 1024  # bytes of a request's head, and of an answer before it goes to the kernel
HEAD_SECONDS = 10  # for a request's head to arrive, or for the next request on an open connection
STOP_SECONDS = 10  # for running requests when the server stops


def main() -> None:
    """Serve until SIGINT or SIGTERM, and finish the running requests.

    Raises:
        SystemExit: the address cannot be listened on, or the secret key is easy to guess.
    """
    allow_open_files()
    environment.refuse_guessable("SECRET_KEY")  # here, for a worker process that fails is started again and again
    port = environment.number("PORT", 8000)
    address = free_address(environment.text("HOST", "127.0.0.1"), port)
    with alone_on(address, port), tempfile.TemporaryDirectory(prefix="digits-metrics-") as counts:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = counts  # all processes count there; any of them can sum up
        serve(address, port)


def allow_open_files() -> None:
    """Raise the limit of open files as far as the system allows.

    The usual limit of 1024 is less than CONNECTIONS. At the limit no connection is accepted and no file opened.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # macOS has a lower limit than it says
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def free_address(host: str, port: int) -> str:
    """Resolve a host name, and refuse a port that is in use: Granian would share it with the other server.

    Raises:
        SystemExit: the site cannot listen there.
    """
    try:
        family, *_, (address, *_) = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        # Dual-stack as Granian listens: `::` includes all IPv4 addresses.
        socket.create_server((address, port), family=family, dualstack_ipv6=family == socket.AF_INET6).close()
    except (OSError, OverflowError, UnicodeError) as error:
        raise SystemExit(f"Cannot listen on {host}, port {port}: {error}. Set HOST or PORT to change it.") from error
    return str(address)


@contextmanager
def alone_on(address: str, port: int) -> Iterator[None]:
    """Refuse a second server that starts at the same moment, when neither listens yet.

    This takes an abstract socket name, which Linux frees with the process. Other systems have none and refuse nobody.

    Raises:
        SystemExit: another server is starting there.
    """
    with socket.socket(socket.AF_UNIX) as name:
        try:
            if sys.platform == "linux":
                name.bind(f"\0digits web server {address} {port}")
        except OSError as error:
            raise SystemExit(f"Cannot listen on {address}, port {port}: another server is starting there.") from error
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
