"""The online job: read a drawing, keep it, and keep what people say of it. Views and admin both come through here."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser, User
from django.db import IntegrityError, transaction
from django.db.models import Exists, F, OuterRef, Q
from django.db.models.functions import Coalesce
from django.utils.timezone import now

from recognizer.engine import DigitModel, Reading, engine
from recognizer.evidence import NEWCOMER, REMEMBERED
from recognizer.metrics import CORRECTIONS, INFERENCE_SECONDS, READINGS
from recognizer.models import IMPORTED, REPLACED, Correction, OwnedQuerySet, PastDecision, Submission
from recognizer.owners import Owner
from recognizer.preprocessing import PREPROCESSING_VERSION, ModelInput
from recognizer.preprocessing.stored import json_size

ROW_BYTES = 350  # of a submission beside its input, ink and picture, its share of the indexes too, as measured
AT_ONCE = 500  # rows that one transaction adopts or deletes: others write in between
ADOPTED_AT_MOST = 20_000  # drawings, at one login; the next one takes the rest
LAST_TURN = 100  # of the review queue: whatever else somebody has waiting
UNDONE_WITHIN = timedelta(minutes=10)  # a reviewer's own decision, for training may have learned from it later


class AlreadyDecidedError(Exception):
    """A correction was accepted or rejected already, so nobody can change or decide it again."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """A drawing brought to the model's input, with the form of it that is kept: ink or a picture."""

    input: ModelInput
    ink: dict[str, Any] | None = None
    picture: bytes | None = None

    @property
    def stored_bytes(self) -> int:
        """About what it takes in the database."""
        ink = json_size(self.ink) if self.ink else 0
        return ROW_BYTES + self.input.nbytes + ink + len(self.picture or b"")


@dataclass(frozen=True, slots=True)
class Answer:
    """A reading together with the model that gave it."""

    reading: Reading
    model: DigitModel


def read(drawing: Drawing) -> Answer:
    """Read a drawing with the active model; stores nothing.

    Raises:
        ModelRefusedError: no model serves.
    """
    model = engine.model
    with INFERENCE_SECONDS.time():
        return Answer(model.read(drawing.input), model)


def store(drawing: Drawing, answer: Answer, owner: Owner) -> Submission:
    """Keep a drawing with what the model said of it."""
    reading = answer.reading
    READINGS.labels(reading.verdict, "yes").inc()
    return Submission.objects.create(
        account_id=owner.account,
        session=None if owner.account else owner.session,
        ink=drawing.ink,
        picture=drawing.picture,
        input=drawing.input.tobytes(),
        digit=reading.digit,
        confidence=reading.confidence,
        probabilities=[round(probability, 6) for probability in reading.probabilities],
        verdict=reading.verdict,
        model_version_id=answer.model.pk,
        preprocessing_version=PREPROCESSING_VERSION,
    )


def correct(submission: Submission, digit: int | None, author: Owner) -> tuple[Correction, bool]:
    """Keep what a person says a submission is; a pending earlier word is superseded, not overwritten.

    Staff who say otherwise than its owner review it: their word replaces the owner's, as `relabel` does.

    Returns:
        The correction that stands now, and whether it is the first one standing.

    Raises:
        AlreadyDecidedError: the earlier word has been accepted or rejected.
    """
    try:
        with transaction.atomic():
            Submission.objects.filter(pk=submission.pk).lock()
            overruled = _overruled(submission, digit, author)
            first = not _supersede(submission)
            said = Correction.objects.create(
                submission=submission,
                digit=digit,
                account_id=author.account,
                session=None if author.account else author.session,
                confidence=submission.confidence,
                turn=_take_turn(author, submission.confidence, confirms=digit == submission.digit),
                replaces=overruled,
            )
    except IntegrityError as error:  # a decided one still stands: the database allows one
        raise AlreadyDecidedError from error
    CORRECTIONS.labels("confirmed" if digit == submission.digit else "corrected").inc()
    return said, first


def withdraw(submission: Submission) -> bool:
    """Take back what was said of a submission; return whether there was anything.

    Raises:
        AlreadyDecidedError: it has been accepted or rejected.
    """
    if _supersede(submission):
        return True
    if submission.corrections.standing().exists():
        raise AlreadyDecidedError
    return False


def decide(correction: Correction, state: Correction.State, reviewer: AbstractBaseUser | AnonymousUser) -> None:
    """Accept or reject a pending correction; two reviewers at once cannot both.

    Raises:
        AlreadyDecidedError: somebody was first, or its author took it back.
    """
    changed = Correction.objects.filter(
        pk=correction.pk, state=Correction.State.PENDING, superseded__isnull=True
    ).update(state=state, decided=now(), decided_by_id=reviewer.pk)
    if not changed:
        raise AlreadyDecidedError
    correction.refresh_from_db(fields=["state", "decided", "decided_by"])


def relabel(correction: Correction, digit: int | None, reviewer: AbstractBaseUser | AnonymousUser) -> None:
    """Put a reviewer's own word in the place of a pending correction, and accept it; the same word just accepts it.

    Raises:
        AlreadyDecidedError: somebody was first, or its author took it back.
    """
    if correction.digit == digit:
        decide(correction, Correction.State.ACCEPTED, reviewer)
        return
    at = now()
    try:
        with transaction.atomic():
            Submission.objects.filter(pk=correction.submission_id).lock()
            if not Correction.objects.waiting().filter(pk=correction.pk).update(superseded=at):
                raise AlreadyDecidedError
            Correction.objects.create(
                submission_id=correction.submission_id,
                digit=digit,
                account_id=reviewer.pk,
                state=Correction.State.ACCEPTED,
                confidence=correction.confidence,
                created=at,
                decided=at,
                decided_by_id=reviewer.pk,
                replaces=correction,
            )
    except IntegrityError as error:  # its author said something else in between, or deleted the drawing
        raise AlreadyDecidedError from error


def undo_latest(reviewer: AbstractBaseUser | AnonymousUser) -> Correction | None:
    """Take a reviewer's own latest decision back, if it was taken within `UNDONE_WITHIN`.

    Returns:
        The correction that waits again: what its author said, where the reviewer's word had replaced it.
    """
    decided = Correction.objects.filter(decided_by_id=reviewer.pk, decided__gt=now() - UNDONE_WITHIN)
    decided = decided.exclude(triage=IMPORTED)
    with transaction.atomic():
        latest = decided.select_for_update().order_by("-decided", "-pk").first()
        if latest is None:
            return None
        if latest.replaces and latest.created == latest.decided:  # `relabel` said and decided it in one
            Correction.objects.filter(pk=latest.pk).delete()
            Correction.objects.filter(pk=latest.replaces.pk).update(superseded=None)
            return latest.replaces
        Correction.objects.filter(pk=latest.pk).update(state=Correction.State.PENDING, decided=None, decided_by=None)
        return latest


def adopt(session: UUID, account: int) -> tuple[int, bool]:
    """Make an anonymous owner's drawings an account's, with what was said of them.

    A drawing that has an account stays that account's. The corrections keep the anonymous id beside the account: what
    rules accepted of an anonymous owner goes on counting as such, or a login would make room for more.

    Returns:
        How many drawings are the account's now, and whether that was all of them.
    """
    PastDecision.objects.filter(session=session, account=None).update(account=account)
    anonymous = Submission.objects.filter(session=session, account=None)
    adopted = 0
    while adopted < ADOPTED_AT_MOST:
        pks = list(anonymous.order_by("pk").values_list("pk", flat=True)[:AT_ONCE])
        if not pks:
            return adopted, True
        with transaction.atomic():
            adopted += anonymous.filter(pk__in=pks).update(account=account, session=None)
            said = Correction.objects.filter(submission__in=pks, submission__account=account)
            said.filter(session=session, account=None).update(account=account)
    return adopted, not anonymous.exists()


def delete(drawing: Submission) -> None:
    """Delete a drawing for good, with all that was said of it."""
    _delete_now(Submission.objects.filter(pk=drawing.pk))


def delete_all(owner: Owner) -> int:
    """Delete what an owner drew until now, for good; return how many drawings that was."""
    return delete_drawings(Submission.objects.owned_by(owner))


def delete_old(at: datetime) -> int:
    """Delete the drawings that are older than `HDR_KEEP_DAYS`, if that is set, but for those that teach: the accepted.

    What is remembered of deleted ones goes after `REMEMBERED`, whatever is set.

    Returns:
        How many that were.
    """
    PastDecision.objects.filter(decided__lt=at - REMEMBERED).delete()
    if not settings.KEEP_DAYS:
        return 0
    accepted = Correction.objects.standing().filter(submission=OuterRef("pk"), state=Correction.State.ACCEPTED)
    old = Submission.objects.filter(created__lt=at - timedelta(days=settings.KEEP_DAYS))
    return delete_drawings(old.filter(~Exists(accepted)))


def delete_drawings(drawings: OwnedQuerySet) -> int:
    """Delete what is there now for good, a bounded number at a time, for others write in between; return how many."""
    newest = drawings.order_by("-pk").values_list("pk", flat=True).first()
    if newest is None:
        return 0
    deleted = 0
    while pks := list(drawings.filter(pk__lte=newest).order_by("pk").values_list("pk", flat=True)[:AT_ONCE]):
        deleted += _delete_now(drawings.filter(pk__in=pks))
    return deleted


def _delete_now(drawings: OwnedQuerySet) -> int:
    """Delete drawings in one transaction, and remember no more than that people agreed with their owners, or not."""
    by_people = Q(state=Correction.State.ACCEPTED, decided_by__isnull=False) & ~Q(triage=IMPORTED)
    moment = Coalesce("decided", "superseded")  # of what a reviewer replaced
    decided = by_people | Q(state=Correction.State.REJECTED, decided__isnull=False) | REPLACED
    with transaction.atomic():
        drawings.lock(to_delete=True)
        said = Correction.objects.filter(decided, submission__in=drawings.order_by().values("pk"))
        PastDecision.objects.bulk_create(
            PastDecision(account_id=account, session=session, rejected=state != Correction.State.ACCEPTED, decided=at)
            for account, session, state, at in said.values_list("account", "session", "state", moment)
        )
        return drawings.only("pk").delete()[1].get("recognizer.Submission", 0)


def _take_turn(author: Owner, confidence: float, *, confirms: bool) -> int:
    """Find the turn in the review queue of one more word, and let the less doubtful ones of its author come later.

    An author has one word in each turn, and one confirmation, until `LAST_TURN`. Who has had an account for a while is
    a turn ahead: another owner like them costs something.
    """
    whose = {"account": author.account} if author.account else {"session": author.session, "account": None}
    accounts = User.objects.filter(date_joined__lte=now() - NEWCOMER)
    known = author.account is not None and accounts.filter(pk=author.account).exists()
    waiting = Correction.objects.waiting().filter(**whose, turn__lt=LAST_TURN).order_by()
    rows = waiting.values_list("turn", "confidence", "pk", "digit", "submission__digit")
    taken = {turn: (doubt, pk) for turn, doubt, pk, said, answered in rows if (said == answered) == confirms}
    free = next(turn for turn in range(not known, LAST_TURN + 1) if turn not in taken)
    own = next((turn for turn in range(not known, free) if taken[turn][0] > confidence), free)
    if own < free:
        later = Correction.objects.waiting().filter(pk__in=[taken[turn][1] for turn in range(own, free)])
        # Without waiting: who has locked some of them may be waiting for others. Those stay, and two share a turn.
        locked = list(later.select_for_update(skip_locked=True).values_list("pk", flat=True))
        Correction.objects.filter(pk__in=locked).update(turn=F("turn") + 1)
    return own


def _overruled(submission: Submission, digit: int | None, author: Owner) -> Correction | None:
    """Find what somebody else says, if staff say otherwise."""
    earlier = submission.corrections.waiting().first() if author.is_staff else None
    return earlier if earlier and earlier.account_id != author.account and earlier.digit != digit else None


def _supersede(submission: Submission) -> int:
    pending = submission.corrections.standing().filter(state=Correction.State.PENDING)
    return pending.update(superseded=now())
