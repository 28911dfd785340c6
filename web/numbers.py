"""Format numbers and dates for people, in the active language.

`static/js/words.js` formats the same numbers; a test compares the two.

Separators come from `hdr_site.formats`, which follow CLDR; units and signs around a number are translated. Digits are
0 to 9 in every language, as in CLDR's Arabic, because they are what this site reads.
"""

from datetime import date
from decimal import ROUND_HALF_UP, Decimal

from django.utils import formats
from django.utils.translation import get_language_bidi, pgettext

_NO_BREAK = "\u00a0"
_LEFT_TO_RIGHT = "\u200e"  # keeps the sign before its number in right-to-left text


def decimal(value: float | Decimal, places: int = 0) -> str:
    """Format `1234.5` as `1,234.50` with two places; a half is rounded up."""
    rounded = _to_decimal(value).quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)
    return formats.number_format(rounded, places, force_grouping=True)


def _to_decimal(value: float | Decimal) -> Decimal:
    """Convert a float to its shortest decimal, as browsers do: 100 × 0.285 is 28.5."""
    return value if isinstance(value, Decimal) else Decimal(repr(float(value)))


def signed(value: float, places: int = 0) -> str:
    """Format `0.5` as `+0.50` with two places, and `0` as `±0`."""
    size = decimal(abs(value), places)
    sign = "±" if size == decimal(0, places) else "+" if value > 0 else "−"
    return (_LEFT_TO_RIGHT if get_language_bidi() else "") + sign + ("0" if sign == "±" else size)


def percent(share: float, places: int = 1) -> str:
    """Format `0.987` as `98.7%`; only exactly 1 reads as 100%."""
    number = decimal(_to_decimal(share).scaleb(2), places)
    if share < 1 and number == decimal(100, places):
        return ">" + percent(1 - 0.1 ** (places + 2), places)
    return with_percent(number)


def with_percent(number: str) -> str:
    """Add the percent sign to a formatted number or range."""
    return _with_unit(pgettext("a share of 100", "%(number)s%%"), number)


def points(share: float, places: int = 2) -> str:
    """Format `0.0012` as `0.12`, in percentage points and without a sign."""
    return decimal(abs(_to_decimal(share)).scaleb(2), places)


def p_value(p: float) -> str:
    """Format `0.6213` as `p = 0.62`."""
    return "p < " + decimal(0.001, 3) if p < 0.001 else f"p = {brief(p)}"


def brief(value: float, digits: int = 2) -> str:
    """Format `0.0213` as `0.021`: `digits` significant digits, no trailing zeros."""
    exponent = Decimal(f"{value:.{digits}g}").normalize().as_tuple().exponent
    return decimal(value, max(0, -int(exponent)))


def ratio(value: float) -> str:
    """Format `1.05` as `1.05×`."""
    return _with_unit(pgettext("times as much", "%(number)s×"), decimal(value, 2))


def seconds(value: float, places: int = 1) -> str:
    """Format `12.34` as `12.3 s`."""
    return _with_unit(pgettext("seconds", "%(number)s s"), decimal(value, places))


def kilobytes(size: float) -> str:
    """Format `664_000` bytes as `664 KB`."""
    return _with_unit(pgettext("1,000 bytes", "%(number)s KB"), decimal(size / 1000))


def _with_unit(pattern: str, number: str) -> str:
    """Insert a number into a pattern, with no line break between the number and its unit."""
    return (pattern % {"number": number}).replace(" ", _NO_BREAK)


def day(value: date) -> str:
    """Format a date in numbers, with its year."""
    return formats.date_format(value, "SHORT_DATE_FORMAT")


def day_of_year(value: date) -> str:
    """Format a date in numbers, without its year, for the axis of a chart."""
    return formats.date_format(value, pgettext("a day without its year, in Django's format characters", "m-d"))
