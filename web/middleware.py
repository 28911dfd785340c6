"""Middleware that every request passes through, whatever its address."""

import re
import time
import uuid
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse

from recognizer.metrics import REQUEST_SECONDS
from web.audit import is_audited, record
from web.logs import request_id

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

GetResponse = Callable[[HttpRequest], HttpResponse]

MAX_LENGTH_DIGITS = 18  # digits in a Content-Length; a longer number is refused without parsing it
REQUEST_ID = re.compile(r"[\w.-]{8,64}", re.ASCII)
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


def identify(get_response: GetResponse) -> GetResponse:
    """Give every request an id for its log lines and its response. The id from a trusted proxy is kept."""
    trusted = settings.PROXIES > 0

    def middleware(request: HttpRequest) -> HttpResponse:
        given = request.headers.get("X-Request-ID", "") if trusted else ""
        token = request_id.set(given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex)
        try:
            response = get_response(request)
            response.headers["X-Request-ID"] = request_id.get()
            return response
        finally:
            request_id.reset(token)

    return middleware


def audit_staff(get_response: GetResponse) -> GetResponse:
    """Record in the audit trail what staff change or export, by page, admin or API."""

    def middleware(request: HttpRequest) -> HttpResponse:
        if not is_audited(request):
            return get_response(request)
        before = request.user  # a logout makes the user anonymous afterwards
        was_staff = before.is_staff
        response = get_response(request)
        if was_staff or request.user.is_staff:  # a login or a token sets the user only afterwards
            record(before if was_staff else request.user, request, response)
        return response

    return middleware


def measure(get_response: GetResponse) -> GetResponse:
    """Time every request by route and method; all unknown paths share one label, and so do all unknown methods."""

    def middleware(request: HttpRequest) -> HttpResponse:
        began = time.perf_counter()
        response = get_response(request)
        method = request.method if request.method in METHODS else "other"
        route = request.resolver_match.route if request.resolver_match else "none"
        REQUEST_SECONDS.labels(method, route, response.status_code).observe(time.perf_counter() - began)
        return response

    return middleware


def bound_body(get_response: GetResponse) -> GetResponse:
    """Refuse a body that is too large or has no Content-Length, before reading any of it."""
    limit: int = settings.DATA_UPLOAD_MAX_MEMORY_SIZE

    def middleware(request: HttpRequest) -> HttpResponse:
        length = request.META.get("CONTENT_LENGTH") or "0"
        if not length.isdecimal() or len(length) > MAX_LENGTH_DIGITS or int(length) > limit:
            return JsonResponse({"detail": f"The body is larger than {limit // 1024**2} MiB."}, status=413)
        if "chunked" in request.META.get("HTTP_TRANSFER_ENCODING", "").lower():
            return JsonResponse({"detail": "The Content-Length header is required."}, status=411)
        return get_response(request)

    return middleware


def content_security_policy(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """Send one fixed policy with every response; django-csp would rebuild it each time, which costs as much as reading
    a digit.
    """
    policy: str = settings.CONTENT_SECURITY_POLICY

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        response.headers["Content-Security-Policy"] = policy
        return response

    return middleware


def keep_from_shared_caches(get_response: GetResponse) -> GetResponse:
    """Set `Cache-Control: private, no-cache` on every response that does not set its own."""

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        response.headers.setdefault("Cache-Control", "private, no-cache")
        return response

    return middleware


def without_charset(application: "WSGIApplication") -> "WSGIApplication":
    """Wrap a WSGI application so that it never sees the charset a client names; this site uses UTF-8 only.

    Django looks up the codec when it creates the request, and fails if that codec does not decode text.
    """

    def wrapped(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        kind, *parameters = environ.get("CONTENT_TYPE", "").split(";")
        boundary = [parameter for parameter in parameters if parameter.strip().lower().startswith("boundary=")]
        environ["CONTENT_TYPE"] = ";".join([kind, *boundary])
        return application(environ, start_response)

    return wrapped
