"""Audit trail of staff: a log line and a permanent row for every change and every data export."""

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
TAKES_OUT = "/admin/data/"  # a GET here exports data
READS_ONLY = {"/api/v1/previews"}  # a POST here changes nothing, and one drawing sends about twenty
WORD = re.compile(r"\w{1,40}", re.ASCII)
TOLD = ("action", "_selected_action", "act", "correction", "digit")  # form fields that name the rows and the action


def is_noted(request: HttpRequest) -> bool:
    """Return whether a request belongs in the audit trail if staff sent it."""
    if request.path in READS_ONLY:
        return False
    return request.method not in SAFE or request.path.startswith(TAKES_OUT)


def note(user: Any, request: HttpRequest, response: HttpResponse) -> None:
    """Record what a staff member did and the status of the response, in the log and in the database."""
    path = escape_uri_path(request.path)  # the path may contain line breaks
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
    """Return the form fields that name the rows and the action, without any free text."""
    told = {name: request.POST.getlist(name) for name in TOLD}
    return {name: [value for value in values if WORD.fullmatch(value)] for name, values in told.items() if values}
