"""Device cookies: a user can still log in on a known device while strangers guess passwords for the same name.

A device has a random id in a cookie that is signed for one name. Logins with the cookie are counted per device; all
other logins for that name are counted together. OWASP, "Slow Down Online Guessing Attacks with Device Cookies".
"""

import unicodedata
import uuid
from datetime import timedelta

from django.conf import settings
from django.http import HttpRequest, HttpResponse

COOKIE = "device"
COOKIE_AGE = timedelta(days=365)
COOKIE_PATH = "/account"  # the login page is below it


def normalize_name(typed: str) -> str:
    """Normalize a name or an address, so that spellings which Django's forms treat as one are counted as one."""
    return unicodedata.normalize("NFKC", typed).strip().casefold()


def device_of(request: HttpRequest, name: str) -> str | None:
    """Return the id of a device on which this name has logged in before, else None."""
    device: str | None = request.get_signed_cookie(COOKIE, default=None, salt=normalize_name(name), max_age=COOKIE_AGE)
    return device


def remember_device(response: HttpResponse, name: str) -> None:
    """Set the cookie that makes this device known for a name that has just logged in or reset its password."""
    response.set_signed_cookie(
        COOKIE,
        uuid.uuid4().hex,
        salt=normalize_name(name),
        max_age=COOKIE_AGE,
        path=COOKIE_PATH,
        httponly=True,
        samesite="Lax",
        secure=settings.SESSION_COOKIE_SECURE,
    )
