"""Liveness and readiness endpoints for operators and their probes."""

import os

from django.db import DatabaseError, InterfaceError, OperationalError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse

from recognizer.engine import engine
from recognizer.models import ModelVersion
from web import disk


def healthz(request: HttpRequest) -> HttpResponse:
    """Report that the process answers."""
    return JsonResponse({"status": "ok"})


def readyz(request: HttpRequest) -> HttpResponse:
    """Report whether the process can read digits and store them; 503 if not.

    `problem` says why not, or why a model swap was refused. `warning` says that the disk is nearly full; the process
    is still ready.
    """
    unusable = database_problem()
    ready = engine.version is not None and not unusable
    problem = unusable or engine.problem
    state = {"model_version": engine.version, "process": os.getpid(), "problem": problem, "warning": disk.warning()}
    return JsonResponse(state, status=200 if ready else 503)


def database_problem() -> str | None:
    """Return why the database cannot be used now, else None."""
    try:
        # Query a table: SQLite answers `SELECT 1` even without its file. Django replaces a broken connection.
        ModelVersion.objects.exists()
    except DatabaseError as error:
        # PostgreSQL's message would reveal the server's address to strangers.
        return "the database does not answer" + (f": {error}" if connection.vendor == "sqlite" else "")
    return None


def is_database_failure(error: BaseException | None) -> bool:
    """Return whether the database is unreachable, full or damaged, as opposed to the query being wrong."""
    return isinstance(error, (OperationalError, InterfaceError)) or type(error) is DatabaseError
