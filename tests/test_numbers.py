"""Numbers and dates on pages, by language."""

from datetime import date

import pytest
from django.utils import translation

from web import numbers

MARK = "\u200e"  # keeps signs beside their number in Arabic


@pytest.mark.parametrize(
    ("language", "share", "count", "change", "p", "length", "size", "day"),
    [
        ("en", "99.77%", "1,234,567", "−0.27", "p = 0.62", "12.3\u00a0s", "664\u00a0KB", "2026-11-28"),
        ("fr", "99,77\u00a0%", "1\u202f234\u202f567", "−0,27", "p = 0,62", "12,3\u00a0s", "664\u00a0ko", "28/11/2026"),
        (
            "ar",
            f"99.77{MARK}%{MARK}",
            "1,234,567",
            f"{MARK}−0.27",
            "p = 0.62",
            "12.3\u00a0ث",
            "664\u00a0كيلوبايت",
            "28\u200f/11\u200f/2026",
        ),
    ],
)
def test_each_language_has_one_format(
    language: str, share: str, count: str, change: str, p: str, length: str, size: str, day: str
) -> None:
    with translation.override(language):
        assert numbers.percent(0.9977, 2) == share
        assert numbers.decimal(1_234_567) == count
        assert numbers.signed(-0.27, 2) == change
        assert numbers.p_value(0.6213) == p
        assert numbers.seconds(12.34) == length
        assert numbers.kilobytes(664_321) == size
        assert numbers.day(date(2026, 11, 28)) == day


@pytest.mark.parametrize(
    ("share", "places", "text"),
    [(0.9994, 1, "99.9%"), (0.9995, 1, ">99.9%"), (0.999999, 2, ">99.99%"), (0.996, 0, ">99%"), (1, 1, "100.0%")],
)
def test_share_below_one_is_not_rounded_to_all(share: float, places: int, text: str) -> None:
    assert numbers.percent(share, places) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.0004, "p < 0.001"), (0.0213, "p = 0.021"), (0.5, "p = 0.5"), (1, "p = 1")]
)
def test_p_value_has_two_digits(value: float, text: str) -> None:
    assert numbers.p_value(value) == text


@pytest.mark.parametrize(("value", "text"), [(0.004, "±0"), (-0.004, "±0"), (0.5, "+0.50"), (-12, "−12.00")])
def test_change_has_its_sign(value: float, text: str) -> None:
    assert numbers.signed(value, 2) == text
