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
EXPORTS = "/admin/data/"  # a GET here exports data
READ_ONLY_PATHS = {"/api/v1/previews"}  # a POST here changes nothing, and one drawing sends about twenty
WORD = re.compile(r"\w{1,40}", re.ASCII)
LOGGED_FIELDS = ("action", "_selected_action", "act", "correction", "digit")  # the form fields that are recorded


def is_audited(request: HttpRequest) -> bool:
    """Return whether a request belongs in the audit trail if staff sent it."""
    if request.path in READ_ONLY_PATHS:
        return False
    return request.method not in SAFE or request.path.startswith(EXPORTS)


def record(user: Any, request: HttpRequest, response: HttpResponse) -> None:
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
    told = {name: request.POST.getlist(name) for name in LOGGED_FIELDS}
    return {name: [value for value in values if WORD.fullmatch(value)] for name, values in told.items() if values}
