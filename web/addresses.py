"""The client address of a request, behind the number of proxies that the settings trust."""

import ipaddress
from collections.abc import Mapping
from typing import Any

from django.conf import settings


def address_in(environ: Mapping[str, Any]) -> str:
    """Return the client's address from a WSGI environment; for IPv6 its /64 network, which is one household."""
    address: str = environ.get("REMOTE_ADDR", "")
    if settings.PROXIES:
        forwarded = environ.get("HTTP_X_FORWARDED_FOR", "").split(",")
        address = forwarded[-min(settings.PROXIES, len(forwarded))].strip() or address
    if ":" in address:
        try:
            return str(ipaddress.ip_network((address.partition("%")[0], 64), strict=False))
        except ValueError:
            return address[:64]
    return address[:64]
