"""Gate reports for visitors, in their language: each gate's question, measurement and threshold.

The wording comes from `training.gates`; this module translates it and formats the numbers.
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
    """One gate of a version's report, formatted for display."""

    title: str
    question: str
    measured: str
    needed: str
    n: int
    owners: int | None  # number of votes behind it; None if the labels are not people's
    passed: bool


def _change(drop: float) -> str:
    if numbers.points(drop) == numbers.points(0):
        return _("no drop")
    return (_("drops by %s points") if drop > 0 else _("rises by %s points")) % numbers.points(drop)


# Formatters of each unit: for the value, and for the threshold.
_WRITERS: dict[Unit, tuple[Callable[[float], str], Callable[[float], str]]] = {
    Unit.SHARE: (lambda share: numbers.percent(share, 2), lambda share: numbers.percent(share, 2)),
    Unit.LEFT: (lambda share: numbers.percent(share, 0), lambda share: numbers.percent(share, 0)),
    Unit.P_VALUE: (numbers.p_value, numbers.brief),
    Unit.DROP: (_change, lambda drop: numbers.brief(100 * drop)),
    Unit.COUNT: (numbers.decimal, numbers.decimal),
    Unit.BYTES: (numbers.kilobytes, numbers.kilobytes),
    Unit.RATIO: (numbers.ratio, numbers.ratio),
}


def format_report(report: Sequence[dict[str, Any]]) -> list[Row]:
    """Format a gate report, failed gates first; a gate of an older release shows the explanation stored with it."""
    return sorted((_row(row) for row in report), key=lambda row: row.passed)


def gate_title(name: str) -> str:
    """Return a gate's title."""
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
    return Row(gate_title(row["gate"]), question, measured, needed, row["n"], row.get("owners"), row["passed"])
