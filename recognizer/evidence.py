"""The facts that triage judges a correction by, gathered for many at once with few queries and bounded memory."""

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

COMPARED_WITH = 50_000  # accepted labels, the latest: their signatures take 39 MB
OUTVOTED = 5_000  # held for what others call near-duplicates, the latest
FETCHED_AT_ONCE = 2000  # rows with their inputs
ASKED_AT_ONCE = 500  # owners in one query
WITNESSES = 32  # drawings, the most similar, by which others speak against a correction

MINUTE_AROUND = timedelta(seconds=30)
HOUR = timedelta(hours=1)
NEWCOMER = timedelta(days=7)  # an account younger than this cost its owner as little as none
REMEMBERED = timedelta(days=90)  # what people decided longer ago no longer speaks for or against an owner

Author = int | uuid.UUID | None  # an account's id, an anonymous owner's id, or neither
Labels = npt.NDArray[np.intp]

# As expressions that are never NULL, for a label and an answer may be.
CONFIRMS = Case(
    When(Q(digit=F("submission__digit")) | Q(digit__isnull=True, submission__digit__isnull=True), then=Value(True)),
    default=Value(False),
)


def anonymous(at: datetime) -> Case:
    """Say of corrections whether another owner like theirs costs nothing.

    So it is without an account, with one made lately, and of what was said before its author had one.
    """
    known = Q(account__isnull=False, session__isnull=True, account__date_joined__lte=at - NEWCOMER)
    return Case(When(known, then=Value(False)), default=Value(True))


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of one correction. The last four are 0 until it was compared with other drawings."""

    pk: int
    author: Author
    anonymous: bool  # as `anonymous` says
    staff: bool
    digit: int | None
    confirms: bool
    verdict: str
    confidence: float  # of the model's answer
    probability: float | None  # the model's, of the digit said; None for not a digit
    drawn: int = 0  # by this author, ever
    drawn_doubtful: int = 0  # of them, where the model was not sure
    contradicted: int = 0  # sure answers that this author contradicted, but for those where a person agreed
    contradicted_doubtful: int = 0  # likewise, answers that were not sure
    rejected: int = 0  # of this author's, by people, lately; a word that a reviewer replaced is one of them
    decided: int = 0  # of this author's, by people, lately
    in_minute: int = 0  # said by this author within the minute around this
    in_hour: int = 0  # said by this author within the hour before this
    copies: int = 0  # of the very same drawing, said earlier by the same author
    agreeing: int = 0  # other owners who say the same of a near-duplicate
    disagreeing: int = 0  # owners who say otherwise of a near-duplicate, this one's accepted labels included
    siding: int = 0  # other owners who say the same of a near-duplicate of this, or of what speaks against it


class Waiting(NamedTuple):
    """A correction that no rule has looked at, with its drawing."""

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
    """What an author did before, as in `Facts`."""

    contradicted: int = 0
    contradicted_doubtful: int = 0
    rejected: int = 0
    decided: int = 0


def fetch(corrections: QuerySet[Correction], at: datetime) -> list[Waiting]:
    """Read corrections with their drawings, in the order in which they were said."""
    return sorted(Waiting(*row) for row in corrections.values_list(*_FIELDS, anonymous(at)))


def histories(waiting: Sequence[Waiting], by_rule: Q, at: datetime) -> list[Facts]:
    """Say of each correction what the model answered and what its author did before.

    Args:
        waiting: the corrections.
        by_rule: which accepted corrections a rule accepted, not a person.
        at: now.
    """
    accounts = {row.account for row in waiting if row.account}
    sessions = {row.session for row in waiting if row.session and not row.account}
    drawn = _drawn(accounts, sessions)
    records = _records(accounts, sessions, by_rule, at - REMEMBERED)
    since = min((row.created for row in waiting), default=at) - HOUR
    said = _times(accounts, sessions, since)
    return [_facts(row, drawn, records, said) for row in waiting]


def compared(waiting: Sequence[Waiting], facts: Sequence[Facts], outvoted: QuerySet[Correction]) -> list[Facts]:
    """Add what near-duplicates say: among these corrections, and of the latest accepted ones.

    Args:
        waiting: the corrections.
        facts: what is known of them until now.
        outvoted: what is held only because others call near-duplicates something else. It speaks against nobody, but
            for those who say the same.

    Peak memory is about 200 MB with `COMPARED_WITH` accepted labels, however alike the drawings are.
    """
    if not waiting:
        return []
    pool = _pool(waiting, outvoted)
    own = signatures(_inputs([row.input for row in waiting]))
    added: list[Facts] = []
    for rows, block in similarities(own, pool.signatures):
        added += _votes(facts[rows], block, pool)
    return added


def _facts(
    row: Waiting,
    drawn: dict[Author, tuple[int, int]],
    records: dict[Author, _Record],
    said: dict[Author, npt.NDArray[np.float64]],
) -> Facts:
    record = records.get(row.author, _Record())
    drawings, doubtful = drawn.get(row.author, (0, 0))
    times, moment = said.get(row.author, np.empty(0)), row.created.timestamp()
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
        in_minute=_between(times, moment - around, moment + around),
        in_hour=_between(times, moment - HOUR.total_seconds(), moment),
    )


def _between(times: npt.NDArray[np.float64], low: float, high: float) -> int:
    return int(np.searchsorted(times, high, "right") - np.searchsorted(times, low, "left"))


def _of_owners(accounts: Iterable[int], sessions: Iterable[uuid.UUID]) -> Iterator[tuple[str, Q]]:
    """The owners as conditions short enough for every database, each with the name of its column."""
    for column, owners in (("account", sorted(accounts)), ("session", sorted(sessions))):
        for start in range(0, len(owners), ASKED_AT_ONCE):
            yield column, Q(**{f"{column}__in": owners[start : start + ASKED_AT_ONCE]})


def _drawn(accounts: Iterable[int], sessions: Iterable[uuid.UUID]) -> dict[Author, tuple[int, int]]:
    """Per author: drawings, and those where the model was not sure."""
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


def _times(
    accounts: Iterable[int], sessions: Iterable[uuid.UUID], since: datetime
) -> dict[Author, npt.NDArray[np.float64]]:
    """When each author said something, what was taken back included; seconds, ascending."""
    times: defaultdict[Author, list[float]] = defaultdict(list)
    for column, owners in _of_owners(accounts, sessions):
        rows = Correction.objects.filter(owners, created__gte=since).order_by("created")
        for author, created in rows.values_list(column, "created").iterator():
            times[author].append(created.timestamp())
    return {author: np.array(moments) for author, moments in times.items()}


@dataclass(frozen=True, slots=True)
class _Pool:
    """Labelled drawings to compare with, sorted by owner and label so that each owner's word on a label counts once."""

    signatures: Signatures
    pks: Labels
    owners: Labels  # a number per owner
    labels: Labels  # their positions in `LABELS`
    numbers: dict[Author, int]  # of the owners
    words: Labels  # a number per owner and label
    starts: Labels  # where each word's rows start
    heard: npt.NDArray[np.bool_]  # may speak against others


def _pool(waiting: Sequence[Waiting], outvoted: QuerySet[Correction]) -> _Pool:
    latest = Q(state=Correction.State.ACCEPTED) | Q(pk__in=outvoted.order_by("-id").values("pk")[:OUTVOTED])
    labelled = Correction.objects.filter(latest).order_by("-id")[: COMPARED_WITH + OUTVOTED]
    fields = ("pk", "digit", "account", "session", "submission__input", "state")
    heard = [True] * len(waiting)
    pks, digits, authors = [[getattr(row, name) for row in waiting] for name in ("pk", "digit", "author")]
    signed = [signatures(_inputs([row.input for row in waiting]))]
    batch: list[bytes] = []
    for pk, digit, account, session, image, state in labelled.values_list(*fields).iterator(FETCHED_AT_ONCE):
        pks.append(pk)
        digits.append(digit)
        authors.append(account or session)
        batch.append(image)
        heard.append(state == Correction.State.ACCEPTED)
        if len(batch) == FETCHED_AT_ONCE:
            signed.append(signatures(_inputs(batch)))
            batch = []
    signed.append(signatures(_inputs(batch)))
    numbers: dict[Author, int] = {}
    owners = np.array([numbers.setdefault(author, len(numbers)) for author in authors])
    labels = np.array([position(digit) for digit in digits])
    order = np.lexsort((labels, owners))
    words = (owners * len(LABELS) + labels)[order]
    return _Pool(
        signatures=np.concatenate(signed)[order],
        pks=np.array(pks)[order],
        owners=owners[order],
        labels=labels[order],
        numbers=numbers,
        words=words,
        starts=np.flatnonzero(np.diff(words, prepend=-1)),
        heard=np.array(heard)[order],
    )


def _votes(facts: Sequence[Facts], block: npt.NDArray[np.float32], pool: _Pool) -> list[Facts]:
    """Count owners and copies from similarities `(len(facts), pool)`."""
    owners = np.array([pool.numbers[fact.author] for fact in facts])
    labels = np.array([position(fact.digit) for fact in facts])
    pks = np.array([fact.pk for fact in facts])
    own = owners[:, None] == pool.owners
    near = (block >= NEAR_DUPLICATE) & pool.heard
    copies = ((block >= SAME_DRAWING) & pool.heard & own & (pool.pks < pks[:, None])).sum(axis=1)
    own_word = (near & own & (pool.labels != labels[:, None])).any(axis=1)
    words = np.logical_or.reduceat(near & ~own, pool.starts, axis=1)  # (n, one per owner and label)
    of_label = np.eye(len(LABELS), dtype=np.float32)[pool.labels[pool.starts]]
    votes = (words.astype(np.float32) @ of_label).astype(int)  # (n, labels)
    agreeing = votes[np.arange(len(facts)), labels]
    disagreeing = votes.sum(axis=1) - agreeing + own_word
    siding = agreeing.copy()
    for row in np.flatnonzero(disagreeing > agreeing):
        siding[row] = _siding(block[row], owners[row], labels[row], pool)
    return [
        replace(fact, copies=int(c), agreeing=int(a), disagreeing=int(d), siding=int(s))
        for fact, c, a, d, s in zip(facts, copies, agreeing, disagreeing, siding, strict=True)
    ]


def _siding(similar: npt.NDArray[np.float32], owner: int, label: int, pool: _Pool) -> int:
    """Count the other owners who say the same of a near-duplicate, or of a near-duplicate of what speaks against it.

    What an owner says of drawings in one manner is one voice, however many they are. So whoever contradicts it sides
    with all others who do, though each of them drew near another one of those drawings.

    Args:
        similar: to the pool's drawings, `(pool,)`.
        owner: whose the correction is, by its number in the pool.
        label: what it says.
        pool: the labelled drawings.
    """
    others = pool.owners != owner
    against = others & pool.heard & (pool.labels != label)
    voices = np.unique(pool.words[against & (similar >= NEAR_DUPLICATE)])
    of_them = np.flatnonzero(against & (similar >= SAME_MANNER) & np.isin(pool.words, voices))
    witnesses = of_them[np.argsort(similar[of_them])[-WITNESSES:]]
    same = np.flatnonzero(others & (pool.labels == label))
    near = similar[same] >= NEAR_DUPLICATE
    near |= has_neighbour(pool.signatures[same], pool.signatures[witnesses])
    return len(np.unique(pool.owners[same[near]]))


def _inputs(rows: Sequence[Any]) -> npt.NDArray[np.uint8]:
    return np.frombuffer(b"".join(rows), np.uint8).reshape(-1, INPUT_SIDE, INPUT_SIDE)
