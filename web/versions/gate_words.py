"""Gate reports for visitors, in their language: what was asked, what was measured, what was needed.

The words are the gates' own, in `training.gates`; here they are translated, and numbers written.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from training.gates import GATES, Unit
from web import numbers

_GATES = {gate.name: gate for gate in GATES}


@dataclass(frozen=True, slots=True)
class Row:
    """A gate of one version's report, ready to be shown."""

    title: str
    question: str
    measured: str
    needed: str
    n: int
    owners: int | None  # votes behind it, where the labels are people's
    passed: bool


def _change(drop: float) -> str:
    if numbers.points(drop) == numbers.points(0):
        return _("no drop")
    return (_("drops by %s points") if drop > 0 else _("rises by %s points")) % numbers.points(drop)


# How a unit is written: a value, and a threshold.
_WRITERS: dict[Unit, tuple[Callable[[float], str], Callable[[float], str]]] = {
    Unit.SHARE: (lambda share: numbers.percent(share, 2), lambda share: numbers.percent(share, 2)),
    Unit.LEFT: (lambda share: numbers.percent(share, 0), lambda share: numbers.percent(share, 0)),
    Unit.P_VALUE: (numbers.p_value, numbers.brief),
    Unit.DROP: (_change, lambda drop: numbers.brief(100 * drop)),
    Unit.COUNT: (numbers.decimal, numbers.decimal),
    Unit.BYTES: (numbers.kilobytes, numbers.kilobytes),
    Unit.RATIO: (numbers.ratio, numbers.ratio),
}


def in_words(report: Sequence[dict[str, Any]]) -> list[Row]:
    """Show a gate report, failed gates first; a gate of an older release has the explanation stored with it."""
    return sorted((_row(row) for row in report), key=lambda row: row.passed)


def title_of(name: str) -> str:
    """Name a gate."""
    gate = _GATES.get(name)
    return _(gate.title) if gate else name.replace("_", " ")


def _row(row: dict[str, Any]) -> Row:
    gate = _GATES.get(row["gate"])
    if gate:
        value, threshold = _WRITERS[gate.unit]
        question, measured = _(gate.question), value(row["value"])
        needed = _(gate.needed) % threshold(row["threshold"])
    else:
        question, measured, needed = row.get("explanation", ""), f"{row['value']:g}", f"{row['threshold']:g}"
    return Row(title_of(row["gate"]), question, measured, needed, row["n"], row.get("owners"), row["passed"])
