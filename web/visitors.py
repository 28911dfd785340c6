"""The sender of a request: an account, or an anonymous visitor with a random id in a signed cookie."""

import uuid
from datetime import timedelta

from django.conf import settings
from django.core.signing import BadSignature
from django.http import HttpRequest, HttpResponse

from recognizer.owners import Owner

COOKIE = "owner"
COOKIE_AGE = timedelta(days=365)


def session_of(request: HttpRequest) -> uuid.UUID | None:
    """Return the anonymous visitor's id; None if the cookie is missing, altered or expired."""
    try:
        value = request.get_signed_cookie(COOKIE, max_age=COOKIE_AGE)
        return uuid.UUID(value)
    except (KeyError, BadSignature, ValueError):
        return None


def visitor_of(request: HttpRequest) -> Owner:
    """Return the account that is logged in, else the anonymous visitor."""
    if request.user.is_authenticated:
        return Owner(account=request.user.pk, is_staff=request.user.is_staff)
    return Owner(session=session_of(request))


def forget_session(response: HttpResponse) -> None:
    """Delete the visitor's id; later anonymous drawings belong to a new visitor."""
    response.delete_cookie(COOKIE, samesite="Lax")


def remember_session(request: HttpRequest, response: HttpResponse) -> None:
    """Set the visitor's id cookie: a new id, or the existing one renewed."""
    response.set_signed_cookie(
        COOKIE,
        (session_of(request) or uuid.uuid4()).hex,
        max_age=COOKIE_AGE,
        httponly=True,
        samesite="Lax",
        secure=settings.SESSION_COOKIE_SECURE,
    )
