"""The facts that triage rules use, collected for many corrections with few queries and bounded memory."""

import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from django.db.models import Case, Count, F, Q, QuerySet, Value, When

from recognizer.labels import LABELS, position
from recognizer.models import REPLACED, Correction, PastDecision, Submission, Verdict
from recognizer.preprocessing import INPUT_SIDE
from recognizer.similarity import (
    NEAR_DUPLICATE,
    SAME_DRAWING,
    SAME_MANNER,
    Signatures,
    has_neighbour,
    signatures,
    similarities,
)

COMPARED_WITH = 50_000  # latest accepted labels to compare with; their signatures take 39 MB
OUTVOTED = 5_000  # latest corrections held by the rule for outvoted labels
FETCHED_AT_ONCE = 2000  # rows with inputs per batch
ASKED_AT_ONCE = 500  # owners per query
MOST_OPPOSING = 32  # most similar opposing drawings that are considered

MINUTE_AROUND = timedelta(seconds=30)
HOUR = timedelta(hours=1)
NEWCOMER = timedelta(days=7)  # a younger account counts as anonymous: creating one costs nothing
REMEMBERED = timedelta(days=90)  # older decisions by people no longer count for or against an owner

Author = int | uuid.UUID | None  # account id, session id, or None
Labels = npt.NDArray[np.intp]

# An expression that is never NULL, although label and answer may be.
CONFIRMS = Case(
    When(Q(digit=F("submission__digit")) | Q(digit__isnull=True, submission__digit__isnull=True), then=Value(True)),
    default=Value(False),
)


def anonymous(at: datetime) -> Case:
    """Return an expression: whether a correction's author counts as anonymous, because such an owner is free to create.

    True without an account, with one younger than `NEWCOMER`, and for corrections made before the author had one.
    """
    known = Q(account__isnull=False, session__isnull=True, account__date_joined__lte=at - NEWCOMER)
    return Case(When(known, then=Value(False)), default=Value(True))


@dataclass(frozen=True, slots=True)
class Facts:
    """The facts about one correction. The last four are 0 until `compared` has set them."""

    pk: int
    author: Author
    anonymous: bool  # see `anonymous()`
    staff: bool
    digit: int | None
    confirms: bool
    verdict: str
    confidence: float  # of the model's answer
    probability: float | None  # the model's, of the label; None for "not a digit"
    drawn: int = 0  # number of this author's drawings
    drawn_doubtful: int = 0  # of these, with an answer that was not sure
    contradicted: int = 0  # sure answers that this author contradicted, except where a person accepted that
    contradicted_doubtful: int = 0  # the same for answers that were not sure
    rejected: int = 0  # this author's corrections that people rejected or replaced within `REMEMBERED`
    decided: int = 0  # this author's corrections that people decided within `REMEMBERED`
    in_minute: int = 0  # this author's corrections in the minute around this one
    in_hour: int = 0  # this author's corrections in the hour before this one
    copies: int = 0  # earlier corrections of the same drawing by this author
    agreeing: int = 0  # other owners with the same label on a near-duplicate
    disagreeing: int = 0  # owners with another label on a near-duplicate, this one's accepted labels included
    supporting: int = 0  # other owners with the same label on a near-duplicate of this or of an opposing drawing


class Pending(NamedTuple):
    """A pending correction with its drawing and the model's answer."""

    pk: int
    digit: int | None
    account: int | None
    session: uuid.UUID | None
    created: datetime
    staff: bool | None
    answered: int | None
    verdict: str
    confidence: float
    probabilities: list[float]
    input: bytes
    anonymous: bool

    @property
    def author(self) -> Author:
        return self.account or self.session


_FIELDS = (
    "pk",
    "digit",
    "account",
    "session",
    "created",
    "account__is_staff",
    "submission__digit",
    "submission__verdict",
    "submission__confidence",
    "submission__probabilities",
    "submission__input",
)


class _Record(NamedTuple):
    """An author's record; the fields are those of `Facts`."""

    contradicted: int = 0
    contradicted_doubtful: int = 0
    rejected: int = 0
    decided: int = 0


def fetch(corrections: QuerySet[Correction], at: datetime) -> list[Pending]:
    """Fetch corrections with their drawings, oldest first."""
    return sorted(Pending(*row) for row in corrections.values_list(*_FIELDS, anonymous(at)))


def histories(pending: Sequence[Pending], by_rule: Q, at: datetime) -> list[Facts]:
    """Return the facts about each correction: the model's answer and the author's record.

    Args:
        pending: the corrections.
        by_rule: condition on corrections: accepted by a rule, not by a person.
        at: the current time.
    """
    accounts = {row.account for row in pending if row.account}
    sessions = {row.session for row in pending if row.session and not row.account}
    drawn = _drawn(accounts, sessions)
    records = _records(accounts, sessions, by_rule, at - REMEMBERED)
    since = min((row.created for row in pending), default=at) - HOUR
    times = _correction_times(accounts, sessions, since)
    return [_facts(row, drawn, records, times) for row in pending]


def compared(pending: Sequence[Pending], facts: Sequence[Facts], outvoted: QuerySet[Correction]) -> list[Facts]:
    """Add the votes of near-duplicates, among these corrections and the latest accepted ones.

    Args:
        pending: the corrections.
        facts: their facts so far.
        outvoted: corrections held only because other owners label near-duplicates differently. They support the same
            label, but oppose no other.

    Peak memory is about 200 MB with `COMPARED_WITH` accepted labels, however similar the drawings are.
    """
    if not pending:
        return []
    pool = _pool(pending, outvoted)
    own = signatures(_inputs([row.input for row in pending]))
    added: list[Facts] = []
    for rows, block in similarities(own, pool.signatures):
        added += _votes(facts[rows], block, pool)
    return added


def _facts(
    row: Pending,
    drawn: dict[Author, tuple[int, int]],
    records: dict[Author, _Record],
    times_of: dict[Author, npt.NDArray[np.float64]],
) -> Facts:
    record = records.get(row.author, _Record())
    drawings, doubtful = drawn.get(row.author, (0, 0))
    times, moment = times_of.get(row.author, np.empty(0)), row.created.timestamp()
    around = MINUTE_AROUND.total_seconds()
    return Facts(
        pk=row.pk,
        author=row.author,
        anonymous=row.anonymous,
        staff=bool(row.staff),
        digit=row.digit,
        confirms=row.digit == row.answered,
        verdict=row.verdict,
        confidence=row.confidence,
        probability=None if row.digit is None else row.probabilities[row.digit],
        drawn=drawings,
        drawn_doubtful=doubtful,
        contradicted=record.contradicted,
        contradicted_doubtful=record.contradicted_doubtful,
        rejected=record.rejected,
        decided=record.decided,
        in_minute=_count_between(times, moment - around, moment + around),
        in_hour=_count_between(times, moment - HOUR.total_seconds(), moment),
    )


def _count_between(times: npt.NDArray[np.float64], low: float, high: float) -> int:
    return int(np.searchsorted(times, high, "right") - np.searchsorted(times, low, "left"))


def _of_owners(accounts: Iterable[int], sessions: Iterable[uuid.UUID]) -> Iterator[tuple[str, Q]]:
    """Yield the owners as (column, condition) pairs, each condition short enough for every database."""
    for column, owners in (("account", sorted(accounts)), ("session", sorted(sessions))):
        for start in range(0, len(owners), ASKED_AT_ONCE):
            yield column, Q(**{f"{column}__in": owners[start : start + ASKED_AT_ONCE]})


def _drawn(accounts: Iterable[int], sessions: Iterable[uuid.UUID]) -> dict[Author, tuple[int, int]]:
    """Return each author's number of drawings, and of those with an answer that was not sure."""
    counts: dict[Author, tuple[int, int]] = {}
    for column, owners in _of_owners(accounts, sessions):
        rows = Submission.objects.filter(owners).order_by().values_list(column)
        counted = rows.annotate(Count("pk"), doubtful=Count("pk", filter=~Q(verdict=Verdict.SURE)))
        counts |= {author: (drawings, doubtful) for author, drawings, doubtful in counted}
    return counts


def _records(
    accounts: Iterable[int], sessions: Iterable[uuid.UUID], by_rule: Q, since: datetime
) -> dict[Author, _Record]:
    rejected = Q(state=Correction.State.REJECTED, decided__gte=since) | (REPLACED & Q(replaced_by__decided__gte=since))
    by_people = Q(state=Correction.State.ACCEPTED) & ~by_rule
    sure = Q(submission__verdict=Verdict.SURE)
    records: dict[Author, _Record] = {}
    for column, owners in _of_owners(accounts, sessions):
        rows = Correction.objects.standing_or_replaced().filter(owners).alias(agrees=CONFIRMS).order_by()
        counted = rows.values_list(column).annotate(
            contradicted=Count("pk", filter=Q(agrees=False) & sure & ~by_people),
            contradicted_doubtful=Count("pk", filter=Q(agrees=False) & ~sure & ~by_people),
            rejected=Count("pk", filter=rejected),
            decided=Count("pk", filter=rejected | (by_people & Q(decided__gte=since))),
        )
        records |= {author: _Record(*counts) for author, *counts in counted}
        past = PastDecision.objects.filter(owners, decided__gte=since).values_list(column)
        for author, against, all_of_them in past.annotate(
            against=Count("pk", filter=Q(rejected=True)), all_of_them=Count("pk")
        ):
            record = records.get(author, _Record())
            records[author] = record._replace(rejected=record.rejected + against, decided=record.decided + all_of_them)
    return records


def _correction_times(
    accounts: Iterable[int], sessions: Iterable[uuid.UUID], since: datetime
) -> dict[Author, npt.NDArray[np.float64]]:
    """Return the times of each author's corrections, superseded ones included; Unix seconds, ascending."""
    times: defaultdict[Author, list[float]] = defaultdict(list)
    for column, owners in _of_owners(accounts, sessions):
        rows = Correction.objects.filter(owners, created__gte=since).order_by("created")
        for author, created in rows.values_list(column, "created").iterator():
            times[author].append(created.timestamp())
    return {author: np.array(moments) for author, moments in times.items()}


@dataclass(frozen=True, slots=True)
class _Pool:
    """Labelled drawings to compare with, sorted by owner and label, so that an owner has one vote per label."""

    signatures: Signatures
    pks: Labels
    owners: Labels  # owner index
    labels: Labels  # index in `LABELS`
    numbers: dict[Author, int]  # author → owner index
    votes: Labels  # index of the vote: (owner, label)
    starts: Labels  # first row of each vote
    may_oppose: npt.NDArray[np.bool_]  # False for outvoted corrections, which may not oppose others


def _pool(pending: Sequence[Pending], outvoted: QuerySet[Correction]) -> _Pool:
    latest = Q(state=Correction.State.ACCEPTED) | Q(pk__in=outvoted.order_by("-id").values("pk")[:OUTVOTED])
    labelled = Correction.objects.filter(latest).order_by("-id")[: COMPARED_WITH + OUTVOTED]
    fields = ("pk", "digit", "account", "session", "submission__input", "state")
    may_oppose = [True] * len(pending)
    pks, digits, authors = [[getattr(row, name) for row in pending] for name in ("pk", "digit", "author")]
    signed = [signatures(_inputs([row.input for row in pending]))]
    batch: list[bytes] = []
    for pk, digit, account, session, image, state in labelled.values_list(*fields).iterator(FETCHED_AT_ONCE):
        pks.append(pk)
        digits.append(digit)
        authors.append(account or session)
        batch.append(image)
        may_oppose.append(state == Correction.State.ACCEPTED)
        if len(batch) == FETCHED_AT_ONCE:
            signed.append(signatures(_inputs(batch)))
            batch = []
    signed.append(signatures(_inputs(batch)))
    numbers: dict[Author, int] = {}
    owners = np.array([numbers.setdefault(author, len(numbers)) for author in authors])
    labels = np.array([position(digit) for digit in digits])
    order = np.lexsort((labels, owners))
    votes = (owners * len(LABELS) + labels)[order]
    return _Pool(
        signatures=np.concatenate(signed)[order],
        pks=np.array(pks)[order],
        owners=owners[order],
        labels=labels[order],
        numbers=numbers,
        votes=votes,
        starts=np.flatnonzero(np.diff(votes, prepend=-1)),
        may_oppose=np.array(may_oppose)[order],
    )


def _votes(facts: Sequence[Facts], block: npt.NDArray[np.float32], pool: _Pool) -> list[Facts]:
    """Return the facts with votes and copies counted from similarities `block`, `(len(facts), len(pool))`."""
    owners = np.array([pool.numbers[fact.author] for fact in facts])
    labels = np.array([position(fact.digit) for fact in facts])
    pks = np.array([fact.pk for fact in facts])
    own = owners[:, None] == pool.owners
    near = (block >= NEAR_DUPLICATE) & pool.may_oppose
    copies = ((block >= SAME_DRAWING) & pool.may_oppose & own & (pool.pks < pks[:, None])).sum(axis=1)
    opposes_itself = (near & own & (pool.labels != labels[:, None])).any(axis=1)
    voted = np.logical_or.reduceat(near & ~own, pool.starts, axis=1)  # (n, one per owner and label)
    label_of_vote = np.eye(len(LABELS), dtype=np.float32)[pool.labels[pool.starts]]
    votes = (voted.astype(np.float32) @ label_of_vote).astype(int)  # (n, labels)
    agreeing = votes[np.arange(len(facts)), labels]
    disagreeing = votes.sum(axis=1) - agreeing + opposes_itself
    supporting = agreeing.copy()
    for row in np.flatnonzero(disagreeing > agreeing):
        supporting[row] = _supporting(block[row], owners[row], labels[row], pool)
    return [
        replace(fact, copies=int(c), agreeing=int(a), disagreeing=int(d), supporting=int(s))
        for fact, c, a, d, s in zip(facts, copies, agreeing, disagreeing, supporting, strict=True)
    ]


def _supporting(similar: npt.NDArray[np.float32], owner: int, label: int, pool: _Pool) -> int:
    """Count the other owners with the same label on a near-duplicate of the drawing or of an opposing drawing.

    An owner's labels on drawings in one style are one vote, however many drawings there are. So everybody who
    contradicts that vote supports each other, even if they drew near-duplicates of different drawings of it.

    Args:
        similar: similarities to the pool's drawings, `(len(pool),)`.
        owner: index of the correction's owner in the pool.
        label: index of the correction's label.
        pool: the labelled drawings.
    """
    others = pool.owners != owner
    against = others & pool.may_oppose & (pool.labels != label)
    opposing_votes = np.unique(pool.votes[against & (similar >= NEAR_DUPLICATE)])
    opposing = np.flatnonzero(against & (similar >= SAME_MANNER) & np.isin(pool.votes, opposing_votes))
    closest = opposing[np.argsort(similar[opposing])[-MOST_OPPOSING:]]
    same = np.flatnonzero(others & (pool.labels == label))
    near = similar[same] >= NEAR_DUPLICATE
    near |= has_neighbour(pool.signatures[same], pool.signatures[closest])
    return len(np.unique(pool.owners[same[near]]))


def _inputs(rows: Sequence[Any]) -> npt.NDArray[np.uint8]:
    return np.frombuffer(b"".join(rows), np.uint8).reshape(-1, INPUT_SIDE, INPUT_SIDE)
