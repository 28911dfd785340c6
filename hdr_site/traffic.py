"""What one process holds for its clients: bodies on their way in, long answers on their way out.

A client has to go on sending, or reading. All that is held has a bound; at the bound the slowest client gives way.
"""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import TypeVar

PATIENCE = 15.0  # seconds that a client may take …
SLOWEST = 8 * 1024  # … and one more, up to as many as at first, for each so many bytes that it sent or read
MOST = 128 * 1024 * 1024  # bytes, for all clients together: 16 of the longest bodies
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

    async def hold(self, load: Load, size: int, made: bool = False) -> None:
        """Count so many bytes more for a client. At the bound the slowest of all gives way.

        Args:
            made: the bytes are in memory already, so none is waited for that may be done in a moment.

        Raises:
            TimeoutError: it is this one.
        """
        load.size += size
        self._held += size
        while self._held > MOST:
            await self._make_room(0.0 if made else GRACE)

    def release(self, load: Load) -> None:
        """Count a client's bytes no longer."""
        if load.size:
            self._held -= load.size
            load.size = 0
            self._freed.set()

    async def _make_room(self, grace: float) -> None:
        slowest = self._slowest()
        if slowest is None or slowest.end() > _now() + PATIENCE - grace:
            if await self._freed_within(grace) or self._held <= MOST:
                return
            slowest = self._slowest()
        if slowest is None or slowest.limit is None:
            raise TimeoutError
        slowest.dropped = True
        slowest.limit.reschedule(_now())
        self._waited_for.discard(slowest)
        self.release(slowest)

    def _slowest(self) -> Load | None:
        """Find the client that is waited for and has the least time left."""
        return min(self._waited_for, key=Load.end, default=None)

    async def _freed_within(self, seconds: float) -> bool:
        self._freed.clear()
        try:
            async with asyncio.timeout(seconds):
                return await self._freed.wait()
        except TimeoutError:
            return False


def _now() -> float:
    return asyncio.get_running_loop().time()
