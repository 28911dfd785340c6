"""Write limits, per client and for all clients together, parsed from `HDR_THROTTLES` and `HDR_QUOTAS`."""

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

UNITS = {"kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}

STORED_SCOPES = ("submissions", "corrections", "signups")  # these store rows, so all clients together are limited too
ALL_CLIENTS_FACTOR = 50  # default limit of all clients, in multiples of one client's; `all_…` scopes override it


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `calls` in a window of `period` seconds, which opens with the client's first call."""

    calls: int
    period: int


def parse_rates(text: str, defaults: Mapping[str, str]) -> dict[str, Rate]:
    """Parse `previews=600/min,submissions=120/min`; unnamed scopes keep their default, `off` removes all limits.

    Returns:
        The rate of one client under the scope's name, and of all clients together under `all_` and that name.

    Raises:
        SystemExit: the text is malformed or names an unknown scope.
    """
    if text.strip().lower() == "off":
        return {}
    rates = {scope: _parse_rate(rate) for scope, rate in defaults.items()}
    together = {f"all_{scope}": scope for scope in STORED_SCOPES if scope in defaults}
    for part in filter(None, (part.strip() for part in text.split(","))):
        scope, _, rate = (piece.strip() for piece in part.partition("="))
        if scope not in defaults and scope not in together:
            raise SystemExit(
                f"HDR_THROTTLES: unknown scope {scope!r}; expected one of {', '.join([*defaults, *together])}."
            )
        rates[scope] = _parse_rate(rate)
    for name, scope in together.items():
        rates.setdefault(name, Rate(ALL_CLIENTS_FACTOR * rates[scope].calls, rates[scope].period))
    return rates


def _parse_rate(text: str) -> Rate:
    calls, _, period = text.partition("/")
    if not calls.isdecimal() or int(calls) < 1 or period not in PERIODS:
        raise SystemExit(f"HDR_THROTTLES: a rate is a number, a slash and one of s, min, h, d (120/min); got {text!r}.")
    return Rate(int(calls), PERIODS[period])


def parse_quotas(text: str, defaults: Mapping[str, str]) -> dict[str, int]:
    """Parse `owner=100MB,anonymous=2GB` into bytes per day; unnamed quotas keep their default, `off` removes all.

    Raises:
        SystemExit: the text is malformed or names an unknown quota.
    """
    if text.strip().lower() == "off":
        return {}
    quotas = {name: _parse_size(size) for name, size in defaults.items()}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, size = (piece.strip() for piece in part.partition("="))
        if name not in defaults:
            raise SystemExit(f"HDR_QUOTAS: unknown quota {name!r}; expected one of {', '.join(defaults)}.")
        quotas[name] = _parse_size(size)
    return quotas


def _parse_size(text: str) -> int:
    number, unit = text[:-2], text[-2:]
    if not number.isdecimal() or int(number) < 1 or unit not in UNITS:
        raise SystemExit(f"HDR_QUOTAS: a size is a number and one of {', '.join(UNITS)} (100MB); got {text!r}.")
    return int(number) * UNITS[unit]
