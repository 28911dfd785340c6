"""The public statistics page. It shows nobody's drawings: its pictures are MNIST's."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.safestring import SafeString
from django.utils.timezone import now
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_safe

from recognizer import labels, verdicts
from recognizer.counting import CONFIDENCE_EDGES, INK_EDGES
from recognizer.labels import DIGITS
from recognizer.mnist import MnistError, find_mnist, load_test_digits
from recognizer.models import Verdict
from web.api.presentation import png_data_url
from web.numbers import brief, day, day_of_year, decimal, percent, with_percent
from web.statistics import charts, figures
from web.statistics.figures import Counts, Feature
from web.statistics.measures import CHANGED, MOVED, Share
from web.versions.charts import bar

FEATURES = {
    "confidence": gettext_lazy("Confidence of the answers"),
    "ink": gettext_lazy("Ink on the drawing"),
    "digit": gettext_lazy("Digit read"),
}

AXES = {
    "confidence": gettext_lazy("confidence, at least (%)"),
    "ink": gettext_lazy("mean ink, at least (%)"),
    "digit": gettext_lazy("answer (∅: not a digit)"),
}

STATES = {
    "steady": gettext_lazy("stable"),
    "moved": gettext_lazy("shifted"),
    "changed": gettext_lazy("changed"),
}


@dataclass(frozen=True, slots=True)
class Figure:
    """A chart and a table of its numbers; the first column names the rows."""

    title: str
    charts: list[SafeString]
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Confused:
    """A frequent error: the answer and what people corrected it to."""

    answered: str
    said: str
    count: str
    bar: SafeString  # frequency; full for the most frequent pair
    pictures: tuple[str, str] | None  # of answer and label, "" for not a digit; None if this host has no MNIST


@dataclass(frozen=True, slots=True)
class Drift:
    """One property of drawings, recent against reference."""

    figure: Figure
    state: str
    state_name: str
    index: str
    by_chance: str
    means: tuple[str, str] | None


@require_safe
def statistics(request: HttpRequest) -> HttpResponse:
    """Show the counts of the last days; no drawing is queried for them."""
    counts = figures.read_counts(now())
    context: dict[str, Any] = {"counts": counts, "days": figures.DAYS}
    if counts.drawings:
        features = figures.drift(counts)
        context |= {
            "headline": _headline(counts),
            "drawn": _daily_drawings(counts),
            "verdicts": _verdicts(counts),
            "weeks": _weeks(counts),
            "versions": _versions(counts),
            "confidence": _confidence(counts),
            "drift": [_drift(feature) for feature in features or []],
            "recent": figures.RECENT,
            "reference": figures.REFERENCE,
            "enough": figures.MIN_DRAWINGS,
            "moved": brief(MOVED),
            "changed": brief(CHANGED),
            "confused": _confused(counts),
        }
    return render(request, "statistics/statistics.html", context)


def _headline(counts: Counts) -> list[tuple[str, str, str]]:
    """Return the main numbers as name, value and note."""
    said = figures.accuracy(counts.lines)
    sure = figures.by_verdict(counts)[Verdict.SURE]
    numbers = [
        (_("Drawings"), decimal(counts.drawings), ""),
        (_("Sure answers"), percent(sure / counts.drawings, 1), ""),
        (_("Answers judged by people"), decimal(said.whole if said else 0), ""),
    ]
    return [*numbers, (_("Called right"), percent(said.share, 1), _interval_text(said))] if said else numbers


def _daily_drawings(counts: Counts) -> Figure:
    days = figures.by_day(counts)
    ink, pictures = sum(day[1] for day in days), sum(day[2] for day in days)
    title = _("Drawings per day")
    told = _("%(ink)s in ink and %(pictures)s pictures in %(days)s days; the table has each day.") % {
        "ink": decimal(ink),
        "pictures": decimal(pictures),
        "days": figures.DAYS,
    }
    return Figure(
        title,
        [charts.days_chart(days, name, title, told) for name in charts.DAYS_LAYOUTS],
        (_("Day"), _("Ink"), _("Pictures"), _("Total")),
        [(day(at), *map(decimal, (ink, pictures, ink + pictures))) for at, ink, pictures in reversed(days)],
    )


def _verdicts(counts: Counts) -> dict[str, Any]:
    found = figures.by_verdict(counts)
    shares = {verdict: found[verdict] / counts.drawings for verdict in verdicts.NAMES}
    return {
        "strip": charts.strip([(verdict.value, share) for verdict, share in shares.items()]),
        "rows": [
            (verdict.value, name, percent(shares[verdict], 1), decimal(found[verdict]))
            for verdict, name in verdicts.NAMES.items()
        ],
    }


def _weeks(counts: Counts) -> Figure | None:
    weeks = [(day_of_year(monday), day(monday), share) for monday, share in figures.by_week(counts)]
    return _accuracy(_("By week"), "weeks", _("Week from"), weeks)


def _versions(counts: Counts) -> Figure | None:
    versions = [(str(number), str(number), share) for number, share in figures.by_version(counts)]
    return _accuracy(_("By version of the model"), "versions", _("Version"), versions)


def _accuracy(title: str, name: str, rows: str, points: Sequence[tuple[str, str, Share | None]]) -> Figure | None:
    known = [(label, share) for _short, label, share in points if share]
    if not known:
        return None
    told = "; ".join(f"{label}: {percent(share.share, 1)} ({_interval_text(share)})" for label, share in known)
    return Figure(
        title,
        [charts.shares_chart([(short, share) for short, _long, share in points], name, title, told)],
        (rows, _("Called right"), _("Interval (95%)"), _("Judged")),
        [(label, percent(one.share, 1), _interval_text(one), decimal(one.whole)) for label, one in reversed(known)],
    )


def _confidence(counts: Counts) -> Figure:
    bins, title = figures.confidence(counts), _("Confidence of the answers")
    return _bins(title, "confidence-all", "confidence", bins, None)


def _drift(feature: Feature) -> Drift:
    return Drift(
        _bins(str(FEATURES[feature.name]), feature.name, feature.name, feature.recent, feature.reference),
        feature.state,
        str(STATES[feature.state]),
        _index(feature.index),
        _index(feature.by_chance),
        feature.means and (percent(feature.means[0], 1), percent(feature.means[1], 1)),
    )


def _index(value: float) -> str:
    return decimal(value, 3) if value >= 0.001 else "< " + decimal(0.001, 3)


def _bins(title: str, name: str, feature: str, bins: list[int], before: list[int] | None) -> Figure:
    total, total_before = max(1, sum(bins)), max(1, sum(before or []))
    short, long = _labels(feature)
    shares = [count / total for count in bins]
    shares_before: list[float | None] = [count / total_before for count in before] if before else [None] * len(bins)
    told = "; ".join(
        f"{label}: {percent(share, 1)}" + ("" if was is None else " (" + _("before") + f" {percent(was, 1)})")
        for label, share, was in zip(long, shares, shares_before, strict=True)
    )
    drawn = list(zip(short, shares, shares_before, strict=True))
    rows = [
        (label, decimal(count), percent(share, 1), *([] if was is None else [percent(was, 1)]))
        for label, count, share, was in zip(long, bins, shares, shares_before, strict=True)
    ]
    head = (title, _("Drawings"), _("Share"), *([_("Before")] if before else []))
    return Figure(title, [charts.bins_chart(drawn, str(AXES[feature]), name, title, told)], head, rows)


def _labels(feature: str) -> tuple[list[str], list[str]]:
    """Return the labels of a feature's bins, for the chart and for the table."""
    if feature == "digit":
        return [*map(str, DIGITS), "∅"], [labels.name(label) for label in labels.LABELS]
    edges = [brief(100 * edge, 4) for edge in (0, *(CONFIDENCE_EDGES if feature == "confidence" else INK_EDGES), 1)]
    return edges[:-1], [with_percent(f"{low}–{high}") for low, high in pairwise(edges)]


def _confused(counts: Counts) -> list[Confused]:
    pairs = figures.confused(counts)
    pictures = _pictures() if pairs else ()
    return [
        Confused(
            labels.name(answered),
            labels.name(said),
            decimal(count),
            bar(count / pairs[0][1]),
            (_picture(pictures, answered), _picture(pictures, said)) if pictures else None,
        )
        for (answered, said), count in pairs
    ]


def _picture(pictures: Sequence[str], digit: int | None) -> str:
    return "" if digit is None else pictures[digit]


def _pictures() -> Sequence[str]:
    """Return one picture per digit from MNIST's test set; empty if the set is missing or unreadable."""
    try:
        folder = find_mnist()
        return _examples(folder) if folder else ()
    except (MnistError, OSError):
        return ()


@lru_cache(maxsize=4)
def _examples(folder: Path) -> tuple[str, ...]:
    """Read the test set and cache ten pictures: for each digit, the one nearest to the digit's mean."""
    digits = load_test_digits(folder)
    if set(DIGITS) - set(digits.labels.tolist()):
        return ()
    return tuple(png_data_url(_nearest_to_mean(digits.images[digits.labels == digit])) for digit in DIGITS)


def _nearest_to_mean(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return the image of `(n, 28, 28)` that is nearest to the mean of all n."""
    distances = ((images - images.mean(axis=0)) ** 2).sum(axis=(1, 2))  # (n,)
    usual: npt.NDArray[np.uint8] = images[int(distances.argmin())]
    return usual


def _interval_text(share: Share) -> str:
    low, high = share.interval
    return _("%(low)s to %(high)s") % {"low": percent(low, 1), "high": percent(high, 1)}
