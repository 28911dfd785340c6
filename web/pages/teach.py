"""*Teach*: ask for the digits that the visitor gave least and the model needs most; show which versions used them."""

from collections import Counter
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from recognizer.labels import DIGITS
from recognizer.models import Correction, ModelVersion, Submission
from recognizer.owners import Owner
from web.pages.mine import learned_by
from web.visitors import remember_session, visitor_of

MAX_DRAWINGS = 1_000  # the visitor's newest drawings that are counted


@require_safe
@never_cache
def teach(request: HttpRequest) -> HttpResponse:
    """Show the page that asks for one digit after another; its script stores them with their labels through the API."""
    owner = visitor_of(request)
    newest = list(Submission.objects.owned_by(owner).order_by("-pk").only("pk")[:MAX_DRAWINGS])
    given = count_labels(owner, newest)
    taught = Counter(learned_by(newest).values())
    context: dict[str, Any] = {
        "given": [given[digit] for digit in DIGITS],
        "order": " ".join(map(str, digits_by_need())),
        "taught": sorted(taught.items(), reverse=True),
        "total": sum(given.values()),
    }
    response = render(request, "teach.html", context)
    remember_session(request, response)
    return response


def count_labels(owner: Owner, drawings: list[Submission]) -> Counter[int]:
    """Count an owner's standing digit labels on these drawings, by digit."""
    said = Correction.objects.standing().filter(
        submission__in=[drawing.pk for drawing in drawings], digit__isnull=False
    )
    return Counter(digit for digit in said.values_list("digit", flat=True) if digit is not None)


def digits_by_need() -> list[int]:
    """Order the digits by the active version's need: fewest labels in its training data first, then lowest recall."""
    active = ModelVersion.objects.filter(state=ModelVersion.State.ACTIVE).only("metrics", "lineage").first()
    metrics, lineage = (active.metrics, active.lineage) if active else ({}, {})
    counts = lineage.get("drawings", {})
    recall = metrics.get("mnist_test", {}).get("recall") or [1.0] * len(DIGITS)

    def learned(digit: int) -> int:
        return sum(int(counts.get(kind, {}).get(str(digit), 0)) for kind in ("corrections_of", "confirmations_of"))

    return sorted(DIGITS, key=lambda digit: (learned(digit), recall[digit]))
