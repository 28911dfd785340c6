"""The training in Django's admin: view, start and cancel runs, and view the optimizer comparison."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from training import runs
from training.models import OptimizerResult, TrainingRun
from web.admin.recognizer import ReadOnly
from web.admin.tables import gate_table, number_table
from web.numbers import percent


@admin.register(TrainingRun)
class TrainingRunAdmin(ReadOnly):
    """Admin of training runs. The button, the schedule, the command and the API create them; nobody edits them."""

    list_display = ("id", "state", "trigger", "phase", "bar", "reason", "version", "created", "duration")
    list_filter = ("state", "trigger", "created")
    list_per_page = 50
    show_full_result_count = False
    fieldsets = (
        (None, {"fields": ("state", "reason", "phase", "bar", "fit", "eta", "cancel_requested")}),
        ("Request", {"fields": ("trigger", "requested_by", "force", "created")}),
        ("Execution", {"fields": ("attempt", "worker", "started", "finished", "duration", "heartbeat")}),
        ("Result", {"fields": ("parent", "version", "gates", "counted", "timed", "fingerprint")}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[TrainingRun]:
        return TrainingRun.objects.with_versions().select_related("requested_by")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        return [
            path("start/", view(self.start), name="training_trainingrun_start"),
            path("<int:pk>/cancel/", view(self.cancel), name="training_trainingrun_cancel"),
            *super().get_urls(),
        ]

    def start(self, request: HttpRequest) -> HttpResponse:
        """Queue a run, as in the API."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        try:
            run = runs.request(TrainingRun.Trigger.BUTTON, by=request.user, force="force" in request.POST)
        except runs.LiveRunError as error:
            self.message_user(request, str(error), messages.ERROR)
        else:
            self.message_user(request, f"Training run {run.pk} is queued.", messages.SUCCESS)
        return HttpResponseRedirect(reverse("admin:training_trainingrun_changelist"))

    def cancel(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Cancel a run unless it has ended."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        run = get_object_or_404(TrainingRun, pk=pk)
        if not runs.cancel(run):
            self.message_user(request, f"Training run {pk} is over: it {runs.ENDED[run.state]}.", messages.ERROR)
        elif run.state == TrainingRun.State.CANCELLED:
            self.message_user(request, f"Training run {pk} was cancelled.", messages.SUCCESS)
        else:
            self.message_user(request, f"Training run {pk} stops within seconds.", messages.SUCCESS)
        return HttpResponseRedirect(reverse("admin:training_trainingrun_change", args=[pk]))

    @admin.display(description="progress", ordering="progress")
    def bar(self, run: TrainingRun) -> SafeString:
        return format_html('<progress max="1" value="{}"></progress> {}', run.progress, percent(run.progress, 0))

    @admin.display(description="learning")
    def fit(self, run: TrainingRun) -> str:
        if not run.epochs:
            return "—"
        losses = ", ".join("—" if loss is None else f"{loss:.4f}" for loss in run.losses)
        return f"epoch {run.epoch} of {run.epochs}, batch {run.batch}; loss of each epoch: {losses or '—'}"

    @admin.display(description="duration")
    def duration(self, run: TrainingRun) -> str:
        if run.started is None or run.finished is None:
            return "—"
        return f"{(run.finished - run.started).total_seconds():.0f} s"

    @admin.display(description="gates")
    def gates(self, run: TrainingRun) -> SafeString | str:
        return gate_table(run.version.gate_report) if run.version else "—"

    @admin.display(description="drawings")
    def counted(self, run: TrainingRun) -> SafeString | str:
        return number_table(run.counts)

    @admin.display(description="time and memory")
    def timed(self, run: TrainingRun) -> SafeString | str:
        return number_table({phase: run.timings[phase] for phase in TrainingRun.Phase if phase in run.timings})


@admin.register(OptimizerResult)
class OptimizerResultAdmin(ReadOnly):
    """Admin of the optimizer comparison, as `compare_optimizers` stored it."""

    list_display = ("name", "learning_rate", "epochs", "batch_size", "seed", "accuracy", "seconds", "created")
