"""Whose a drawing is: an account's, or an anonymous visitor's, known by a random id in a signed cookie."""

import uuid
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.core.signing import BadSignature
from django.http import HttpRequest, HttpResponse

COOKIE = "owner"
COOKIE_AGE = timedelta(days=365)


@dataclass(frozen=True, slots=True)
class Owner:
    """Who asks: an account's id, an anonymous owner's id, or neither."""

    account: int | None = None
    session: uuid.UUID | None = None
    is_staff: bool = False


def session_of(request: HttpRequest) -> uuid.UUID | None:
    """Read the anonymous owner's id; a missing, altered or expired cookie is none."""
    try:
        value = request.get_signed_cookie(COOKIE, max_age=COOKIE_AGE)
        return uuid.UUID(value)
    except (KeyError, BadSignature, ValueError):
        return None


def visitor_of(request: HttpRequest) -> Owner:
    """Say on whose behalf a page acts: the account that is logged in, else the anonymous owner."""
    if request.user.is_authenticated:
        return Owner(account=request.user.pk, is_staff=request.user.is_staff)
    return Owner(session=session_of(request))


def forget_session(response: HttpResponse) -> None:
    """Take a visitor's owner id away: what they draw without an account from now on is another anonymous owner's."""
    response.delete_cookie(COOKIE, samesite="Lax")


def remember_session(request: HttpRequest, response: HttpResponse) -> None:
    """Give a visitor without an owner id a new one, or renew the one they have."""
    response.set_signed_cookie(
        COOKIE,
        (session_of(request) or uuid.uuid4()).hex,
        max_age=COOKIE_AGE,
        httponly=True,
        samesite="Lax",
        secure=settings.SESSION_COOKIE_SECURE,
    )
