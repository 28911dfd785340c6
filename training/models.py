"""Models of the training: runs, the samples of each run, and the optimiser comparison."""

from typing import Self

from django.conf import settings
from django.db import models
from django.db.models import Case, Q, Value, When
from django.utils.timezone import now
from django.utils.translation import gettext_lazy as _

from recognizer.models import ModelVersion, Submission


class RunQuerySet(models.QuerySet["TrainingRun"]):
    """Queries on training runs."""

    def live(self) -> Self:
        """Return queued and running runs; the database allows only one."""
        return self.filter(state__in=TrainingRun.LIVE)

    def learned(self) -> Self:
        """Return runs that made a candidate, promoted or not."""
        return self.filter(state=TrainingRun.State.SUCCEEDED)

    def with_versions(self) -> Self:
        """Also fetch the version that each run started from and the one it made."""
        return self.select_related("parent", "version")


class TrainingRun(models.Model):
    """One execution of the loop: dataset → fine-tune → gates → promotion.

    queued ─► running ─► succeeded (its candidate was promoted, or rejected by a gate: see the version)
       │         ├─────► skipped (nothing to learn, or nothing new)
       │         ├─────► failed (with its reason)
       │         ├─────► cancelled
       │         └─────► queued (its worker died; tried again, a bounded number of times)
       ├───────────────► failed (no worker took it)
       └───────────────► cancelled
    """

    class State(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        SUCCEEDED = "succeeded"
        SKIPPED = "skipped"
        FAILED = "failed"
        CANCELLED = "cancelled"

    LIVE = (State.QUEUED, State.RUNNING)

    class Trigger(models.TextChoices):
        SCHEDULE = "schedule", _("the schedule")
        CORRECTIONS = "corrections", _("enough new corrections")
        COMMAND = "command", _("the command line")
        API = "api", _("the API")
        BUTTON = "button", _("the button")

    class Phase(models.TextChoices):
        DATA = "data", _("collecting drawings")
        START = "start", _("loading the network")
        FIT = "fit", _("learning")
        EXPORT = "export", _("exporting")
        GATES = "gates", _("evaluating")
        PROMOTE = "promote", _("promoting")

    state = models.CharField(max_length=10, choices=State, default=State.QUEUED, db_index=True)
    trigger = models.CharField(max_length=12, choices=Trigger)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="training_runs"
    )
    force = models.BooleanField(default=False, help_text="Run even if nothing changed.")
    created = models.DateTimeField(default=now)
    sent = models.DateTimeField(default=now, help_text="When a worker was last asked to take it.")
    started = models.DateTimeField(null=True, blank=True)
    finished = models.DateTimeField(null=True, blank=True)
    heartbeat = models.DateTimeField(null=True, blank=True, help_text="When its worker last sent a heartbeat.")
    attempt = models.PositiveSmallIntegerField(default=0)
    worker = models.CharField(max_length=100, blank=True)
    cancel_requested = models.DateTimeField(null=True, blank=True)

    phase = models.CharField(max_length=10, choices=Phase, blank=True)
    progress = models.FloatField(default=0, help_text="0 to 1, of the whole run.")
    epoch = models.PositiveSmallIntegerField(default=0)
    epochs = models.PositiveSmallIntegerField(default=0)
    batch = models.PositiveIntegerField(default=0)
    loss = models.FloatField(null=True, blank=True)
    losses = models.JSONField(default=list, blank=True, help_text="The mean loss of each epoch.")
    eta = models.FloatField(null=True, blank=True, help_text="Estimated seconds left.")
    reason = models.CharField(max_length=500, blank=True, help_text="Why it ended, in one sentence.")

    fingerprint = models.CharField(max_length=64, blank=True, help_text="Of labels, replay and recipe; sha256.")
    counts = models.JSONField(
        default=dict, blank=True, help_text="How many drawings were used for what, and how many were left out."
    )
    timings = models.JSONField(default=dict, blank=True, help_text="Seconds and peak memory of each phase.")
    parent = models.ForeignKey(ModelVersion, models.SET_NULL, null=True, blank=True, related_name="runs_from")
    version = models.OneToOneField(ModelVersion, models.SET_NULL, null=True, blank=True, related_name="run")

    objects = RunQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(Case(When(state__in=("queued", "running"), then=Value(1))), name="one_live_run"),
            models.CheckConstraint(condition=Q(progress__gte=0, progress__lte=1), name="run_progress_0_to_1"),
        ]

    def __str__(self) -> str:
        return f"training run {self.pk}"

    @property
    def live(self) -> bool:
        """Whether the run is queued or running."""
        return self.state in self.LIVE


class TrainingSample(models.Model):
    """A submission used by a run, and its part of the dataset. Deleted with the submission."""

    class Part(models.TextChoices):
        TRAIN = "train"
        VALIDATION = "validation"
        HOLDOUT = "holdout"

    run = models.ForeignKey(TrainingRun, models.CASCADE, related_name="samples")
    submission = models.ForeignKey(Submission, models.CASCADE, related_name="used_in")
    part = models.CharField(max_length=10, choices=Part)
    digit = models.PositiveSmallIntegerField("label", null=True, blank=True, help_text="Empty: not a digit.")
    weight = models.FloatField()

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["run", "submission"], name="one_use_per_run")]

    def __str__(self) -> str:
        return f"{self.submission} in {self.run}"


class OptimizerResult(models.Model):
    """The result of one optimiser in the comparison: the report's network, trained on MNIST."""

    name = models.CharField(max_length=40)
    learning_rate = models.FloatField()
    epochs = models.PositiveSmallIntegerField()
    batch_size = models.PositiveSmallIntegerField()
    seed = models.PositiveIntegerField()
    accuracy = models.FloatField(help_text="On MNIST's test set, after the last epoch.")
    history = models.JSONField(help_text="Per epoch: loss, test accuracy.")
    seconds = models.FloatField()
    created = models.DateTimeField(default=now)

    class Meta:
        ordering = ["-accuracy"]
        constraints = [
            models.UniqueConstraint(
                fields=["name", "learning_rate", "epochs", "batch_size", "seed"], name="one_result_per_setting"
            )
        ]

    def __str__(self) -> str:
        return f"{self.name} at {self.learning_rate}"
