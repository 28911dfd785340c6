"""What one process holds for its clients: bodies on their way in, long answers on their way out.

A client has to go on sending, or reading. All that is held has a bound; at the bound the slowest client gives way.
"""

import asyncio
import contextlib
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import TypeVar

PATIENCE = 15.0  # seconds that a client may take …
SLOWEST = 8 * 1024  # … and one more, up to as many as at first, for each so many bytes that it sent or read
MOST = 128 * 1024 * 1024  # bytes, for all clients together: 16 of the longest bodies
ROOM = 5.0  # seconds that the body of a quick client waits for room
GRACE = 1.0  # seconds without a byte, after which a client gives way at once

T = TypeVar("T")


@dataclass(eq=False, slots=True)
class Load:
    """What is held for one client."""

    size: int = 0  # bytes
    credit: float = field(default_factory=lambda: PATIENCE)  # seconds that the client may still take
    limit: asyncio.Timeout | None = None  # when that is over, while the client is waited for
    dropped: bool = False

    def moved(self, size: int) -> None:
        """Give the client time for what it has just sent or read."""
        self.credit = min(PATIENCE, self.credit + size / SLOWEST)

    def end(self) -> float:
        """Say when the client's time is over, on the loop's clock."""
        return (self.limit and self.limit.when()) or 0.0


class Traffic:
    """All loads of one process."""

    def __init__(self) -> None:
        self._held = 0
        self._waited_for: set[Load] = set()
        self._freed = asyncio.Event()

    async def wait_for(self, load: Load, client: Awaitable[T]) -> T:
        """Wait until a client has sent or read something.

        Raises:
            TimeoutError: it took too long, or gave way to others.
        """
        began = _now()
        async with asyncio.timeout(load.credit) as load.limit:
            self._waited_for.add(load)
            try:
                result = await client
            finally:
                self._waited_for.discard(load)
        if load.dropped:
            raise TimeoutError
        load.credit -= _now() - began
        return result

    @property
    def is_tight(self) -> bool:
        """Half of the room is taken: who wants more has to find room for all that is to come.

        So those who have begun hold half at most, and the rest is enough for one of them at least to end.
        """
        return self._held > MOST / 2

    async def hold(self, load: Load, size: int, patience: float) -> None:
        """Count at least so many bytes for a client. At the bound whoever is slow gives way.

        Args:
            size: bytes in all, those that it has already included.
            patience: seconds until the slowest gives way though it is quick; where there is none, this client does.

        Raises:
            TimeoutError: it does.
        """
        until = _now() + patience
        more = max(0, size - load.size)
        while more and self._held + more > MOST:
            slowest = min(self._waited_for, key=Load.end, default=None)
            late = _now() >= until
            if slowest and (late or slowest.end() <= _now() + PATIENCE - GRACE):
                self._drop(slowest)
            elif late:
                raise TimeoutError
            else:
                await self._pause()
        load.size += more
        self._held += more

    def release(self, load: Load) -> None:
        """Count a client's bytes no longer."""
        if load.size:
            self._held -= load.size
            load.size = 0
            self._freed.set()

    def _drop(self, load: Load) -> None:
        load.dropped = True
        if load.limit:
            load.limit.reschedule(_now())
        self._waited_for.discard(load)
        self.release(load)

    async def _pause(self) -> None:
        """Wait until something was released, or somebody may have become slow."""
        self._freed.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GRACE):
                await self._freed.wait()


def _now() -> float:
    return asyncio.get_running_loop().time()
