"""The version pages, open to everybody, and the staff's actions, which call the same functions as API and admin."""

import json
from typing import Any

from django.contrib import messages
from django.contrib.admin.views.decorators import staff_member_required
from django.core.paginator import InvalidPage, Paginator
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from recognizer import activation, registry
from recognizer.models import ModelVersion
from training import runs
from training.models import TrainingRun
from web.api.presentation import run_json
from web.numbers import decimal, seconds
from web.versions import charts, gate_words, portrait
from web.versions import timeline as rows
from web.versions.card import read_card

Phase, State = TrainingRun.Phase, ModelVersion.State


@require_safe
def timeline(request: HttpRequest) -> HttpResponse:
    """List all versions, newest first, and the active one; staff start and watch training runs here."""
    try:
        page = Paginator(rows.entries(), rows.PAGE).page(request.GET.get("page", 1))
    except InvalidPage as error:
        raise Http404 from error
    context: dict[str, Any] = {
        "page": page,
        "entries": [rows.entry(row) for row in page],
        "active": _active_entry(),
        "charts": _charts(),
    }
    if request.user.is_staff:
        run = TrainingRun.objects.with_versions().first()
        context |= {"run": run, "told": json.dumps(run_json(run)) if run else "", "phases": Phase.choices}
    return render(request, "versions/timeline.html", context)


@require_safe
def version(request: HttpRequest, version: int) -> HttpResponse:
    """Show one version: its gates, errors, training data and files."""
    found = _find(version)
    run = _runs().filter(version=found).first()
    report = gate_words.format_report(found.gate_report or [])
    context = {
        "entry": _entry(version),
        "model": found,
        "gates": report,
        "failed": sum(not gate.passed for gate in report),
        "headline": portrait.headline(found.metrics),
        "digit_rows": portrait.digit_rows(found.metrics),
        "recalls": portrait.recalls(found.metrics),
        "reliability": portrait.reliability(found.metrics),
        "changes": portrait.changes(found.metrics),
        "run": run,
        "duration": _duration(run),
        "steps": _steps(run),
        "losses": run and portrait.losses(run),
        "taught": portrait.taught(found.lineage),
        "drawings": portrait.drawings(found.lineage),
        "files": portrait.files(found),
        "ancestors": portrait.ancestors(found),
        "descendants": portrait.descendants(found),
    }
    return render(request, "versions/version.html", context)


@require_safe
def card(request: HttpRequest) -> HttpResponse:
    """Show the bundled model's card from the repository."""
    return render(request, "versions/card.html", {"card": read_card()})


@staff_member_required
@require_http_methods(["GET", "HEAD", "POST"])
def activate(request: HttpRequest, version: int) -> HttpResponse:
    """Ask for confirmation, then activate a version; 409 if it cannot serve."""
    found, problem = _find(version), ""
    if request.method == "POST":
        try:
            activation.activate(found, by=request.user)
        except registry.UnservableError as error:
            problem = str(error)
        else:
            messages.success(request, _("Version %(number)s is active.") % {"number": version})
            return redirect("version", version)
    context = {
        "entry": _entry(version),
        "active": _active_entry(),
        "kept": registry.has_artifact(found),
        "problem": problem,
    }
    return render(request, "versions/activate.html", context, status=409 if problem else 200)


@staff_member_required
@require_POST
def start(request: HttpRequest) -> HttpResponse:
    """Queue a training run."""
    try:
        run = runs.request(TrainingRun.Trigger.BUTTON, by=request.user, force="force" in request.POST)
    except runs.LiveRunError as error:
        messages.error(request, str(error))
    else:
        messages.success(request, _("Training run %(number)s is queued.") % {"number": run.pk})
    return redirect("versions")


@staff_member_required
@require_POST
def cancel(request: HttpRequest, pk: int) -> HttpResponse:
    """Cancel a training run unless it has ended."""
    run = get_object_or_404(TrainingRun, pk=pk)
    if not runs.cancel(run):
        messages.error(request, _("Training run %(number)s is over already.") % {"number": pk})
    elif run.state == TrainingRun.State.CANCELLED:
        messages.success(request, _("Training run %(number)s was cancelled.") % {"number": pk})
    else:
        messages.success(request, _("Training run %(number)s stops within seconds.") % {"number": pk})
    return redirect("versions")


def _find(version: int) -> ModelVersion:
    return get_object_or_404(ModelVersion, version=version)


def _entry(version: int) -> rows.TimelineEntry:
    return rows.entry(rows.entries().get(version=version))


def _active_entry() -> rows.TimelineEntry | None:
    row = rows.entries().filter(state=State.ACTIVE).first()
    return rows.entry(row) if row else None


def _runs() -> "QuerySet[TrainingRun]":
    """Return the runs, newest first, each with the version it made, without that version's large columns."""
    heavy = ("metrics", "gate_report", "lineage", "thresholds")
    return TrainingRun.objects.select_related("version").defer(*(f"version__{column}" for column in heavy))


def _charts() -> list[tuple[str, SafeString]]:
    mnist, people = rows.charted()
    names = {
        "mnist": (_("Accuracy on the MNIST test set"), mnist),
        "people": (_("Accuracy on the holdout"), people),
    }
    return [
        (title, charts.versions_chart(points, name, title, rows.describe_points(points)))
        for name, (title, points) in names.items()
        if len(points) > 1
    ]


def _duration(run: TrainingRun | None) -> str:
    if run is None or run.started is None or run.finished is None:
        return ""
    minutes, rest = divmod(round((run.finished - run.started).total_seconds()), 60)
    return _("%(minutes)s min %(seconds)s s") % {"minutes": decimal(minutes), "seconds": rest}


def _steps(run: TrainingRun | None) -> list[tuple[str, str]]:
    """Return each timed phase of a run with its duration."""
    timings = run.timings if run else {}
    return [(str(phase.label), seconds(timings[phase]["seconds"])) for phase in Phase if phase in timings]
