"""How often one client may write: the limits as data, read from `HDR_THROTTLES`."""

from collections.abc import Mapping
from dataclasses import dataclass

PERIODS = {
    "s": 1,
    "sec": 1,
    "second": 1,
    "min": 60,
    "m": 60,
    "minute": 60,
    "h": 3600,
    "hour": 3600,
    "d": 86400,
    "day": 86400,
}


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `calls` in any window of `period` seconds that a client's first call opens."""

    calls: int
    period: int


def parse_rates(text: str, defaults: Mapping[str, str]) -> dict[str, Rate]:
    """Parse `previews=600/min,submissions=120/min`; scopes that are not named keep their default, `off` removes all.

    Raises:
        SystemExit: the text is not of that form or names an unknown scope.
    """
    if text.strip().lower() == "off":
        return {}
    rates = {scope: _parse_rate(rate) for scope, rate in defaults.items()}
    for part in filter(None, (part.strip() for part in text.split(","))):
        scope, _, rate = (piece.strip() for piece in part.partition("="))
        if scope not in defaults:
            raise SystemExit(f"HDR_THROTTLES: unknown scope {scope!r}; there are {', '.join(defaults)}.")
        rates[scope] = _parse_rate(rate)
    return rates


def _parse_rate(text: str) -> Rate:
    calls, _, period = text.partition("/")
    if not calls.isdecimal() or int(calls) < 1 or period not in PERIODS:
        raise SystemExit(f"HDR_THROTTLES: a rate is a number, a slash and one of s, min, h, d (120/min); got {text!r}.")
    return Rate(int(calls), PERIODS[period])
