"""The review pages, for staff only: show cards, save decisions, and undo the latest one."""

from typing import Any

from django.contrib import messages
from django.contrib.admin.views.decorators import staff_member_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.timezone import now
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from recognizer import review_queue as queue
from recognizer import submissions, verdicts
from recognizer.labels import FORM_VALUES
from recognizer.models import Correction, Verdict
from recognizer.parsing import parse_row_number
from web.api.presentation import png_data_url, stored_input
from web.numbers import percent
from web.review.filters import REASONS, Filters
from web.throttles import limited

STATES = {"accept": Correction.State.ACCEPTED, "reject": Correction.State.REJECTED}


@require_safe
@never_cache
@staff_member_required
def review(request: HttpRequest) -> HttpResponse:
    """Show a page of cards: authors take turns, least confident answers first, near-identical drawings together."""
    at, filters = now(), Filters(request.GET, label_suffix="")
    wanted = Correction.objects.waiting().in_queue_order().filter(filters.condition(at))
    last = parse_row_number(request.GET.get("after", ""))
    if last is not None:
        wanted = queue.after(wanted, last)
    rows = queue.claim_page(wanted, request.user, at)
    chosen = filters.chosen()
    blind = chosen.pop("blind", False)
    context: dict[str, Any] = {
        "cards": _cards(rows),
        "filters": filters,
        "filtered": bool(chosen),
        "blind": blind,
        "went_on": last is not None,
        "next": rows[-1].pk if len(rows) == queue.PER_PAGE else None,
    }
    return render(request, "review/review.html", context)


@require_POST
@staff_member_required
@limited("writes")
def decide(request: HttpRequest) -> HttpResponse:
    """Decide corrections; `act` is accept, reject, or the form value of the right label."""
    act = request.POST.get("act", "")
    numbers = [number for word in request.POST.getlist("correction") if (number := parse_row_number(word)) is not None]
    numbers = numbers[: queue.PER_PAGE]
    if act not in STATES and act not in FORM_VALUES:
        return _answer(request, 400, _("Unknown decision. Nothing was changed."))
    if not numbers:
        return _answer(request, 400, _("Nothing was selected."))
    decided = 0
    for row in Correction.objects.filter(pk__in=numbers).order_by("pk"):
        try:
            if act in STATES:
                submissions.decide(row, STATES[act], request.user)
            else:
                submissions.relabel(row, FORM_VALUES[act], request.user)
            decided += 1
        except submissions.AlreadyDecidedError:
            continue
    return _answer(request, 200 if decided else 409, _outcome(decided, len(set(numbers)) - decided))


@require_POST
@staff_member_required
@limited("writes")
def undo(request: HttpRequest) -> HttpResponse:
    """Undo the reviewer's latest decision."""
    if submissions.undo_latest(request.user) is None:
        return _answer(request, 409, _("There is nothing to undo."))
    return _answer(request, 200, _("Undone. It is waiting for review again."))


def _cards(rows: list[Correction]) -> list[dict[str, Any]]:
    """Return the cards of corrections, near-identical drawings moved next to the first of them."""
    groups = queue.alike(rows)
    cards = [
        {
            "row": row,
            "picture": png_data_url(stored_input(row.submission)),
            "percent": percent(row.confidence),
            "remark": verdicts.REMARKS.get(Verdict(row.submission.verdict), ""),
            "reason": REASONS.get(row.triage, ""),
            "group": group,
            "alike": groups.count(group) - 1,
        }
        for row, group in zip(rows, groups, strict=True)
    ]
    return sorted(cards, key=lambda card: card["group"])


def _outcome(decided: int, late: int) -> str:
    """Describe how many decisions were saved and how many came too late."""
    sentences = []
    if decided:
        sentences.append(ngettext("%(n)d decision saved.", "%(n)d decisions saved.", decided) % {"n": decided})
    if late:
        said = ngettext(
            "Another reviewer had already decided %(n)d of them. It was left unchanged.",
            "Another reviewer had already decided %(n)d of them. They were left unchanged.",
            late,
        )
        sentences.append(said % {"n": late})
    return " ".join(sentences)


def _answer(request: HttpRequest, status: int, sentence: str) -> HttpResponse:
    """Report the outcome: as JSON to the script, else as a message on the page the form came from."""
    if request.headers.get("Accept") == "application/json":
        return JsonResponse({"detail": sentence}, status=status)
    (messages.success if status == 200 else messages.warning)(request, sentence)
    query = request.GET.urlencode()
    return redirect(reverse("review") + (f"?{query}" if query else ""))
