"""What the kernel does for the web server's connections, of which the server itself says nothing."""

import asyncio
import os
import socket
import stat
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
    """Go through the process's TCP sockets; each is a duplicate, for the time of its turn."""
    for file in list(OPEN_FILES.iterdir()):
        try:
            number = os.dup(int(file.name))
        except OSError:  # it is gone by now
            continue
        if not stat.S_ISSOCK(os.fstat(number).st_mode):
            os.close(number)
            continue
        with socket.socket(fileno=number) as own:
            if own.type == socket.SOCK_STREAM and own.family in (socket.AF_INET, socket.AF_INET6):
                yield own
