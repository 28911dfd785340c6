"""Services for submissions and corrections: read, store, correct, decide, delete. Used by views and the admin."""

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

ROW_BYTES = 350  # per submission besides input, ink and picture, with its share of the indexes, as measured
AT_ONCE = 500  # rows adopted or deleted per transaction, so that other writers get a turn
ADOPTED_AT_MOST = 20_000  # drawings per login; the next login takes the rest
LAST_TURN = 100  # of the review queue: all further corrections of an author share it
UNDONE_WITHIN = timedelta(minutes=10)  # for undoing a decision: later, training may have used it


class AlreadyDecidedError(Exception):
    """A correction has already been accepted or rejected, so it cannot be changed or decided again."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """A preprocessed drawing: the model input, and the ink or picture that is stored with it."""

    input: ModelInput
    ink: dict[str, Any] | None = None
    picture: bytes | None = None

    @property
    def stored_bytes(self) -> int:
        """Approximate size in the database, bytes."""
        ink = json_size(self.ink) if self.ink else 0
        return ROW_BYTES + self.input.nbytes + ink + len(self.picture or b"")


@dataclass(frozen=True, slots=True)
class Answer:
    """A reading and the model that gave it."""

    reading: Reading
    model: DigitModel


def read(drawing: Drawing) -> Answer:
    """Read a drawing with the active model without storing it.

    Raises:
        ModelRefusedError: no model can serve.
    """
    model = engine.model
    with INFERENCE_SECONDS.time():
        return Answer(model.read(drawing.input), model)


def store(drawing: Drawing, answer: Answer, owner: Owner) -> Submission:
    """Store a drawing with the model's answer."""
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
    """Store a person's label for a submission; an earlier pending correction is superseded, not overwritten.

    If staff contradict the owner, this is a review: their correction replaces the owner's, as in `relabel`.

    Returns:
        The correction that stands now, and whether there was none standing before.

    Raises:
        AlreadyDecidedError: the earlier correction has been accepted or rejected.
    """
    try:
        with transaction.atomic():
            Submission.objects.filter(pk=submission.pk).lock()
            overruled = _overruled(submission, digit, author)
            first = not _supersede(submission)
            correction = Correction.objects.create(
                submission=submission,
                digit=digit,
                account_id=author.account,
                session=None if author.account else author.session,
                confidence=submission.confidence,
                turn=_assign_turn(author, submission.confidence, confirms=digit == submission.digit),
                replaces=overruled,
            )
    except IntegrityError as error:  # a decided one still stands, and the database allows only one
        raise AlreadyDecidedError from error
    CORRECTIONS.labels("confirmed" if digit == submission.digit else "corrected").inc()
    return correction, first


def withdraw(submission: Submission) -> bool:
    """Withdraw the pending correction of a submission; return whether there was one.

    Raises:
        AlreadyDecidedError: the correction has been accepted or rejected.
    """
    if _supersede(submission):
        return True
    if submission.corrections.standing().exists():
        raise AlreadyDecidedError
    return False


def decide(correction: Correction, state: Correction.State, reviewer: AbstractBaseUser | AnonymousUser) -> None:
    """Accept or reject a pending correction; of two concurrent reviewers only one succeeds.

    Raises:
        AlreadyDecidedError: somebody else decided first, or the author withdrew it.
    """
    changed = Correction.objects.filter(
        pk=correction.pk, state=Correction.State.PENDING, superseded__isnull=True
    ).update(state=state, decided=now(), decided_by_id=reviewer.pk)
    if not changed:
        raise AlreadyDecidedError
    correction.refresh_from_db(fields=["state", "decided", "decided_by"])


def relabel(correction: Correction, digit: int | None, reviewer: AbstractBaseUser | AnonymousUser) -> None:
    """Replace a pending correction with a reviewer's label and accept that; the same label just accepts it.

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
    except IntegrityError as error:  # its author changed it in the meantime, or deleted the drawing
        raise AlreadyDecidedError from error


def undo_latest(reviewer: AbstractBaseUser | AnonymousUser) -> Correction | None:
    """Undo a reviewer's latest decision if it is not older than `UNDONE_WITHIN`.

    Returns:
        The correction that is pending again (the author's, if the reviewer had relabelled it), or None.
    """
    decided = Correction.objects.filter(decided_by_id=reviewer.pk, decided__gt=now() - UNDONE_WITHIN)
    decided = decided.exclude(triage=IMPORTED)
    with transaction.atomic():
        latest = decided.select_for_update().order_by("-decided", "-pk").first()
        if latest is None:
            return None
        if latest.replaces and latest.created == latest.decided:  # `relabel` created and accepted it in one step
            Correction.objects.filter(pk=latest.pk).delete()
            Correction.objects.filter(pk=latest.replaces.pk).update(superseded=None)
            return latest.replaces
        Correction.objects.filter(pk=latest.pk).update(state=Correction.State.PENDING, decided=None, decided_by=None)
        return latest


def adopt(session: UUID, account: int) -> tuple[int, bool]:
    """Move an anonymous owner's drawings and corrections into an account.

    A drawing that already has an account is not moved. Corrections keep the session id besides the account, so that
    those that rules accepted still count towards the anonymous cap; otherwise each login would free some of it.

    Returns:
        The number of drawings moved, and whether none are left.
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
            corrections = Correction.objects.filter(submission__in=pks, submission__account=account)
            corrections.filter(session=session, account=None).update(account=account)
    return adopted, not anonymous.exists()


def delete(drawing: Submission) -> None:
    """Delete a drawing permanently, with its corrections."""
    _delete_now(Submission.objects.filter(pk=drawing.pk))


def delete_all(owner: Owner) -> int:
    """Permanently delete all current drawings of an owner; return their number."""
    return delete_drawings(Submission.objects.owned_by(owner))


def delete_old(at: datetime) -> int:
    """Delete drawings older than `HDR_KEEP_DAYS`, if that is set, except those with an accepted correction.

    Past decisions about deleted drawings are always deleted after `REMEMBERED`.

    Returns:
        The number of deleted drawings.
    """
    PastDecision.objects.filter(decided__lt=at - REMEMBERED).delete()
    if not settings.KEEP_DAYS:
        return 0
    accepted = Correction.objects.standing().filter(submission=OuterRef("pk"), state=Correction.State.ACCEPTED)
    old = Submission.objects.filter(created__lt=at - timedelta(days=settings.KEEP_DAYS))
    return delete_drawings(old.filter(~Exists(accepted)))


def delete_drawings(drawings: OwnedQuerySet) -> int:
    """Permanently delete the current drawings in batches, so that other writers get a turn; return their number."""
    newest = drawings.order_by("-pk").values_list("pk", flat=True).first()
    if newest is None:
        return 0
    deleted = 0
    while pks := list(drawings.filter(pk__lte=newest).order_by("pk").values_list("pk", flat=True)[:AT_ONCE]):
        deleted += _delete_now(drawings.filter(pk__in=pks))
    return deleted


def _delete_now(drawings: OwnedQuerySet) -> int:
    """Delete drawings in one transaction; keep only whether reviewers accepted their owners' corrections."""
    by_people = Q(state=Correction.State.ACCEPTED, decided_by__isnull=False) & ~Q(triage=IMPORTED)
    moment = Coalesce("decided", "superseded")  # superseded: a reviewer replaced it
    decided = by_people | Q(state=Correction.State.REJECTED, decided__isnull=False) | REPLACED
    with transaction.atomic():
        drawings.lock(to_delete=True)
        corrections = Correction.objects.filter(decided, submission__in=drawings.order_by().values("pk"))
        PastDecision.objects.bulk_create(
            PastDecision(account_id=account, session=session, rejected=state != Correction.State.ACCEPTED, decided=at)
            for account, session, state, at in corrections.values_list("account", "session", "state", moment)
        )
        return drawings.only("pk").delete()[1].get("recognizer.Submission", 0)


def _assign_turn(author: Owner, confidence: float, *, confirms: bool) -> int:
    """Return the turn of a new correction in the review queue, and move the author's less doubtful ones back by one.

    The queue is a round robin over authors: each has one correction and one confirmation per turn, until `LAST_TURN`.
    Accounts older than `NEWCOMER` start one turn earlier, because they cannot be created at will.
    """
    whose = {"account": author.account} if author.account else {"session": author.session, "account": None}
    accounts = User.objects.filter(date_joined__lte=now() - NEWCOMER)
    known = author.account is not None and accounts.filter(pk=author.account).exists()
    waiting = Correction.objects.waiting().filter(**whose, turn__lt=LAST_TURN).order_by()
    rows = waiting.values_list("turn", "confidence", "pk", "digit", "submission__digit")
    taken = {turn: (doubt, pk) for turn, doubt, pk, label, answered in rows if (label == answered) == confirms}
    free = next(turn for turn in range(not known, LAST_TURN + 1) if turn not in taken)
    own = next((turn for turn in range(not known, free) if taken[turn][0] > confidence), free)
    if own < free:
        later = Correction.objects.waiting().filter(pk__in=[taken[turn][1] for turn in range(own, free)])
        # Skip locked rows: waiting for them could deadlock. They keep their turn, so two rows may share one.
        locked = list(later.select_for_update(skip_locked=True).values_list("pk", flat=True))
        Correction.objects.filter(pk__in=locked).update(turn=F("turn") + 1)
    return own


def _overruled(submission: Submission, digit: int | None, author: Owner) -> Correction | None:
    """Return the pending correction of somebody else that a member of staff contradicts, if any."""
    earlier = submission.corrections.waiting().first() if author.is_staff else None
    return earlier if earlier and earlier.account_id != author.account and earlier.digit != digit else None


def _supersede(submission: Submission) -> int:
    pending = submission.corrections.standing().filter(state=Correction.State.PENDING)
    return pending.update(superseded=now())
