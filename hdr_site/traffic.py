"""Bounds the memory that one process holds for its clients: request bodies and long answers.

A client must keep sending, or reading. At the bound, the slowest request of the client that holds the most gives way.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

PATIENCE = 15.0  # seconds that a client may take; what it sends or reads earns it more time, up to this again
SLOWEST = 8 * 1024  # bytes that earn a second
MOST = 128 * 1024 * 1024  # bytes for all clients together: 16 bodies of the largest size; half of it for one client
ROOM = 5.0  # seconds that a body waits for room before the slowest request gives way, however quick it is
GRACE = 1.0  # seconds without a byte after which a request gives way at once

T = TypeVar("T")


@dataclass(eq=False, slots=True)
class Load:
    """What one request holds."""

    client: str
    size: int = 0  # bytes
    credit: float = field(default_factory=lambda: PATIENCE)  # seconds that the client may still take
    limit: asyncio.Timeout | None = None  # ends the wait for the client
    dropped: bool = False

    def moved(self, size: int) -> None:
        """Give the client time for what it has just sent or read."""
        self.credit = min(PATIENCE, self.credit + size / SLOWEST)

    def end(self) -> float:
        """Return when the client's time is over, on the loop's clock."""
        return (self.limit and self.limit.when()) or 0.0


class Traffic:
    """All loads of one process."""

    def __init__(self) -> None:
        self._held: Counter[str] = Counter()  # bytes by client
        self._waited_for: set[Load] = set()
        self._freed = asyncio.Event()

    @contextmanager
    def load(self, client: str) -> Iterator[Load]:
        """Begin a load that holds nothing yet, and release it at the end."""
        load = Load(client)
        try:
            yield load
        finally:
            self._release(load)

    async def wait_for(self, load: Load, action: Awaitable[T]) -> T:
        """Wait until the client has sent or read something.

        Raises:
            TimeoutError: it took too long, or gave way to others.
        """
        began = _now()
        async with asyncio.timeout(load.credit) as load.limit:
            self._waited_for.add(load)
            try:
                result = await action
            finally:
                self._waited_for.discard(load)
        if load.dropped:
            raise TimeoutError
        load.credit -= _now() - began
        return result

    def is_tight(self, load: Load) -> bool:
        """Tell whether half of the room is taken, the client's or everybody's.

        From then on a body must find room for its whole length. So unfinished bodies hold half at most, and the other
        half lets at least one of them finish.
        """
        return self._held[load.client] > MOST / 4 or self._held.total() > MOST / 2

    async def hold(self, load: Load, size: int, patience: float) -> None:
        """Raise a load to so many bytes. If there is no room, slow requests give way.

        Args:
            size: bytes in total, including those it holds already.
            patience: seconds until the slowest gives way however quick it is; with 0, this load is refused instead.

        Raises:
            TimeoutError: there is no room.
        """
        until = _now() + patience
        more = max(0, size - load.size)
        while more and not self._has_room(load, more):
            slowest = min(self._to_give_way(load, more), key=Load.end, default=None)
            late = _now() >= until
            if slowest and (late or slowest.end() <= _now() + PATIENCE - GRACE):
                self._drop(slowest)
            elif late:
                raise TimeoutError
            else:
                await self._pause()
        load.size += more
        self._held[load.client] += more

    def _has_room(self, load: Load, more: int) -> bool:
        return self._has_share(load, more) and self._held.total() + more <= MOST

    def _has_share(self, load: Load, more: int) -> bool:
        return self._held[load.client] + more <= MOST / 2

    def _to_give_way(self, load: Load, more: int) -> list[Load]:
        """Return the loads of one client that may be dropped: its own, or those of the client that holds the most."""
        loads = [other for other in self._waited_for if other.size]
        if not self._has_share(load, more):
            return [other for other in loads if other.client == load.client]
        most = max((self._held[other.client] for other in loads), default=0)
        return [other for other in loads if self._held[other.client] == most]

    def _release(self, load: Load) -> None:
        if load.size:
            self._held[load.client] -= load.size
            if not self._held[load.client]:
                del self._held[load.client]
            load.size = 0
            self._freed.set()

    def _drop(self, load: Load) -> None:
        load.dropped = True
        if load.limit and not load.limit.expired():
            load.limit.reschedule(_now())
        self._waited_for.discard(load)
        self._release(load)

    async def _pause(self) -> None:
        """Wait until something was released, or somebody may have become slow."""
        self._freed.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GRACE):
                await self._freed.wait()


def _now() -> float:
    return asyncio.get_running_loop().time()
