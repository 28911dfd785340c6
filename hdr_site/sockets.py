"""What the kernel does for the web server's connections, of which the server itself says nothing."""

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

SILENT = 30  # seconds in which a client must have taken something of what is being sent to it
UNSENT = 256 * 1024  # bytes that the kernel keeps for one client; by itself it takes some MB and calls them sent
LOOKS_EVERY = 0.05  # seconds
OPEN_FILES = Path("/dev/fd")


async def bound_connections() -> None:
    """Bound what clients that read slowly, or not at all, hold up in the kernel, as soon as the server listens."""
    while not any(_bound(own) for own in _sockets()):
        await asyncio.sleep(LOOKS_EVERY)


def _bound(own: socket.socket) -> bool:
    """Bound the connections that a socket takes from now on, if it listens; say whether it does."""
    if not own.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return False
    own.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, UNSENT)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # on Linux
        own.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * SILENT)
    return True


def _sockets() -> Iterator[socket.socket]:
    """Go through the process's TCP sockets.

    Nothing is duplicated and closed on the way: closing any descriptor of SQLite's file would drop all the locks that
    the process has on it (POSIX, fcntl), in the middle of somebody's transaction.
    """
    for file in list(OPEN_FILES.iterdir()):
        try:
            own = socket.socket(fileno=int(file.name))
        except OSError:  # it is no socket, or gone by now
            continue
        try:
            if own.type == socket.SOCK_STREAM and own.family in (socket.AF_INET, socket.AF_INET6):
                yield own
        finally:
            own.detach()
