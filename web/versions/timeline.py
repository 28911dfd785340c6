"""The rows of the timeline: each version's origin, accuracy and time in service. No model bytes are read."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import F, OuterRef, QuerySet, Subquery
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from recognizer.models import ModelVersion, Promotion
from recognizer.registry import FIRST_VERSION
from web.numbers import percent, signed
from web.versions.charts import Point
from web.versions.gate_words import gate_title

State = ModelVersion.State

PAGE = 15  # versions per page
CHARTED = 40  # the latest versions, which the charts show

STATES = {
    State.ACTIVE: gettext_lazy("active"),
    State.CANDIDATE: gettext_lazy("candidate"),
    State.RETIRED: gettext_lazy("retired"),
    State.REJECTED: gettext_lazy("rejected"),
}

CAUSES = {
    Promotion.Cause.BUNDLED: gettext_lazy("as the bundled model"),
    Promotion.Cause.GATES: gettext_lazy("after passing its gates"),
    Promotion.Cause.HAND: gettext_lazy("by an admin"),
    Promotion.Cause.ROLLBACK: gettext_lazy("by rollback"),
}


@dataclass(frozen=True, slots=True)
class Measured:
    """An accuracy and the number of drawings behind it."""

    share: float  # 0…1
    n: int | None

    def __str__(self) -> str:
        return percent(self.share, 2)


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """One version, formatted for the timeline."""

    version: int
    state: str
    state_name: str
    origin: str
    created: datetime
    activated: datetime | None
    until: datetime | None  # when the next version took over; None while this one is active
    cause: str  # of the latest promotion, in words
    reason: str  # of the rollback to it
    doubt: str  # evidence against it while it is active, for staff to decide
    previous: int | None  # the version that served before it
    mnist: Measured | None
    change: str  # of the MNIST accuracy since its parent, in percentage points
    holdout: Measured | None
    validation: Measured | None
    gates: int
    failed: list[str]  # titles of the failed gates


def entries() -> "QuerySet[ModelVersion, Any]":
    """Return the columns that `entry` needs, newest version first; neither model bytes nor whole metrics."""
    to, away = (Promotion.objects.filter(**{end: OuterRef("pk")}).order_by("-id") for end in ("version", "previous"))
    return ModelVersion.objects.order_by("-version").values(
        "version",
        "state",
        "created",
        "activated",
        "gate_report",
        number_of_parent=F("parent__version"),
        shipped=F("lineage__shipped"),
        run_of=F("lineage__run"),
        mnist=F("metrics__mnist_test__accuracy"),
        mnist_n=F("metrics__mnist_test__n"),
        mnist_of_parent=F("parent__metrics__mnist_test__accuracy"),
        holdout=F("metrics__holdout__accuracy"),
        holdout_n=F("metrics__holdout__n"),
        validation=F("metrics__validation__accuracy"),
        validation_n=F("metrics__validation__n"),
        cause=Subquery(to.values("cause")[:1]),
        reason=Subquery(to.values("reason")[:1]),
        doubt=Subquery(to.values("doubt")[:1]),
        before=Subquery(to.values("previous__version")[:1]),
        until=Subquery(away.values("created")[:1]),
    )


def entry(row: dict[str, Any]) -> TimelineEntry:
    """Format a row of `entries` for display."""
    report = row["gate_report"] or []
    active, rolled_back = row["state"] == State.ACTIVE, row["cause"] == Promotion.Cause.ROLLBACK
    served = row["activated"] is not None
    return TimelineEntry(
        version=row["version"],
        state=row["state"],
        state_name=str(STATES[State(row["state"])]),
        origin=origin(row["version"], bool(row["shipped"]), row["run_of"], row["number_of_parent"]),
        created=row["created"],
        activated=row["activated"],
        until=row["until"] if served and not active else None,
        cause=str(CAUSES[Promotion.Cause(row["cause"])]) if served and row["cause"] else "",
        reason=row["reason"] if rolled_back else "",
        doubt=row["doubt"] or "" if active else "",
        previous=row["before"],
        mnist=_measured(row, "mnist"),
        change=_change(row["mnist"], row["mnist_of_parent"]),
        holdout=_measured(row, "holdout"),
        validation=_measured(row, "validation"),
        gates=len(report),
        failed=[gate_title(gate["gate"]) for gate in report if not gate["passed"]],
    )


def origin(version: int, shipped: bool, run: int | None, parent: int | None) -> str:
    """Describe where a version came from."""
    if shipped or version == FIRST_VERSION:
        return _("Bundled with the site")
    if run and parent:
        return _("Training run %(run)s, from version %(parent)s") % {"run": run, "parent": parent}
    if run:
        return _("Training run %(run)s") % {"run": run}
    return _("Registered manually")


def charted() -> tuple[list[Point], list[Point]]:
    """Return the latest versions' accuracy on MNIST and on the holdout of people never learned from, oldest first."""
    rows = list(
        ModelVersion.objects.order_by("-version").values_list(
            "version", "state", F("metrics__mnist_test__accuracy"), F("metrics__holdout__accuracy")
        )[:CHARTED]
    )[::-1]
    return _points((row[0], row[1], row[2]) for row in rows), _points((row[0], row[1], row[3]) for row in rows)


def _points(rows: Any) -> list[Point]:
    return [Point(version, 100 * value, state) for version, state, value in rows if value is not None]


def describe_points(points: Sequence[Point]) -> str:
    """Describe a chart of versions for screen readers."""
    return "; ".join(
        _("version %(number)s: %(share)s") % {"number": point.version, "share": percent(point.value / 100, 2)}
        for point in points
    )


def _measured(row: dict[str, Any], name: str) -> Measured | None:
    return None if row[name] is None else Measured(row[name], row[f"{name}_n"])


def _change(share: float | None, before: float | None) -> str:
    return "" if share is None or before is None else signed(100 * (share - before), 2)
