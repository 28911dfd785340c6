"""The database backend for PostgreSQL URLs in `DATABASE_URL`."""

import select
import threading
import time
from types import TracebackType
from typing import Any

import psycopg
from django.db import OperationalError
from django.db.backends.postgresql import base
from django.db.utils import DatabaseErrorWrapper
from django.utils.functional import cached_property

PAUSE = 1.0  # seconds between attempts while none succeeds


class CircuitBreaker:
    """Circuit breaker: after a failed connection, one thread at a time may retry and the others are refused at once.

    Without it every thread of a web process would wait for seconds on each request, and pages that need no database
    would wait behind them.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open = self._trying = False
        self._next = 0.0

    def allow(self) -> bool:
        """Return whether this thread may try to connect."""
        with self._lock:
            if not self._open:
                return True
            if self._trying or time.monotonic() < self._next:
                return False
            self._trying = True
            return True

    def record(self, *, connected: bool) -> None:
        """Record the result of an attempt."""
        with self._lock:
            self._open, self._trying = not connected, False
            self._next = time.monotonic() + PAUSE


circuit_breaker = CircuitBreaker()
"""The circuit breaker of this process."""


def is_readable(connection: Any) -> bool:
    """Return whether the server has sent data that has not been read."""
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def is_read_only(connection: Any) -> bool:
    """Return whether the server reported, in its latest response, that it is a standby or read-only."""
    said = map(connection.info.parameter_status, ("in_hot_standby", "default_transaction_read_only"))
    return "on" in said


class Errors(DatabaseErrorWrapper):
    """Convert psycopg's errors to Django's; a read-only server counts as unreachable, as with SQLite."""

    wrapper: "DatabaseWrapper"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, psycopg.errors.ReadOnlySqlTransaction):
            self.wrapper.errors_occurred = True
            raise OperationalError(str(error)) from error
        super().__exit__(kind, error, traceback)


class DatabaseWrapper(base.DatabaseWrapper):
    """A connection to PostgreSQL."""

    @cached_property
    def wrap_database_errors(self) -> DatabaseErrorWrapper:
        return Errors(self)

    def is_usable(self) -> bool:
        """Return whether the connection works, without the query that Django sends for that before each request.

        An idle connection has nothing to read; one that the server closed is readable. After an error the server is
        queried. A connection to a read-only server is dropped: after a failover, another server accepts writes.
        """
        if self.errors_occurred or self.connection.closed or is_readable(self.connection):
            return bool(super().is_usable()) and not is_read_only(self.connection)
        return not is_read_only(self.connection)

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """Connect.

        Raises:
            OperationalError: the database does not answer, or another thread's attempt just failed or is running.
        """
        if not circuit_breaker.allow():
            raise self.Database.OperationalError("the database did not answer a moment ago")
        connected = False
        try:
            connection = super().get_new_connection(conn_params)
            connected = True
            return connection
        finally:
            circuit_breaker.record(connected=connected)
