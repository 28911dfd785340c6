"""The database backend that the settings name, where `DATABASE_URL` names a PostgreSQL."""

import threading
import time
from typing import Any

from django.db.backends.postgresql import base

PAUSE = 1.0  # seconds between two tries, while none succeeds
SEEN = 1.0  # seconds for which a connection that answered is not asked again whether it is there


class Door:
    """Lets one thread at a time try to connect once that has failed; the others are told so at once.

    Else every thread of a web process would wait for seconds, again and again, and what needs no database, the home
    page and the live answer, would wait behind them.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._closed = self._trying = False
        self._next = 0.0

    def enter(self) -> bool:
        """Return whether this thread may try."""
        with self._lock:
            if not self._closed:
                return True
            if self._trying or time.monotonic() < self._next:
                return False
            self._trying = True
            return True

    def leave(self, *, connected: bool) -> None:
        """Say how it went."""
        with self._lock:
            self._closed, self._trying = not connected, False
            self._next = time.monotonic() + PAUSE


door = Door()
"""This process's."""


class DatabaseWrapper(base.DatabaseWrapper):
    """A connection to PostgreSQL."""

    _asked = -SEEN

    def is_usable(self) -> bool:
        """Say whether the connection is there: Django asks before each request, which would cost a query each."""
        if not self.errors_occurred and time.monotonic() - self._asked < SEEN:
            return True
        usable: bool = super().is_usable()
        self._asked = time.monotonic() if usable else -SEEN
        return usable

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """Connect.

        Raises:
            OperationalError: the database does not answer, or did not a moment ago.
        """
        if not door.enter():
            raise self.Database.OperationalError("the database did not answer a moment ago")
        connected = False
        try:
            connection = super().get_new_connection(conn_params)
            connected = True
            return connection
        finally:
            door.leave(connected=connected)
