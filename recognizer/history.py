"""What somebody drew, newest first: in pages whose work is bounded, and as a stream of all of it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import urlencode

from django.db.models import Exists, F, OuterRef, Prefetch, Q, QuerySet, TextChoices
from django.utils.translation import gettext_lazy as _

from recognizer.models import Correction, Submission, Verdict, ink_text
from recognizer.owners import Owner
from recognizer.parsing import parse_row_number

PER_PAGE = 24
LOOKED_THROUGH = 5_000  # drawings, to fill one page with those that a filter lets through
COUNTED = 10_000  # drawings, at most, for a page to say how many there are
STREAMED_AT_ONCE = 20  # drawings in memory for one reader …
KEPT_AT_ONCE = 10  # … and of these with ink or picture, of which some are large

_SHOWN = ("created", "input", "digit", "confidence", "verdict", "model_version__version")


class Show(TextChoices):
    """Which drawings a page shows, by what was said of them and what became of it."""

    ALL = "all", _("All")
    CORRECTED = "corrected", _("Corrected")
    WAITING = "waiting", _("Waiting")
    ACCEPTED = "accepted", _("Accepted")
    REJECTED = "rejected", _("Not accepted")
    UNSURE = "unsure", _("Unsure")


@dataclass(frozen=True, slots=True)
class Wish:
    """Which page somebody asks for. At most one of `before` and `after` is set; both are numbers of submissions."""

    show: Show = Show.ALL
    digit: int | None = None  # as the model read it
    before: int | None = None
    after: int | None = None

    @classmethod
    def parse(cls, query: Mapping[str, Any]) -> "Wish":
        """Read a query string; what makes no sense counts as not said."""
        show = query.get("show", "")
        digit, before = parse_row_number(query.get("digit")), parse_row_number(query.get("before"))
        return cls(
            show=Show(show) if show in Show.values else Show.ALL,
            digit=digit if digit is not None and digit <= 9 else None,
            before=before,
            after=parse_row_number(query.get("after")) if before is None else None,
        )

    @property
    def filtered(self) -> bool:
        return self.show != Show.ALL or self.digit is not None

    def query(self, **changes: Any) -> str:
        """Write the query string of this page, or of another one; ends in nothing if nothing was asked for."""
        words = {"show": self.show, "digit": self.digit, "before": self.before, "after": self.after} | changes
        said = {name: str(value) for name, value in words.items() if value is not None and value != Show.ALL}
        return f"?{urlencode(said)}" if said else ""


class Kept(NamedTuple):
    """A drawing as it is stored."""

    pk: int
    ink: str | None  # JSON
    picture: bytes | None  # PNG


@dataclass(frozen=True, slots=True)
class Page:
    """Some drawings, newest first, and where those before and after them start."""

    wish: Wish
    drawings: list[Submission]
    newer: int | None  # `after` of the page with newer ones
    older: int | None  # `before` of the page with older ones


def page_of(owner: Owner, wish: Wish) -> Page:
    """Fetch a page of what an owner drew.

    A filter looks through `LOOKED_THROUGH` drawings at most; a page may then hold fewer than `PER_PAGE`, or none, and
    still have an older one.
    """
    if wish.after is not None:
        page = _newer_page(owner, wish, wish.after)
        return page if page.newer is not None else page_of(owner, Wish(wish.show, wish.digit))
    owned = Submission.objects.owned_by(owner).order_by("-pk")
    if wish.before is not None:
        owned = owned.filter(pk__lt=wish.before)
    last = _last_looked_at(owned, wish)
    if last is not None:
        owned = owned.filter(pk__gte=last)
    rows = list(_shown(_filtered(owned, wish))[: PER_PAGE + 1])
    full = len(rows) > PER_PAGE
    rows = rows[:PER_PAGE]
    newest = rows[0].pk if rows else wish.before
    return Page(wish, rows, newest if wish.before is not None else None, rows[-1].pk if full else last)


def count_of(owner: Owner) -> int:
    """Count what an owner drew, up to one more than `COUNTED`."""
    return Submission.objects.owned_by(owner).order_by()[: COUNTED + 1].count()


def drawings_of(owner: Owner) -> Iterator[list[Submission]]:
    """Fetch all that an owner drew, newest first, a few at a time, with the standing correction."""
    owned = _shown(Submission.objects.owned_by(owner).order_by("-pk"), "probabilities")
    rows = list(owned[:STREAMED_AT_ONCE])
    while rows:
        yield rows
        rows = list(owned.filter(pk__lt=rows[-1].pk)[:STREAMED_AT_ONCE])


def kept_of(rows: Sequence[Submission]) -> Iterator[tuple[Submission, Kept]]:
    """Fetch ink and pictures along, of few drawings at a time; a drawing that was deleted meanwhile is left out."""
    for start in range(0, len(rows), KEPT_AT_ONCE):
        few = rows[start : start + KEPT_AT_ONCE]
        fetched = Submission.objects.filter(pk__in=[row.pk for row in few]).order_by()
        kept = {pk: Kept(pk, *rest) for pk, *rest in fetched.values_list("pk", ink_text(), "picture")}
        yield from ((row, kept[row.pk]) for row in few if row.pk in kept)


def _newer_page(owner: Owner, wish: Wish, after: int) -> Page:
    owned = Submission.objects.owned_by(owner).order_by("pk").filter(pk__gt=after)
    last = _last_looked_at(owned, wish)
    if last is not None:
        owned = owned.filter(pk__lte=last)
    rows = list(_shown(_filtered(owned, wish))[: PER_PAGE + 1])
    full = len(rows) > PER_PAGE
    rows = rows[:PER_PAGE][::-1]
    return Page(wish, rows, rows[0].pk if full else last, rows[-1].pk if rows else after + 1)


def _last_looked_at(owned: QuerySet[Submission], wish: Wish) -> int | None:
    """Number the last drawing that a filter looks at; None without a filter, and where there are fewer."""
    if not wish.filtered:
        return None
    return owned.values_list("pk", flat=True)[LOOKED_THROUGH - 1 : LOOKED_THROUGH].first()


def _filtered(owned: QuerySet[Submission], wish: Wish) -> QuerySet[Submission]:
    if wish.digit is not None:
        owned = owned.filter(digit=wish.digit)
    said = Correction.objects.standing().filter(submission=OuterRef("pk"))
    match wish.show:
        case Show.ALL:
            return owned
        case Show.UNSURE:
            return owned.filter(verdict=Verdict.UNSURE)
        case Show.CORRECTED:
            confirming = Q(digit=F("submission__digit")) | Q(digit=None, submission__digit=None)
            return owned.filter(Exists(said.exclude(confirming)))
        case Show.WAITING:
            return owned.filter(Exists(said.filter(state=Correction.State.PENDING)))
        case Show.ACCEPTED:
            return owned.filter(Exists(said.filter(state=Correction.State.ACCEPTED)))
        case Show.REJECTED:
            return owned.filter(Exists(said.filter(state=Correction.State.REJECTED)))


def _shown(rows: QuerySet[Submission], *more: str) -> QuerySet[Submission]:
    standing = Prefetch("corrections", Correction.objects.standing())
    return rows.select_related("model_version").only("model_version", *_SHOWN, *more).prefetch_related(standing)
