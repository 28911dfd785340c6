"""Who of the staff did what: a line in the log and a row that stays, for every change and every data set taken out."""

import logging
import re
from typing import Any

from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse
from django.utils.encoding import escape_uri_path

from recognizer.models import AuditEntry
from web.logs import request_id

logger = logging.getLogger("digits.audit")

SAFE = {"GET", "HEAD", "OPTIONS"}
TAKES_OUT = "/admin/data/"  # data sets, by reading
READS_ONLY = {"/api/v1/previews"}  # nothing is changed there, some twenty times a drawing
WORD = re.compile(r"\w{1,40}", re.ASCII)
TOLD = ("action", "_selected_action", "act", "correction", "digit")  # fields of forms: which rows, and what of them


def is_noted(request: HttpRequest) -> bool:
    """Say whether a request is one to note, if it is staff's."""
    if request.path in READS_ONLY:
        return False
    return request.method not in SAFE or request.path.startswith(TAKES_OUT)


def note(user: Any, request: HttpRequest, response: HttpResponse) -> None:
    """Note what somebody of the staff did, and how it ended."""
    path = escape_uri_path(request.path)  # it may hold line breaks
    name, status = user.get_username(), response.status_code
    logger.info("%s (%s): %s %s: %d", name, user.pk, request.method, path, status)
    try:
        AuditEntry.objects.create(
            name=name,
            method=str(request.method)[: AuditEntry.LONGEST_METHOD],
            path=path[: AuditEntry.LONGEST_PATH],
            fields=_fields(request) if status < 400 else {},
            status=status,
            request_id=request_id.get(),
        )
    except DatabaseError:
        logger.exception("That was not kept in the database.")


def _fields(request: HttpRequest) -> dict[str, list[str]]:
    """Pick what says which rows were meant, and what was to become of them; no text that somebody typed."""
    told = {name: request.POST.getlist(name) for name in TOLD}
    return {name: [value for value in values if WORD.fullmatch(value)] for name, values in told.items() if values}
