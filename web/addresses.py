"""Where a request comes from, behind as many proxies as the settings trust."""

import ipaddress
from collections.abc import Mapping
from typing import Any

from django.conf import settings


def address_in(environ: Mapping[str, Any]) -> str:
    """Name where a request comes from, by its WSGI environment; an IPv6 client is its /64 network, one household."""
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
