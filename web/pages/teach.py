"""*Teach*: asks for the digits that the visitor gave least of and the network knows least; shows what came of them."""

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

LOOKED_AT = 1_000  # of the visitor's newest drawings


@require_safe
@never_cache
def teach(request: HttpRequest) -> HttpResponse:
    """Ask for a digit, again and again; the page sends what is drawn with its label by the API."""
    owner = visitor_of(request)
    newest = list(Submission.objects.owned_by(owner).order_by("-pk").only("pk")[:LOOKED_AT])
    given = given_by(owner, newest)
    taught = Counter(learned_by(newest).values())
    context: dict[str, Any] = {
        "given": [given[digit] for digit in DIGITS],
        "order": " ".join(map(str, order_of_need())),
        "taught": sorted(taught.items(), reverse=True),
        "total": sum(given.values()),
    }
    response = render(request, "teach.html", context)
    remember_session(request, response)
    return response


def given_by(owner: Owner, drawings: list[Submission]) -> Counter[int]:
    """Count what somebody said of their own drawings and did not take back: digit → how many times."""
    said = Correction.objects.standing().filter(
        submission__in=[drawing.pk for drawing in drawings], digit__isnull=False
    )
    return Counter(digit for digit in said.values_list("digit", flat=True) if digit is not None)


def order_of_need() -> list[int]:
    """Order the digits by how little the active version knows: the fewest labels learned first, then the worst read."""
    active = ModelVersion.objects.filter(state=ModelVersion.State.ACTIVE).only("metrics", "lineage").first()
    metrics, lineage = (active.metrics, active.lineage) if active else ({}, {})
    counts = lineage.get("drawings", {})
    recall = metrics.get("mnist_test", {}).get("recall") or [1.0] * len(DIGITS)

    def learned(digit: int) -> int:
        return sum(int(counts.get(kind, {}).get(str(digit), 0)) for kind in ("corrections_of", "confirmations_of"))

    return sorted(DIGITS, key=lambda digit: (learned(digit), recall[digit]))
