"""The review's pages: hand out cards, take decisions, and take them back. For staff only."""

from collections.abc import Callable, Iterable
from typing import Any, cast

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

from recognizer import submissions
from recognizer.models import Correction
from recognizer.review import queue
from recognizer.review.cards import cards_of
from recognizer.review.filters import Wish, number
from recognizer.throttles import limited

AT_ONCE = queue.PER_PAGE + queue.ALIKE  # decisions in one request: a whole page
OPINION = "opinion"  # the cookie that remembers whether the model's opinion is shown
OPINION_AGE = 365 * 24 * 3600  # seconds

LABELS = {**{str(digit): digit for digit in range(10)}, "none": None}
STATES = {"accept": Correction.State.ACCEPTED, "reject": Correction.State.REJECTED}

Act = Callable[[Correction], Correction]


@require_safe
@never_cache
@staff_member_required
def review(request: HttpRequest) -> HttpResponse:
    """A page of cards, the most urgent first."""
    wish, at = Wish.parse(request.GET), now()
    page = queue.page_of(wish, _reviewer(request), at)
    context: dict[str, Any] = {
        "cards": cards_of(page, at),
        "filters": wish.fields(),
        "filtered": bool(wish.chosen),
        "here": wish.query(wish.after),
        "start": wish.query(),
        "next": wish.query(page.after) if page.after is not None else None,
        "went_on": wish.after is not None,
        "hidden": request.COOKIES.get(OPINION) == "hidden",
        "digits": range(10),
        "last": _numbers(request.GET.get("last", "").split(",")),
    }
    return render(request, "review/review.html", context)


@require_POST
@staff_member_required
@limited("writes")
def decide(request: HttpRequest) -> HttpResponse:
    """Decide corrections: `act` is accept, reject, or what they are instead, 0 to 9 or none."""
    act = _act(request, request.POST.get("act", ""))
    if act is None:
        return _refused(request, _("That is no decision: nothing was changed."))
    done, late = _each(request, act, submissions.AlreadyDecidedError)
    if not done and not late:
        return _refused(request, _("Nothing was selected."))
    if _wants_json(request):
        return _json(done, late)
    if done:
        said = ngettext("%(n)d decision saved.", "%(n)d decisions saved.", len(done)) % {"n": len(done)}
        messages.success(request, said)
    if late:
        messages.warning(request, _late(len(late)))
    return _back(request, done)


@require_POST
@staff_member_required
@limited("writes")
def undo(request: HttpRequest) -> HttpResponse:
    """Take one's own latest decisions back."""
    done, late = _each(request, lambda row: submissions.undo(row, request.user), submissions.NotUndoneError)
    if _wants_json(request):
        return _json(done, late)
    if late or not done:
        messages.error(request, _("That can no longer be undone."))
    else:
        messages.info(request, _("Undone: it waits again."))
    return _back(request)


@require_POST
@staff_member_required
def opinion(request: HttpRequest) -> HttpResponse:
    """Show or hide what the model said, and remember that."""
    response = _back(request)
    value = "hidden" if request.POST.get("opinion") == "hidden" else "shown"
    response.set_cookie(OPINION, value, max_age=OPINION_AGE, samesite="Lax", secure=request.is_secure())
    return response


def _reviewer(request: HttpRequest) -> int:
    return cast(int, request.user.pk)


def _act(request: HttpRequest, word: str) -> Act | None:
    if word in STATES:
        return lambda row: _decided(row, STATES[word], request)
    if word in LABELS:
        return lambda row: submissions.relabel(row, LABELS[word], request.user)
    return None


def _decided(row: Correction, state: Correction.State, request: HttpRequest) -> Correction:
    submissions.decide(row, state, request.user)
    return row


def _each(request: HttpRequest, act: Act, refusal: type[Exception]) -> tuple[list[int], list[int]]:
    """Do it to each that was chosen: the numbers of what stands now, and of those where it was too late."""
    chosen = _numbers(request.POST.getlist("correction"))
    found = Correction.objects.in_bulk(chosen)
    done, late = [], [pk for pk in chosen if pk not in found]  # deleted meanwhile
    for pk, row in sorted(found.items()):
        try:
            done.append(act(row).pk)
        except refusal:
            late.append(pk)
    return done, late


def _numbers(words: Iterable[str]) -> list[int]:
    numbers = [number(word) for word in words]
    return [one for one in numbers if one is not None][:AT_ONCE]


def _late(count: int) -> str:
    return ngettext(
        "Somebody else was first with %(n)d of them, which stays as it is.",
        "Somebody else was first with %(n)d of them, which stay as they are.",
        count,
    ) % {"n": count}


def _json(done: list[int], late: list[int]) -> JsonResponse:
    return JsonResponse({"done": done, "late": late}, status=200 if done else 409)


def _refused(request: HttpRequest, why: str) -> HttpResponse:
    if _wants_json(request):
        return JsonResponse({"detail": why}, status=400)
    messages.error(request, why)
    return _back(request)


def _back(request: HttpRequest, last: list[int] | None = None) -> HttpResponse:
    wish = Wish.parse(request.GET)
    more = {"last": ",".join(map(str, last))} if last else {}
    return redirect(f"{reverse('review')}{wish.query(wish.after, **more)}")


def _wants_json(request: HttpRequest) -> bool:
    return request.headers.get("Accept", "").startswith("application/json")
