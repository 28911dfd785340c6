"""Authentication by token, login or the anonymous owner's cookie; the last two need the CSRF token to write."""

from typing import Any, cast
from uuid import UUID

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from rest_framework import authentication
from rest_framework.authentication import SessionAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from recognizer.owners import Owner
from web.authorization import token_in
from web.visitors import session_of


class TokenAuthentication(authentication.TokenAuthentication):
    """Authenticate a program by `Authorization: Bearer …` or `Token …`; any other such header is refused (401).

    A client that sends the header expects an account. Treating it as anonymous would store its drawings without an
    owner.
    """

    keyword = "Bearer"

    def authenticate(self, request: Request) -> tuple[Any, Any] | None:
        """Return None at once without the header, as in most requests."""
        header = request.META.get("HTTP_AUTHORIZATION")
        if header is None:
            return None
        token = token_in(header)
        if token is None:
            raise AuthenticationFailed('Expected "Authorization: Bearer", a space and a token.')
        if not (token.isascii() and token.isalnum()):  # PostgreSQL raises an error for NUL in text
            raise AuthenticationFailed("Invalid token.")
        found: tuple[Any, Any] = self.authenticate_credentials(token)
        return found


class LoginAuthentication(SessionAuthentication):
    """Authenticate a logged-in account; without a session cookie, skip the session lookup."""

    def authenticate(self, request: Request) -> tuple[Any, None] | None:
        return super().authenticate(request) if settings.SESSION_COOKIE_NAME in request.COOKIES else None


class OwnerCookieAuthentication(SessionAuthentication):
    """Authenticate an anonymous owner. The user stays anonymous; the owner's id is `request.auth`."""

    def authenticate(self, request: Request) -> tuple[AnonymousUser, UUID] | None:
        session = session_of(request._request)
        if session is None:
            return None
        self.enforce_csrf(request)
        return AnonymousUser(), session


def owner_of(request: Request) -> Owner:
    """Return the owner that a request acts for."""
    if request.user.is_authenticated:
        return Owner(account=request.user.pk, is_staff=request.user.is_staff)
    return Owner(session=cast(UUID | None, request.auth))
