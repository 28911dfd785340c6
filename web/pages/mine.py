"""*My digits*: a visitor's drawings, their corrections, and the version that learned from each."""

import base64
from collections.abc import Iterator
from typing import Any

import orjson
from django.contrib import messages
from django.db.models import Min
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.timezone import now
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from recognizer import history, submissions, verdicts
from recognizer.labels import FORM_VALUES
from recognizer.models import Correction, Submission
from training.models import TrainingSample
from web.api.presentation import labelled_submission_json, png_data_url, stored_input
from web.numbers import decimal, percent
from web.throttles import limited
from web.visitors import visitor_of


def learned_by(rows: list[Submission]) -> dict[int, int]:
    """Map each submission to the first version that learned from it and was active at some time."""
    used = TrainingSample.objects.filter(
        submission__in=[row.pk for row in rows],
        part=TrainingSample.Part.TRAIN,
        run__version__activated__isnull=False,
    )
    return dict(used.order_by().values_list("submission").annotate(Min("run__version__version")))


@require_safe
@never_cache
def mine(request: HttpRequest) -> HttpResponse:
    """Show one page of the visitor's drawings."""
    owner, query = visitor_of(request), history.HistoryQuery.parse(request.GET)
    page = history.page_of(owner, query)
    learned, total = learned_by(page.drawings), history.count_of(owner)
    context: dict[str, Any] = {
        "page": page,
        "cards": [_card(drawing, learned.get(drawing.pk)) for drawing in page.drawings],
        "total": min(total, history.COUNTED),
        "more": total > history.COUNTED,
        "here": page.query.urlencode(),
        "newer": page.query.urlencode(before=None, after=page.newer) if page.newer is not None else None,
        "older": page.query.urlencode(before=page.older, after=None) if page.older is not None else None,
        "shows": [_filter(query, show) for show in history.Show],
    }
    return render(request, "mine/mine.html", context)


@require_POST
@limited("corrections")
def correct(request: HttpRequest, pk: int) -> HttpResponse:
    """Correct a drawing or withdraw its correction; `digit` is a label's form value, or `withdraw`."""
    drawing, word = _find(request, pk), request.POST.get("digit", "")
    try:
        if word == "withdraw":
            submissions.withdraw(drawing)
            messages.info(request, _("Your answer was withdrawn. The drawing is kept."))
        elif word in FORM_VALUES:
            submissions.correct(drawing, FORM_VALUES[word], visitor_of(request))
            messages.success(request, _("Saved, thank you."))
        else:
            messages.error(request, _("That is not a valid answer. Nothing was saved."))
    except submissions.AlreadyDecidedError:
        messages.error(request, _("This one has been reviewed in the meantime and can no longer be changed."))
    return redirect(f"{reverse('mine')}{history.HistoryQuery.parse(request.GET).urlencode()}#drawing-{pk}")


@require_POST
@limited("writes")
def delete(request: HttpRequest, pk: int) -> HttpResponse:
    """Delete a drawing permanently."""
    submissions.delete(_find(request, pk))
    messages.info(request, _("The drawing and its correction have been deleted."))
    return redirect(f"{reverse('mine')}{history.HistoryQuery.parse(request.GET).urlencode()}")


@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
@limited("writes")
def delete_all(request: HttpRequest) -> HttpResponse:
    """Ask for confirmation with the number of drawings, then delete them all."""
    owner = visitor_of(request)
    if request.method == "POST":
        deleted = submissions.delete_all(owner)
        messages.info(
            request, ngettext("%(n)s drawing deleted.", "%(n)s drawings deleted.", deleted) % {"n": decimal(deleted)}
        )
        return redirect("mine")
    return render(request, "mine/deletion.html", {"total": Submission.objects.owned_by(owner).count()})


@require_safe
@never_cache
def download(request: HttpRequest) -> StreamingHttpResponse:
    """Stream all of the visitor's drawings as JSON."""
    response = StreamingHttpResponse(_all_as_json(request), content_type="application/json")
    response["Content-Disposition"] = f'attachment; filename="digits-{now():%Y-%m-%d}.json"'
    return response


def _all_as_json(request: HttpRequest) -> Iterator[bytes]:
    comma = b""
    yield b'{"drawings": ['
    for rows in history.drawings_of(visitor_of(request)):
        learned = learned_by(rows)
        for row, kept in history.with_stored_drawings(rows):
            yield comma + b"\n" + orjson.dumps(_drawing_json(row, kept, learned.get(row.pk)))
            comma = b","
    yield b"\n]}\n"


def _drawing_json(drawing: Submission, kept: history.StoredDrawing, learned: int | None) -> dict[str, Any]:
    return labelled_submission_json(drawing) | {
        "ink": kept.ink and orjson.Fragment(kept.ink),
        "picture": kept.picture and "data:image/png;base64," + base64.b64encode(kept.picture).decode(),
        "learned_by": learned,
    }


def _find(request: HttpRequest, pk: int) -> Submission:
    """Fetch one of the visitor's own drawings, else raise 404, for staff too."""
    found = Submission.objects.owned_by(visitor_of(request)).only("pk", "confidence").filter(pk=pk).first()
    if found is None:
        raise Http404
    return found


def _filter(query: history.HistoryQuery, show: history.Show) -> dict[str, Any]:
    address = query.urlencode(show=show, before=None, after=None)
    return {"label": show.label, "query": address, "current": show == query.show}


def _card(drawing: Submission, learned: int | None) -> dict[str, Any]:
    said = drawing.correction
    return {
        "drawing": drawing,
        "answer": verdicts.sentence(drawing.verdict, drawing.digit),
        "picture": png_data_url(stored_input(drawing)),
        "percent": percent(drawing.confidence),
        "said": said,
        "decided": said is not None and said.state != Correction.State.PENDING,
        "learned": learned,
    }
