"""An owner's drawings, newest first: as pages at bounded cost, and as a stream of all of them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib import parse

from django.db.models import Exists, F, OuterRef, Prefetch, Q, QuerySet, TextChoices
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from recognizer.labels import DIGITS
from recognizer.models import Correction, Submission, Verdict, ink_text
from recognizer.owners import Owner
from recognizer.parsing import parse_row_number
from recognizer.verdicts import NAMES

PER_PAGE = 24
LOOKED_THROUGH = 5_000  # maximum drawings scanned to fill one filtered page
COUNTED = 10_000  # maximum number of drawings that a page counts
STREAMED_AT_ONCE = 20  # drawings in memory per reader …
STORED_AT_ONCE = 10  # … and of these, with ink or picture, which may be large

_SHOWN = ("created", "input", "digit", "confidence", "verdict", "model_version__version")


class Show(TextChoices):
    """Filter of the drawings on a page, by their corrections and verdict."""

    ALL = "all", _("All")
    CORRECTED = "corrected", _("Corrected")
    WAITING = "waiting", _("Waiting")
    ACCEPTED = "accepted", pgettext_lazy("drawings", "Accepted")
    REJECTED = "rejected", _("Not accepted")
    UNSURE = Verdict.UNSURE.value, NAMES[Verdict.UNSURE]


@dataclass(frozen=True, slots=True)
class HistoryQuery:
    """A page of an owner's drawings: filter and position.

    `before` and `after` are submissions' primary keys; at most one of them is set.
    """

    show: Show = Show.ALL
    digit: int | None = None  # the model's answer
    before: int | None = None
    after: int | None = None

    @classmethod
    def parse(cls, parameters: Mapping[str, Any]) -> "HistoryQuery":
        """Read a query string's parameters; invalid ones are ignored."""
        show = parameters.get("show", "")
        digit, before = parse_row_number(parameters.get("digit")), parse_row_number(parameters.get("before"))
        return cls(
            show=Show(show) if show in Show.values else Show.ALL,
            digit=digit if digit in DIGITS else None,
            before=before,
            after=parse_row_number(parameters.get("after")) if before is None else None,
        )

    @property
    def filtered(self) -> bool:
        return self.show != Show.ALL or self.digit is not None

    def urlencode(self, **changes: Any) -> str:
        """Return this page's query string with `changes` applied; empty for the first unfiltered page."""
        values = {"show": self.show, "digit": self.digit, "before": self.before, "after": self.after} | changes
        parameters = {name: str(value) for name, value in values.items() if value is not None and value != Show.ALL}
        return f"?{parse.urlencode(parameters)}" if parameters else ""


class StoredDrawing(NamedTuple):
    """The stored ink or picture of a drawing."""

    pk: int
    ink: str | None  # JSON
    picture: bytes | None  # PNG


@dataclass(frozen=True, slots=True)
class Page:
    """A page of drawings, newest first, with the positions of the pages before and after."""

    query: HistoryQuery
    drawings: list[Submission]
    newer: int | None  # `after` of the page with newer ones
    older: int | None  # `before` of the page with older ones


def page_of(owner: Owner, query: HistoryQuery) -> Page:
    """Return a page of an owner's drawings.

    A filter scans at most `LOOKED_THROUGH` drawings. So a page may have fewer than `PER_PAGE` drawings, or none, and
    there may still be an older page.
    """
    if query.after is not None:
        page = _newer_page(owner, query, query.after)
        return page if page.newer is not None else page_of(owner, HistoryQuery(query.show, query.digit))
    owned = Submission.objects.owned_by(owner).order_by("-pk")
    if query.before is not None:
        owned = owned.filter(pk__lt=query.before)
    last = _last_looked_at(owned, query)
    if last is not None:
        owned = owned.filter(pk__gte=last)
    rows = list(_shown(_filtered(owned, query))[: PER_PAGE + 1])
    full = len(rows) > PER_PAGE
    rows = rows[:PER_PAGE]
    newest = rows[0].pk if rows else query.before
    return Page(query, rows, newest if query.before is not None else None, rows[-1].pk if full else last)


def count_of(owner: Owner) -> int:
    """Return the number of an owner's drawings, at most `COUNTED` + 1."""
    return Submission.objects.owned_by(owner).order_by()[: COUNTED + 1].count()


def drawings_of(owner: Owner) -> Iterator[list[Submission]]:
    """Yield all of an owner's drawings in batches, newest first, with the standing correction."""
    owned = _shown(Submission.objects.owned_by(owner).order_by("-pk"), "probabilities")
    rows = list(owned[:STREAMED_AT_ONCE])
    while rows:
        yield rows
        rows = list(owned.filter(pk__lt=rows[-1].pk)[:STREAMED_AT_ONCE])


def with_stored_drawings(rows: Sequence[Submission]) -> Iterator[tuple[Submission, StoredDrawing]]:
    """Yield drawings with ink and picture, fetched in small batches; drawings deleted in the meantime are left out."""
    for start in range(0, len(rows), STORED_AT_ONCE):
        few = rows[start : start + STORED_AT_ONCE]
        fetched = Submission.objects.filter(pk__in=[row.pk for row in few]).order_by()
        kept = {pk: StoredDrawing(pk, *rest) for pk, *rest in fetched.values_list("pk", ink_text(), "picture")}
        yield from ((row, kept[row.pk]) for row in few if row.pk in kept)


def _newer_page(owner: Owner, query: HistoryQuery, after: int) -> Page:
    owned = Submission.objects.owned_by(owner).order_by("pk").filter(pk__gt=after)
    last = _last_looked_at(owned, query)
    if last is not None:
        owned = owned.filter(pk__lte=last)
    rows = list(_shown(_filtered(owned, query))[: PER_PAGE + 1])
    full = len(rows) > PER_PAGE
    rows = rows[:PER_PAGE][::-1]
    return Page(query, rows, rows[0].pk if full else last, rows[-1].pk if rows else after + 1)


def _last_looked_at(owned: QuerySet[Submission], query: HistoryQuery) -> int | None:
    """Return the primary key of the last drawing to scan; None without a filter, or if there are fewer drawings."""
    if not query.filtered:
        return None
    return owned.values_list("pk", flat=True)[LOOKED_THROUGH - 1 : LOOKED_THROUGH].first()


def _filtered(owned: QuerySet[Submission], query: HistoryQuery) -> QuerySet[Submission]:
    if query.digit is not None:
        owned = owned.filter(digit=query.digit)
    corrections = Correction.objects.standing().filter(submission=OuterRef("pk"))
    match query.show:
        case Show.ALL:
            return owned
        case Show.UNSURE:
            return owned.filter(verdict=Verdict.UNSURE)
        case Show.CORRECTED:
            confirming = Q(digit=F("submission__digit")) | Q(digit=None, submission__digit=None)
            return owned.filter(Exists(corrections.exclude(confirming)))
        case Show.WAITING:
            return owned.filter(Exists(corrections.filter(state=Correction.State.PENDING)))
        case Show.ACCEPTED:
            return owned.filter(Exists(corrections.filter(state=Correction.State.ACCEPTED)))
        case Show.REJECTED:
            return owned.filter(Exists(corrections.filter(state=Correction.State.REJECTED)))


def _shown(rows: QuerySet[Submission], *more: str) -> QuerySet[Submission]:
    standing = Prefetch("corrections", Correction.objects.standing())
    return rows.select_related("model_version").only("model_version", *_SHOWN, *more).prefetch_related(standing)
