"""What operators and their probes ask: alive, ready, how much."""

import os

from django.db import DatabaseError, InterfaceError, OperationalError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse

from recognizer.engine import engine
from recognizer.models import ModelVersion
from web import disk


def healthz(request: HttpRequest) -> HttpResponse:
    """The process answers."""
    return JsonResponse({"status": "ok"})


def readyz(request: HttpRequest) -> HttpResponse:
    """The process can read digits and keep them; else 503.

    `problem` says why not, or why a swap was refused; `warning` that the disk is nearly full: it is ready all the same.
    """
    unusable = database_problem()
    ready = engine.version is not None and not unusable
    problem = unusable or engine.problem
    state = {"model_version": engine.version, "process": os.getpid(), "problem": problem, "warning": disk.warning()}
    return JsonResponse(state, status=200 if ready else 503)


def database_problem() -> str | None:
    """Return why nothing can be found or kept in the database now."""
    try:
        # Something that is stored: SQLite answers `SELECT 1` without its file. A broken connection is replaced.
        ModelVersion.objects.exists()
    except DatabaseError as error:
        # A server's own words would tell strangers where it is.
        return "the database does not answer" + (f": {error}" if connection.vendor == "sqlite" else "")
    return None


def is_database_failure(error: BaseException | None) -> bool:
    """Whether the database is away, has no space, or is damaged, and not what it was asked wrong."""
    return isinstance(error, (OperationalError, InterfaceError)) or type(error) is DatabaseError
