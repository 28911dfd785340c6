"""Database models: submissions, corrections, model versions, statistics and the audit log.

A submission never changes. A correction is never overwritten: a new one supersedes the earlier row.
"""

from typing import Any, NamedTuple, Self

from django.conf import settings
from django.db import models, transaction
from django.db.models import Q
from django.db.models.functions import Cast
from django.utils.timezone import now

from recognizer import labels
from recognizer.owners import Owner


class ModelVersion(models.Model):
    """An entry in the model registry.

    candidate ─► active ─► retired ─► active (rollback) …
        └─► rejected (failed its gates) ─► active (by hand)
    """

    class State(models.TextChoices):
        CANDIDATE = "candidate"
        ACTIVE = "active"
        RETIRED = "retired"
        REJECTED = "rejected"

    version = models.PositiveIntegerField(unique=True)
    state = models.CharField(max_length=10, choices=State, default=State.CANDIDATE)
    parent = models.ForeignKey("self", models.PROTECT, null=True, blank=True, related_name="children")
    preprocessing_version = models.PositiveSmallIntegerField()
    thresholds = models.JSONField(help_text="Which answers are called sure, unsure and not a digit.")
    metrics = models.JSONField(default=dict)
    gate_report = models.JSONField(null=True, blank=True)
    lineage = models.JSONField(default=dict, blank=True, help_text="The run that made it, and what it learned from.")
    notes = models.CharField(max_length=200, blank=True)
    created = models.DateTimeField(default=now)
    activated = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-version"]
        constraints = [
            models.UniqueConstraint(fields=["state"], condition=Q(state="active"), name="one_active_version"),
        ]

    def __str__(self) -> str:
        return f"version {self.version}"


class ModelFile(models.Model):
    """The bytes of a version, in a table of their own so that no query loads them by accident."""

    class Kind(models.TextChoices):
        ARTIFACT = "tflite"
        CHECKPOINT = "keras"

    version = models.ForeignKey(ModelVersion, models.CASCADE, related_name="files")
    kind = models.CharField(max_length=10, choices=Kind)
    sha256 = models.CharField(max_length=64)
    size = models.PositiveIntegerField()  # bytes
    content = models.BinaryField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["version", "kind"], name="one_file_of_a_kind")]

    def __str__(self) -> str:
        return f"{self.version} ({self.kind})"


class Promotion(models.Model):
    """A change of the active version. The newest row names the serving version."""

    class Cause(models.TextChoices):
        BUNDLED = "bundled", "bundled model"
        GATES = "gates", "passed its gates"
        HAND = "hand", "by hand"
        ROLLBACK = "rollback", "automatic rollback"

    version = models.ForeignKey(ModelVersion, models.CASCADE, related_name="promotions")
    previous = models.ForeignKey(ModelVersion, models.CASCADE, null=True, blank=True, related_name="successions")
    cause = models.CharField(max_length=10, choices=Cause)
    reason = models.CharField(max_length=300, blank=True)
    doubt = models.CharField(
        max_length=300, blank=True, db_default="", help_text="Evidence against it, for staff to decide."
    )
    by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="promotions")
    created = models.DateTimeField(default=now)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.version}, {self.get_cause_display()}"


class Verdict(models.TextChoices):
    """How sure the model is of its answer."""

    SURE = "sure"
    UNSURE = "unsure"
    NOT_A_DIGIT = "not_a_digit"


_REPORTS = ("thresholds", "metrics", "gate_report", "lineage")
LARGE = ("ink", "picture", *(f"model_version__{name}" for name in _REPORTS))
"""Large columns that lists of submissions do not fetch."""


def ink_text() -> Cast:
    """Return an expression for `ink` as JSON text: parsed into objects, points take ten times the memory."""
    return Cast("ink", models.TextField())


_IS_LABEL = Q(digit__isnull=True) | Q(digit__lte=labels.DIGITS[-1])


class OwnedQuerySet(models.QuerySet["Submission"]):
    """Queries on submissions."""

    def visible_to(self, owner: Owner) -> Self:
        """Return the submissions that an owner may see: all for staff, else their own."""
        return self if owner.is_staff else self.owned_by(owner)

    def owned_by(self, owner: Owner) -> Self:
        """Return the owner's own submissions, for staff too."""
        if owner.account is not None:
            return self.filter(account_id=owner.account)
        if owner.session is not None:
            return self.filter(session=owner.session)
        return self.none()

    def lock(self, *, to_delete: bool = False) -> set[int]:
        """Lock the rows until the transaction ends, so that nobody else deletes them, and return their primary keys.

        Code that deletes drawings, or adds rows that refer to one, locks them first, so that neither sees the other's
        work half done. Rows are locked in the order of their keys, and before any row that refers to them, to avoid
        deadlocks. SQLite has a single writer and does not need this.
        """
        rows = Submission.objects.filter(pk__in=self.order_by().values("pk")).order_by("pk")
        return set(rows.select_for_update(no_key=not to_delete).values_list("pk", flat=True))

    def delete(self) -> tuple[int, dict[str, int]]:
        """Delete the rows with everything that refers to them."""
        with transaction.atomic():
            self.lock(to_delete=True)
            return super().delete()

    delete.queryset_only = True  # type: ignore[attr-defined]  # as in Django: a manager must not delete all rows

    def with_labels(self) -> Self:
        """Also fetch the version's number and the corrections, but neither ink nor picture."""
        return self.select_related("model_version").defer(*LARGE).prefetch_related("corrections")


class Submission(models.Model):
    """A drawn or uploaded digit with the model's answer."""

    created = models.DateTimeField(default=now, db_index=True)
    account = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, null=True, blank=True, related_name="submissions", db_index=False
    )
    session = models.UUIDField(null=True, blank=True, help_text="The anonymous owner's random id.")
    ink = models.JSONField(null=True, blank=True, help_text="Strokes as points, with the surface's width and height.")
    picture = models.BinaryField(
        null=True, blank=True, help_text="The upload, re-encoded, bounded and without metadata."
    )
    input = models.BinaryField(help_text="The 28×28 grey pixels that the model saw, row by row.")
    digit = models.PositiveSmallIntegerField("digit answered", null=True, blank=True)
    confidence = models.FloatField()
    probabilities = models.JSONField()
    verdict = models.CharField(max_length=12, choices=Verdict)
    model_version = models.ForeignKey(ModelVersion, models.PROTECT, related_name="submissions")
    preprocessing_version = models.PositiveSmallIntegerField()

    objects = OwnedQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        verbose_name = "drawing"  # on pages and in the admin; a submission in code and in the API
        indexes = [  # with the id, else PostgreSQL may scan everybody's drawings for an owner's last one
            models.Index(fields=["account", "id"], name="submissions_of_account"),
            models.Index(fields=["session", "id"], name="submissions_of_session"),
        ]
        constraints = [
            models.CheckConstraint(condition=_IS_LABEL, name="submission_digit_0_to_9"),
            models.CheckConstraint(
                condition=Q(account__isnull=True) | Q(session__isnull=True), name="submission_one_owner"
            ),
        ]

    def __str__(self) -> str:
        return f"drawing {self.pk}"

    def delete(self, *arguments: Any, **options: Any) -> tuple[int, dict[str, int]]:
        """Delete the submission with everything that refers to it."""
        with transaction.atomic():
            Submission.objects.filter(pk=self.pk).lock(to_delete=True)
            return super().delete(*arguments, **options)

    @property
    def correction(self) -> "Correction | None":
        """The standing correction, or None."""
        return next((correction for correction in self.corrections.all() if correction.superseded is None), None)


IMPORTED = "import"
"""Value of `Correction.triage` for imported labels."""


REPLACED = Q(replaced_by__state="accepted")
"""Condition on corrections: a reviewer replaced it, which counts as a rejection. An undone relabel does not match."""


class Place(NamedTuple):
    """Sort key of a correction in the review queue."""

    turn: int
    confidence: float
    pk: int


class CorrectionQuerySet(models.QuerySet["Correction"]):
    """Queries on corrections."""

    def standing(self) -> Self:
        """Return corrections that are not superseded."""
        return self.filter(superseded__isnull=True)

    def standing_or_replaced(self) -> Self:
        """Return corrections that are not superseded, and those that a reviewer replaced."""
        return self.filter(Q(superseded__isnull=True) | REPLACED)

    def waiting(self) -> Self:
        """Return corrections that are pending."""
        return self.standing().filter(state=Correction.State.PENDING)

    def with_submissions(self) -> Self:
        """Also fetch the submissions with their version's number, but neither ink nor picture."""
        return self.select_related("submission__model_version").defer(*(f"submission__{name}" for name in LARGE))

    def in_queue_order(self) -> Self:
        """Order the review queue: a round robin over authors, in each turn the least confident answers first."""
        return self.order_by("turn", "confidence", "pk")

    def beyond(self, place: Place, *, backwards: bool = False) -> Self:
        """Return the part of the queue after a place in it, or before."""
        op = "lt" if backwards else "gt"
        turn, confidence, pk = place
        later_in_turn = Q(**{f"confidence__{op}": confidence}) | Q(**{"confidence": confidence, f"pk__{op}": pk})
        # The last condition is redundant, but lets the database start there in its index.
        return self.filter(Q(**{f"turn__{op}": turn}) | (Q(turn=turn) & later_in_turn), **{f"turn__{op}e": turn})


class Correction(models.Model):
    """A person's label for a submission: a digit, or None for "not a digit". The predicted label is a confirmation.

    pending ─► accepted
        └────► rejected
    An admin decides, or a rule (`triage`) accepts. A pending correction is superseded when its author changes or
    withdraws it, or a reviewer replaces it. A decided one is final, unless its reviewer undoes the decision soon after.
    """

    class State(models.TextChoices):
        PENDING = "pending"
        ACCEPTED = "accepted"
        REJECTED = "rejected"

    submission = models.ForeignKey(Submission, models.CASCADE, verbose_name="drawing", related_name="corrections")
    digit = models.PositiveSmallIntegerField("digit said", null=True, blank=True, help_text="Empty: not a digit.")
    state = models.CharField(max_length=10, choices=State, default=State.PENDING, db_index=True)
    account = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="corrections", db_index=False
    )
    session = models.UUIDField(null=True, blank=True)
    created = models.DateTimeField(default=now)
    superseded = models.DateTimeField(null=True, blank=True)
    triage = models.CharField(max_length=40, blank=True, help_text="The rule that accepted it or holds it for review.")
    confidence = models.FloatField(default=0, help_text="The drawing's, copied to order the review queue.")
    turn = models.PositiveSmallIntegerField(default=1, db_default=1, help_text="Its author's turn in the review queue.")
    claimed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="claims"
    )
    claimed_until = models.DateTimeField(null=True, blank=True, help_text="Hidden from other reviewers until then.")
    decided = models.DateTimeField(null=True, blank=True)
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="decisions", db_index=False
    )
    replaces = models.OneToOneField(
        "self",
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="replaced_by",
        help_text="What its author said, if a reviewer relabelled it.",
    )

    objects = CorrectionQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["submission"], condition=Q(superseded__isnull=True), name="one_standing_correction"
            ),
            models.CheckConstraint(condition=_IS_LABEL, name="correction_digit_0_to_9"),
            models.CheckConstraint(
                condition=Q(state="pending") | Q(superseded__isnull=True), name="decided_correction_stands"
            ),
        ]
        indexes = [
            models.Index(
                fields=["state", "turn", "confidence", "id"],
                condition=Q(superseded__isnull=True),
                name="review_in_turns",
            ),
            models.Index(
                fields=["turn", "confidence", "id"], condition=Q(superseded__isnull=True), name="said_in_turns"
            ),
            models.Index(fields=["account", "state", "superseded", "turn"], name="corrections_of_account"),
            models.Index(fields=["session", "state", "superseded", "turn"], name="corrections_of_session"),
            models.Index(fields=["decided_by", "decided"], name="decisions_of_reviewer"),
        ]

    def __str__(self) -> str:
        return f"{self.submission}: {labels.word(self.digit)}"

    @property
    def place(self) -> Place:
        return Place(self.turn, self.confidence, self.pk)

    @property
    def confirms(self) -> bool:
        """Whether the label is the model's answer."""
        return self.digit == self.submission.digit


class PastDecision(models.Model):
    """A decision on a correction whose drawing was deleted: accepted or rejected, without drawing or label.

    Without it, owners could clear their record by deleting rejected drawings. It is deleted once it no longer counts.
    """

    account = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, null=True, related_name="past_decisions")
    session = models.UUIDField(null=True, db_index=True)
    rejected = models.BooleanField()
    decided = models.DateTimeField()

    def __str__(self) -> str:
        return "rejected" if self.rejected else "accepted"


class AuditEntry(models.Model):
    """A change or a data export by staff. It is kept when the account is deleted."""

    LONGEST_METHOD, LONGEST_PATH = 10, 200

    created = models.DateTimeField(default=now)
    name = models.CharField(max_length=150, help_text="The account's name then.")
    method = models.CharField(max_length=LONGEST_METHOD)
    path = models.CharField(max_length=LONGEST_PATH)
    fields = models.JSONField(default=dict, help_text="The form's: which rows, and what to do with them.")
    status = models.PositiveSmallIntegerField(help_text="Of the response.")
    request_id = models.CharField(max_length=64, help_text="The same as in the log and in the answer.")

    class Meta:
        ordering = ["-id"]
        verbose_name_plural = "audit entries"

    def __str__(self) -> str:
        return f"{self.name}: {self.method} {self.path}: {self.status}"


class CountedDay(models.Model):
    """Statistics of one day in UTC: counts that cannot be traced back to a drawing.

    `recognizer/counting.py` replaces a day as a whole; nothing else writes to this table.
    """

    day = models.DateField(primary_key=True)
    counted = models.DateTimeField(help_text="When the pass that counted it began.")
    stored = models.PositiveIntegerField(help_text="Drawings of that day, imported ones included.")
    last = models.BigIntegerField(default=0, help_text="The newest drawing counted.")
    confidence = models.JSONField(default=list, help_text="Drawings by bin of confidence.")
    ink = models.JSONField(default=list, help_text="Drawings by bin of mean ink.")
    pairs = models.JSONField(default=list, help_text="Answer, label, count; null: not a digit.")

    class Meta:
        ordering = ["-day"]

    def __str__(self) -> str:
        return f"{self.day}: {self.stored} drawings"


class DailyCount(models.Model):
    """Counts of one day's drawings by version, answer, verdict and kind, with their corrections."""

    class Kind(models.TextChoices):
        INK = "ink"
        PICTURE = "picture"

    day = models.ForeignKey(CountedDay, models.CASCADE, related_name="counts")
    model_version = models.ForeignKey(ModelVersion, models.CASCADE, related_name="daily_counts")
    digit = models.PositiveSmallIntegerField("digit answered", null=True, blank=True)
    verdict = models.CharField(max_length=12, choices=Verdict)
    kind = models.CharField(max_length=8, choices=Kind)
    drawings = models.PositiveIntegerField()
    confidence = models.FloatField(help_text="Sum over the drawings.")
    ink = models.FloatField(help_text="Sum over the drawings of their mean ink, 0 to 1.")
    confirmed = models.PositiveIntegerField()
    corrected = models.PositiveIntegerField()
    rejected = models.PositiveIntegerField(help_text="Corrections and confirmations that an admin rejected.")

    class Meta:
        constraints = [
            models.CheckConstraint(condition=_IS_LABEL, name="count_digit_0_to_9"),
        ]

    def __str__(self) -> str:
        return f"{self.day_id}: {self.drawings}"
