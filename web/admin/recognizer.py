"""The recognizer in Django's admin: submissions, corrections, versions and the audit trail, with the API's services."""

from collections.abc import Iterable
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin import ModelAdmin, SimpleListFilter, TabularInline
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.models import User
from django.core.exceptions import BadRequest
from django.db.models import F, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from recognizer import labels, registry, submissions, triage
from recognizer.activation import activate
from recognizer.engine import ModelRefusedError, engine
from recognizer.explanation import explain
from recognizer.models import AuditEntry, Correction, ModelVersion, Promotion, Submission
from recognizer.owners import Owner
from recognizer.parsing import parse_row_number
from web.admin.tables import gate_table, json_block, number_table, readable
from web.api.presentation import heat_data_url, png_data_url, stored_input
from web.numbers import decimal, percent

admin.site.site_header = admin.site.site_title = "Handwritten Digit Recognition"
admin.site.index_title = "Drawings, corrections and models"
admin.site.enable_nav_sidebar = False  # the review list and the gate reports need its room


class ReadOnly(ModelAdmin):
    """Admin of rows that are history: they are created elsewhere, and nobody edits them."""

    def has_add_permission(self, request: HttpRequest, *args: Any) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def response_action(self, request: HttpRequest, queryset: QuerySet[Any], *args: Any, **options: Any) -> Any:
        """Run the action on the selected rows.

        Raises:
            BadRequest: a selected value is not a row number.
        """
        if None in map(parse_row_number, request.POST.getlist(ACTION_CHECKBOX_NAME)):
            raise BadRequest("A selected row has an invalid number.")
        return super().response_action(request, queryset, *args, **options)


def thumbnail(submission: Submission, side: int) -> SafeString:
    """Return an `img` tag with the 28×28 input, `side` CSS pixels wide."""
    url = png_data_url(stored_input(submission))
    return format_html('<img src="{}" width="{}" height="{}" alt="drawing {}">', url, side, side, submission.pk)


def owner_name(row: Submission | Correction) -> str:
    """Return the account's name, or the first 8 characters of the anonymous visitor's id."""
    if row.account:
        return str(row.account)
    return f"visitor {str(row.session)[:8]}" if row.session else "—"


Deletion = tuple[list[Any], dict[str, int], set[str], list[Any]]
"""What Django's confirmation page for a deletion shows: lines, counts, missing permissions, protected objects."""


def deletion_of(drawings: QuerySet[Submission]) -> Deletion:
    """Count the drawings and the corrections that are deleted with them."""
    said = Correction.objects.filter(submission__in=drawings.order_by().values("pk")).order_by().count()
    counts = {"drawings": drawings.order_by().count(), "corrections": said}
    lines = [f"{decimal(count)} {name if count > 1 else name[:-1]}" for name, count in counts.items() if count]
    return lines, counts, set(), []


admin.site.unregister(User)


@admin.register(User)
class AccountAdmin(UserAdmin):
    """Admin of accounts. An account is deleted with its drawings, which are counted rather than listed: there may be
    very many.
    """

    def get_deleted_objects(self, objs: Iterable[Any], request: HttpRequest) -> Deletion:
        """Count the drawings and corrections that are deleted with the accounts."""
        users = list(objs)
        lines, counts, _, _ = deletion_of(Submission.objects.filter(account__in=[user.pk for user in users]))
        lacking = set() if request.user.has_perm("recognizer.delete_submission") else {"drawing"}
        return [*map(str, users), *lines], {"users": len(users), **counts}, lacking, []

    def delete_model(self, request: HttpRequest, obj: User) -> None:
        submissions.delete_all(Owner(account=obj.pk))
        obj.delete()

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        for user in queryset:
            self.delete_model(request, user)


class DigitFilter(SimpleListFilter):
    """Filter by digit or "not a digit". Django's own filter would scan all rows for the values that exist."""

    title = parameter_name = "digit"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return labels.choices()

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        if value not in dict(self.lookup_choices):
            return queryset
        return queryset.filter(**{self.parameter_name: labels.FORM_VALUES.get(value, value)})


class AnsweredFilter(DigitFilter):
    """Filter corrections by the model's answer."""

    title = "digit answered"
    parameter_name = "submission__digit"


class LabelledFilter(SimpleListFilter):
    """Filter by whether a drawing has a label, and whether the label confirms the answer."""

    title = "label"
    parameter_name = "label"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("none", "no label"), ("confirmed", "confirmed"), ("corrected", "corrected")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Submission]) -> QuerySet[Submission]:
        standing = Correction.objects.standing()
        confirming = standing.filter(digit=F("submission__digit")).values("submission")
        match self.value():
            case "none":
                return queryset.exclude(pk__in=standing.values("submission"))
            case "confirmed":
                return queryset.filter(pk__in=confirming)
            case "corrected":
                return queryset.filter(pk__in=standing.values("submission")).exclude(pk__in=confirming)
        return queryset


class TriageFilter(SimpleListFilter):
    """Filter by the triage rule that accepted or held a correction."""

    title = "triage"
    parameter_name = "triage"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        by_name = [(rule.name, f"held: {readable(rule.name)}") for rule in triage.HOLD]
        by_name += [(rule.name, f"accepted: {readable(rule.name)}") for rule in triage.ACCEPT]
        return [("held", "held for review"), ("none", "no rule applied"), *by_name]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Correction]) -> QuerySet[Correction]:
        match self.value():
            case None:
                return queryset
            case "held":
                return queryset.filter(state=Correction.State.PENDING).exclude(triage="")
            case "none":
                return queryset.filter(triage="")
            case rule:
                return queryset.filter(triage=rule)


class CorrectionInline(TabularInline):
    """All corrections of a submission, superseded ones included."""

    model = Correction
    fields = readonly_fields = (
        "digit",
        "state",
        "account",
        "session",
        "created",
        "superseded",
        "triage",
        "decided",
        "decided_by",
    )
    can_delete = False
    extra = 0

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Submission)
class SubmissionAdmin(ReadOnly):
    """Admin of drawings and the model's answers."""

    list_display = ("id", "drawing", "answer", "percent", "verdict", "label", "model_version", "owner", "created")
    list_filter = ("verdict", DigitFilter, LabelledFilter, "model_version", "created")
    list_per_page = 50
    search_fields = ("=id", "account__username", "=session")
    search_help_text = "A drawing's number, an account's name or an anonymous owner's id"
    show_full_result_count = False
    inlines = (CorrectionInline,)
    fields = (
        "large_drawing",
        "answer",
        "percent",
        "verdict",
        "why",
        "label",
        "probabilities",
        "model_version",
        "preprocessing_version",
        "account",
        "session",
        "created",
    )
    readonly_fields = ("large_drawing", "answer", "percent", "why", "label")

    def delete_model(self, request: HttpRequest, obj: Submission) -> None:
        submissions.delete(obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Submission]) -> None:
        submissions.delete_drawings(Submission.objects.filter(pk__in=queryset.order_by().values("pk")))

    def get_queryset(self, request: HttpRequest) -> QuerySet[Submission]:
        return Submission.objects.with_labels().select_related("account")

    def get_deleted_objects(self, objs: Iterable[Any], request: HttpRequest) -> Deletion:
        """Count what is deleted. Django would load every row, each with its submission's ink."""
        if isinstance(objs, QuerySet):  # from the action; a submission's own page passes a list of one row
            return deletion_of(objs)
        return deletion_of(Submission.objects.filter(pk__in=[row.pk for row in objs]))

    @admin.display(description="drawing")
    def drawing(self, submission: Submission) -> SafeString:
        return thumbnail(submission, 42)

    @admin.display(description="what the model saw")
    def large_drawing(self, submission: Submission) -> SafeString:
        return thumbnail(submission, 224)

    @admin.display(description="answer", ordering="digit")
    def answer(self, submission: Submission) -> str:
        return labels.word(submission.digit)

    @admin.display(description="confidence", ordering="confidence")
    def percent(self, submission: Submission) -> str:
        return percent(submission.confidence)

    @admin.display(description="why")
    def why(self, submission: Submission) -> SafeString | str:
        """Explain which ink the active version's answer depends on."""
        try:
            model = engine.model
        except ModelRefusedError:
            return "—"
        image = stored_input(submission)
        explanation = explain(model, image)
        marked, read = explanation.marked, labels.word(explanation.reading.digit)
        words = (
            f"Version {model.version} reads {read}. The bright ink had the most influence: "
            f"{', '.join(place for place, _ in explanation.places[:2])}. "
            f"Without the brightest {percent(marked.share, 0)} of the ink it reads {labels.word(marked.reading.digit)}."
        )
        url = heat_data_url(image, explanation.heat)
        return format_html('<img src="{}" width="224" height="224" alt=""><p>{}</p>', url, words)

    @admin.display(description="label")
    def label(self, submission: Submission) -> str:
        correction = submission.correction
        return f"{labels.word(correction.digit)} ({correction.state})" if correction else "—"

    @admin.display(description="owner")
    def owner(self, submission: Submission) -> str:
        return owner_name(submission)


@admin.register(Correction)
class CorrectionAdmin(ReadOnly):
    """Admin of corrections, with bulk accept and reject."""

    list_display = (
        "id",
        "drawing",
        "answer",
        "percent",
        "says",
        "confirms",
        "decision",
        "reason",
        "author",
        "created",
    )
    list_filter = (
        "state",
        TriageFilter,
        DigitFilter,
        AnsweredFilter,
        "submission__verdict",
        "submission__model_version",
        "created",
    )
    list_per_page = 50
    search_fields = ("=id", "=submission__id", "account__username", "=session")
    search_help_text = "The number of a correction or drawing, an account's name or an anonymous owner's id"
    show_full_result_count = False
    ordering = ("turn", "confidence", "id")  # the review queue's order, from the same indexes
    actions = ("accept", "reject")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Correction]:
        return Correction.objects.standing().with_submissions().select_related("account", "decided_by")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Allow deletion only together with the submission; otherwise corrections stay on record."""
        page = request.resolver_match.view_name if request.resolver_match else ""
        return page.startswith("admin:recognizer_submission") and super().has_delete_permission(request, obj)

    @admin.display(description="drawing")
    def drawing(self, correction: Correction) -> SafeString:
        return thumbnail(correction.submission, 42)

    @admin.display(description="answer", ordering="submission__digit")
    def answer(self, correction: Correction) -> str:
        return labels.word(correction.submission.digit)

    @admin.display(description="confidence", ordering="confidence")
    def percent(self, correction: Correction) -> str:
        return percent(correction.confidence)

    @admin.display(description="label", ordering="digit")
    def says(self, correction: Correction) -> str:
        return labels.word(correction.digit)

    @admin.display(description="confirms", boolean=True)
    def confirms(self, correction: Correction) -> bool:
        return correction.confirms

    @admin.display(description="state", ordering="state")
    def decision(self, correction: Correction) -> str:
        """Return the state and who decided it; a rule's name is in the next column."""
        state: str = correction.get_state_display()
        return f"{state} by {correction.decided_by}" if correction.decided_by else state

    @admin.display(description="triage", ordering="triage")
    def reason(self, correction: Correction) -> SafeString | str:
        """Return the rule's name, with its explanation as a tooltip."""
        if not correction.triage:
            return "—"
        why = triage.EXPLANATIONS.get(correction.triage, "A rule of an older release.")
        return format_html('<span title="{}">{}</span>', why, readable(correction.triage))

    @admin.display(description="author")
    def author(self, correction: Correction) -> str:
        return owner_name(correction)

    @admin.action(description="Accept the selected corrections", permissions=["review"])
    def accept(self, request: HttpRequest, rows: QuerySet[Correction]) -> None:
        self._decide(request, rows, Correction.State.ACCEPTED)

    @admin.action(description="Reject the selected corrections", permissions=["review"])
    def reject(self, request: HttpRequest, rows: QuerySet[Correction]) -> None:
        self._decide(request, rows, Correction.State.REJECTED)

    def has_review_permission(self, request: HttpRequest) -> bool:
        """Allow all staff to review, as in the API."""
        return bool(request.user.is_staff)

    def _decide(self, request: HttpRequest, rows: QuerySet[Correction], state: Correction.State) -> None:
        decided = late = 0
        for correction in rows:
            try:
                submissions.decide(correction, state, request.user)
                decided += 1
            except submissions.AlreadyDecidedError:
                late += 1
        if decided:
            self.message_user(request, f"{decided} {state}.", messages.SUCCESS)
        if late:
            self.message_user(request, f"{late} had already been decided and were left unchanged.", messages.WARNING)


RAW = ("thresholds_json", "metrics_json", "lineage_json")


@admin.register(ModelVersion)
class ModelVersionAdmin(ReadOnly):
    """Admin of the model registry, with manual promotion and rollback."""

    list_display = ("version", "state", "mnist", "writers", "strangers", "parent", "created", "activated")
    list_filter = ("state",)
    list_select_related = ("parent",)
    actions = ("activate",)
    fieldsets = (
        (None, {"fields": ("version", "state", "parent", "created", "activated", "notes")}),
        ("Evaluation", {"fields": ("gates", "measured")}),
        ("API data", {"classes": ("collapse",), "fields": ("preprocessing_version", *RAW)}),
    )
    readonly_fields = ("gates", "measured", *RAW)

    @admin.display(description="gates")
    def gates(self, version: ModelVersion) -> SafeString | str:
        return gate_table(version.gate_report)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.display(description="metrics")
    def measured(self, version: ModelVersion) -> SafeString | str:
        sets = version.metrics.items()
        return number_table({name: _single_numbers(metrics) for name, metrics in sets if isinstance(metrics, dict)})

    @admin.display(description="thresholds")
    def thresholds_json(self, version: ModelVersion) -> SafeString:
        return json_block(version.thresholds)

    @admin.display(description="metrics")
    def metrics_json(self, version: ModelVersion) -> SafeString:
        return json_block(version.metrics)

    @admin.display(description="lineage")
    def lineage_json(self, version: ModelVersion) -> SafeString:
        return json_block(version.lineage)

    @admin.display(description="MNIST test set")
    def mnist(self, version: ModelVersion) -> str:
        return _percent(version, "mnist_test")

    @admin.display(description="held-out writers")
    def writers(self, version: ModelVersion) -> str:
        return _percent(version, "held_out_writers")

    @admin.display(description="strangers")
    def strangers(self, version: ModelVersion) -> str:
        return _percent(version, "strangers")

    @admin.action(description="Activate the selected version", permissions=["activate"])
    def activate(self, request: HttpRequest, rows: QuerySet[ModelVersion]) -> None:
        if len(rows) != 1:
            self.message_user(request, "Select one version.", messages.ERROR)
            return
        try:
            activate(rows[0], by=request.user)
        except registry.UnservableError as error:
            self.message_user(request, str(error), messages.ERROR)
            return
        self.message_user(request, f"Version {rows[0].version} is active.", messages.SUCCESS)

    def has_activate_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.is_staff)


@admin.register(Promotion)
class PromotionAdmin(ReadOnly):
    """Admin of promotions: which version became active when, and why."""

    list_display = ("created", "version", "previous", "cause", "reason", "by")
    list_filter = ("cause",)
    list_select_related = ("version", "previous", "by")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnly):
    """Admin of the audit trail."""

    list_display = ("created", "name", "method", "path", "told", "status", "request_id")
    list_filter = ("created", "method", "status")
    search_fields = ("name", "path", "=request_id")
    search_help_text = "A name, part of an address, or a request's id"
    show_full_result_count = False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.display(description="fields")
    def told(self, entry: AuditEntry) -> str:
        return "; ".join(f"{name}: {', '.join(values)}" for name, values in entry.fields.items())


def _percent(version: ModelVersion, metric: str) -> str:
    accuracy = version.metrics.get(metric, {}).get("accuracy")
    return "—" if accuracy is None else percent(accuracy, 2)


def _single_numbers(metrics: dict[str, Any]) -> dict[str, Any]:
    """Return the metrics that are single numbers, without lists and tables such as the recall of each digit."""
    return {name: value for name, value in metrics.items() if not isinstance(value, list | dict)}
