"""Gate reports in words that a visitor understands: what was asked, what was measured, what was needed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop as noop

Write = Callable[[float], str]


@dataclass(frozen=True, slots=True)
class Words:
    """How a gate is told. `needed` has a place for the threshold; `measured` writes a value, `limit` a threshold."""

    title: str
    question: str
    needed: str
    measured: Write
    limit: Write


@dataclass(frozen=True, slots=True)
class Row:
    """A gate of one version's report, ready to be shown."""

    title: str
    question: str
    measured: str
    needed: str
    n: int
    owners: int | None  # voices behind it, where people's labels are
    passed: bool


def percent(value: float, places: int = 2) -> str:
    return f"{100 * value:.{places}f}\u00a0%"


def kilobytes(size: float) -> str:
    return f"{size / 1000:,.0f}\u00a0KB"


def _brief(value: float) -> str:
    """Percent without places that say nothing."""
    return f"{100 * value:.2g}\u00a0%" if value < 0.1 else f"{100 * value:.0f}\u00a0%"


def _luck(chance: float) -> str:
    """How often luck alone loses at least as many."""
    if chance >= 1:
        return _("none lost")
    return _("luck in under 0.1 %") if chance < 0.001 else _("luck in %s") % _brief(chance)


def _fall(share: float) -> str:
    points = f"{abs(100 * share):.2f}"
    if float(points) == 0:
        return _("no fall")
    return (_("falls by %s points") if share > 0 else _("rises by %s points")) % points


def _points(share: float) -> str:
    return f"{100 * share:g}"


def _ratio(value: float) -> str:
    return f"{value:.2f}\u00a0×"


def _count(value: float) -> str:
    return f"{value:.0f}"


_AT_LEAST, _AT_MOST, _LESS_THAN = noop("at least %s"), noop("at most %s"), noop("less than %s")
_LUCK, _FALL = noop("luck in at least %s"), noop("a fall of at most %s points")

WORDS: dict[str, Words] = {
    "mnist": Words(
        noop("MNIST’s test set"),
        noop("How many of the 10,000 digits does it read right?"),
        _AT_LEAST,
        percent,
        percent,
    ),
    "mnist_champion": Words(
        noop("MNIST, against the version before"),
        noop("If it reads fewer of them right, may that be luck?"),
        _LUCK,
        _luck,
        _brief,
    ),
    "strangers": Words(
        noop("Strangers’ hands"),
        noop("If it reads fewer digits in the manner of people it never met, may that be luck?"),
        _LUCK,
        _luck,
        _brief,
    ),
    "recall": Words(
        noop("Each digit by itself"),
        noop("By how much does the digit that suffers most fall, beyond luck?"),
        _FALL,
        _fall,
        _points,
    ),
    "holdout": Words(
        noop("People never learned from"),
        noop(
            "Everyone whom reviewers know has a vote, and all others share one: "
            "are more of them read worse than better, and could that be chance?"
        ),
        _LUCK,
        _luck,
        _brief,
    ),
    "validation": Words(
        noop("Other drawings of the people learned from"),
        noop("Are more of them read worse than better in these, and could that be chance?"),
        _LUCK,
        _luck,
        _brief,
    ),
    "learned": Words(
        noop("What it was taught"),
        noop("How many of the earlier version’s mistakes are left among the corrections that it learned?"),
        _LESS_THAN,
        _brief,
        _brief,
    ),
    "mnist_bundled": Words(
        noop("MNIST, since the beginning"),
        noop("If it reads fewer digits right than the bundled model, may that be luck?"),
        _LUCK,
        _luck,
        _brief,
    ),
    "strangers_bundled": Words(
        noop("Strangers’ hands, since the beginning"),
        noop("If it reads fewer of them right than the bundled model, may that be luck?"),
        _LUCK,
        _luck,
        _brief,
    ),
    "not_digits": Words(
        noop("What is no digit"),
        noop("By how much fewer letters and signs does it turn away?"),
        _FALL,
        _fall,
        _points,
    ),
    "not_digits_bundled": Words(
        noop("What is no digit, since the beginning"),
        noop("By how much fewer than the bundled model?"),
        _FALL,
        _fall,
        _points,
    ),
    "canaries": Words(
        noop("Canary drawings"),
        noop("How many of twenty plain drawings, never changed, does it misread?"),
        _AT_MOST,
        _count,
        _count,
    ),
    "calibration": Words(
        noop("Honest confidence"),
        noop("How far is its confidence from how often it is right?"),
        _AT_MOST,
        percent,
        percent,
    ),
    "sure": Words(
        noop("Sure answers"),
        noop("When it says that it is sure, how often is it right?"),
        _AT_LEAST,
        percent,
        percent,
    ),
    "parity": Words(
        noop("The exported file"),
        noop("How often does the file that serves answer as the network that was trained?"),
        _AT_LEAST,
        percent,
        percent,
    ),
    "size": Words(noop("Size"), noop("How large is the file?"), _AT_MOST, kilobytes, kilobytes),
    "latency": Words(
        noop("Speed"),
        noop("How long does a reading take, against the version before?"),
        _AT_MOST,
        _ratio,
        _ratio,
    ),
}


def in_words(report: Sequence[dict[str, Any]]) -> list[Row]:
    """Tell a gate report, what failed first; a gate of another release is told with the sentence stored with it."""
    return sorted((_row(row) for row in report), key=lambda row: row.passed)


def title_of(gate: str) -> str:
    """Name a gate."""
    words = WORDS.get(gate)
    return _(words.title) if words else gate.replace("_", " ")


def _row(row: dict[str, Any]) -> Row:
    words = WORDS.get(row["gate"]) or _unknown(row)
    return Row(
        title=title_of(row["gate"]),
        question=_(words.question) if words.question else "",
        measured=words.measured(row["value"]),
        needed=_(words.needed) % words.limit(row["threshold"]),
        n=row["n"],
        owners=row.get("owners"),
        passed=row["passed"],
    )


def _unknown(row: dict[str, Any]) -> Words:
    return Words(row["gate"], row.get("explanation", ""), "%s", "{:g}".format, "{:g}".format)
