"""What operators and their probes ask: alive, ready, how much."""

import os

from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse

from recognizer import disk
from recognizer.engine import engine


def healthz(request: HttpRequest) -> HttpResponse:
    """The process answers."""
    return JsonResponse({"status": "ok"})


def readyz(request: HttpRequest) -> HttpResponse:
    """The process can read digits and reach its database; else 503.

    `problem` says why a swap was refused, `warning` that the disk is nearly full: the site is ready all the same.
    """
    problem = engine.problem
    reachable = True
    try:
        with connection.cursor() as cursor:  # which replaces a broken connection; `is_usable` would only look at it
            cursor.execute("SELECT 1")
    except DatabaseError as error:
        reachable, problem = False, "the database does not answer"
        if connection.vendor == "sqlite":  # a server's words tell strangers where it is
            problem = f"{problem}: {error}"
    ready = engine.version is not None and reachable
    state = {"model_version": engine.version, "process": os.getpid(), "problem": problem, "warning": disk.warning()}
    return JsonResponse(state, status=200 if ready else 503)
