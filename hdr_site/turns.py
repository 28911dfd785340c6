"""Threads that clients share fairly: however much one client sends, others do not wait for it."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


class GoneError(Exception):
    """The client left before its turn."""


class Turns:
    """Hands out places to clients in turn. A client never has all of them, unless there is only one."""

    def __init__(self, places: int) -> None:
        self._free = places
        self._share = max(places - 1, 1)  # of one client
        self._taken: Counter[str] = Counter()
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}  # by client; the first one is next

    def waiting(self, client: str) -> int:
        """Return how many turns a client waits for."""
        return len(self._waiting.get(client, ()))

    async def take(self, client: str, gone: "asyncio.Future[Any] | None" = None) -> None:
        """Wait for a place.

        Args:
            gone: done once the client has left.

        Raises:
            GoneError: the client left before it was its turn.
        """
        place = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(client, deque()).append(place)
        self._hand_out()
        try:
            await asyncio.wait({place, gone} if gone else {place}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self._give_up(client, place)
            raise
        if gone and gone.done():
            self._give_up(client, place)
            raise GoneError

    def _give_up(self, client: str, place: "asyncio.Future[None]") -> None:
        if place.done():  # it was the client's turn already
            self.give_back(client)
        else:
            self._remove(client, place)

    def give_back(self, client: str) -> None:
        self._free += 1
        self._taken[client] -= 1
        if not self._taken[client]:
            del self._taken[client]
        self._hand_out()

    def _hand_out(self) -> None:
        """Give free places to the clients that have waited longest for a turn; each then goes behind the others."""
        while self._free and (client := self._next()) is not None:
            place = self._waiting[client][0]
            self._remove(client, place)
            if client in self._waiting:
                self._waiting[client] = self._waiting.pop(client)
            self._free -= 1
            self._taken[client] += 1
            place.set_result(None)

    def _next(self) -> str | None:
        return next((client for client in self._waiting if self._taken[client] < self._share), None)

    def _remove(self, client: str, place: "asyncio.Future[None]") -> None:
        self._waiting[client].remove(place)
        if not self._waiting[client]:
            del self._waiting[client]


class Pool:
    """Threads, each of which works for one client at a time."""

    def __init__(self, name: str, threads: int) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._turns = Turns(threads)

    def waiting(self, client: str) -> int:
        """Return how many calls of a client have not begun."""
        return self._turns.waiting(client)

    async def run(
        self, client: str, gone: "asyncio.Future[Any] | None", function: Callable[..., T], *arguments: Any
    ) -> T:
        """Call a function in a thread when it is the client's turn. Once begun, the call always finishes.

        Raises:
            GoneError: the client left before its turn.
        """
        await self._turns.take(client, gone)
        call = asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)
        call.add_done_callback(lambda _: self._turns.give_back(client))
        return await asyncio.shield(call)  # whoever waits may be cancelled; the thread is busy all the same
