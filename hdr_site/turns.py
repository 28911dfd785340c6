"""Whose turn it is, where work is done one piece at a time: clients take turns, however much each of them sends."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """A lock that goes round: whoever has many pieces of work waiting waits for themselves, not others for them."""

    def __init__(self) -> None:
        self._busy = False
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}  # by client, in the order of their next turns

    @asynccontextmanager
    async def turn(self, client: str) -> AsyncIterator[None]:
        """Wait for a client's turn, and have it."""
        if self._busy:
            await self._wait(client)
        self._busy = True
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, client: str) -> None:
        mine = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(client, deque()).append(mine)
        try:
            await mine
        except asyncio.CancelledError:
            if mine.done() and not mine.cancelled():  # it was its turn already
                self._pass_on()
            raise

    def _pass_on(self) -> None:
        """Give the turn to the client that waits longest for one; its further work goes behind everybody's."""
        while self._waiting:
            client = next(iter(self._waiting))
            works = self._waiting.pop(client)
            first = works.popleft()
            if works:
                self._waiting[client] = works
            if not first.done():  # else whoever waited has given up
                first.set_result(None)
                return
        self._busy = False
