"""The database backend for SQLite."""

from typing import Any

from django.db.backends.sqlite3 import base
from django.db.utils import OperationalError

from recognizer import database_file


class DatabaseWrapper(base.DatabaseWrapper):
    """A connection to SQLite that checks once per request and before each commit that its file is still the same."""

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """Connect.

        Raises:
            OperationalError: the file was removed or replaced since this process opened it, is being restored, or is
                read-only. SQLite would open a read-only file, but then no connection of this process could write again.
        """
        self._check_file()
        if not database_file.is_writable(self._file):
            raise OperationalError("the database can only be read")
        if not self.is_in_memory_db():
            try:
                database_file.hold(self._file)
            except database_file.HeldError as error:
                raise OperationalError("the database is being restored") from error
        connection = super().get_new_connection(conn_params)
        database_file.note(self._file)
        return connection

    def is_usable(self) -> bool:
        """Return whether the file is still the same; with `CONN_HEALTH_CHECKS` Django calls this once per request."""
        return database_file.problem(self._file) is None

    def _commit(self) -> None:
        self._check_file()
        super()._commit()  # type: ignore[misc]  # the stubs leave it out

    def _check_file(self) -> None:
        if problem := database_file.problem(self._file):
            raise OperationalError(problem)

    @property
    def _file(self) -> str:
        return str(self.settings_dict["NAME"])
