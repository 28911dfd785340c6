"""Socket options for the web server's connections that Granian has no setting for."""

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

SILENT = 30  # seconds after which the kernel ends a connection whose client acknowledges nothing
UNSENT = 256 * 1024  # bytes that the kernel buffers for one client; its default is some MB, which count as sent
LOOKS_EVERY = 0.05  # seconds between two looks for the listening socket
OPEN_FILES = Path("/dev/fd")


async def bound_connections() -> None:
    """Limit what slow readers can occupy in the kernel, as soon as the server listens."""
    while not any(_bound(own) for own in _sockets()):
        await asyncio.sleep(LOOKS_EVERY)


def _bound(own: socket.socket) -> bool:
    """Limit the connections that a listening socket accepts from now on; return whether the socket listens."""
    if not own.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return False
    own.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, UNSENT)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # on Linux
        own.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * SILENT)
    return True


def _sockets() -> Iterator[socket.socket]:
    """Go through the process's TCP sockets.

    No descriptor is duplicated and closed: closing any descriptor of SQLite's file drops all locks that the process has
    on it (POSIX, fcntl), perhaps in the middle of a transaction.
    """
    for file in list(OPEN_FILES.iterdir()):
        try:
            own = socket.socket(fileno=int(file.name))
        except OSError:  # not a socket, or closed by now
            continue
        try:
            if own.type == socket.SOCK_STREAM and own.family in (socket.AF_INET, socket.AF_INET6):
                yield own
        finally:
            own.detach()
