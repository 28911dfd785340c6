"""Devices on which somebody has logged in before: there, strangers who guess at the same name lock nobody out.

A device has a random id in a cookie that is signed for one name. Logins with it are counted for the device, all others
at that name together. OWASP, "Slow Down Online Guessing Attacks with Device Cookies".
"""

import unicodedata
import uuid
from datetime import timedelta

from django.conf import settings
from django.http import HttpRequest, HttpResponse

COOKIE = "device"
COOKIE_AGE = timedelta(days=365)
COOKIE_PATH = "/account"  # where people log in


def one_spelling(typed: str) -> str:
    """Spell a name or an address in one way: Django's forms strip and normalize what is typed, and so find more than
    one spelling of it.
    """
    return unicodedata.normalize("NFKC", typed).strip().casefold()


def device_of(request: HttpRequest, name: str) -> str | None:
    """Read the id of a device on which a name has logged in before."""
    device: str | None = request.get_signed_cookie(COOKIE, default=None, salt=one_spelling(name), max_age=COOKIE_AGE)
    return device


def remember_device(response: HttpResponse, name: str) -> None:
    """Make the device known to whoever has just shown that a name is theirs."""
    response.set_signed_cookie(
        COOKIE,
        uuid.uuid4().hex,
        salt=one_spelling(name),
        max_age=COOKIE_AGE,
        path=COOKIE_PATH,
        httponly=True,
        samesite="Lax",
        secure=settings.SESSION_COOKIE_SECURE,
    )
