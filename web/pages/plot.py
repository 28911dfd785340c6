"""Plot of test error by epoch, with a logarithmic axis.

Errors of good optimizers differ by tenths of a percent, those of bad ones by tens of percent.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from xml.etree.ElementTree import Element

from django.utils.safestring import SafeString
from django.utils.translation import gettext

from web.numbers import brief, with_percent
from web.svg import add_shape, add_text, figure, markup

TICKS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)  # percent; the axis starts and ends at one of them


@dataclass(frozen=True, slots=True)
class Series:
    """One line of the plot."""

    label: str
    errors: Sequence[float]  # percent of the test digits, after each epoch
    style: str = "other"  # suffix of its CSS class
    reported: float | None = None  # percent; the report's final error, marked at the last epoch


@dataclass(frozen=True, slots=True)
class Layout:
    """Dimensions of the plot, in CSS pixels at its intended size."""

    width: int
    height: int
    epoch_ticks: int  # at most
    left: int = 48
    right: int = 136  # for the labels
    top: int = 16
    bottom: int = 48
    line: int = 18  # distance between labels, at least


WIDE = Layout(width=880, height=460, epoch_ticks=12)
NARROW = Layout(width=358, height=440, epoch_ticks=5, right=124)


def plot_errors(series: Sequence[Series], layout: Layout, name: str, title: str, description: str) -> SafeString:
    """Draw lines of error by epoch.

    Args:
        series: lines, each with at least one error.
        name: makes the plot's ids unique on the page; its class is `plot__NAME`.
        title, description: text for screen readers.
    """
    return markup(_Plot(series, layout).draw(name, title, description))


class _Plot:
    def __init__(self, series: Sequence[Series], layout: Layout) -> None:
        self._series, self._layout = series, layout
        self._epochs = max(len(one.errors) for one in series)
        values = [*(error for one in series for error in one.errors), *(one.reported or TICKS[-1] for one in series)]
        self._low = max((tick for tick in TICKS if tick <= min(values)), default=TICKS[0])

    def draw(self, name: str, title: str, description: str) -> Element:
        layout = self._layout
        svg = figure(layout.width, layout.height, f"plot__{name}", f"plot-{name}", title, description)
        self._axes(svg)
        for one in reversed(self._series):  # so that the first line is on top
            self._line(svg, one)
        self._labels(svg)
        return svg

    def _x(self, epoch: int) -> float:
        span = self._layout.width - self._layout.left - self._layout.right
        return round(self._layout.left + span * (epoch - 1) / max(self._epochs - 1, 1), 1)

    def _y(self, error: float) -> float:
        top, bottom = self._layout.top, self._layout.height - self._layout.bottom
        share = log(max(error, self._low) / self._low) / log(TICKS[-1] / self._low)
        return round(bottom - share * (bottom - top), 1)

    def _axes(self, svg: Element) -> None:
        layout = self._layout
        right, bottom = layout.width - layout.right, layout.height - layout.bottom
        for tick in (tick for tick in TICKS if tick >= self._low):
            y = self._y(tick)
            add_shape(svg, "path", "plot__rule", d=f"M{layout.left} {y}H{right}")
            add_text(svg, "plot__tick plot__tick--error", layout.left - 8, y, with_percent(brief(tick)))
        step = -(-self._epochs // layout.epoch_ticks)
        for epoch in range(1, self._epochs + 1):
            if epoch == 1 or epoch % step == 0:
                add_text(svg, "plot__tick plot__tick--epoch", self._x(epoch), bottom + 18, str(epoch))
        add_text(svg, "plot__axis", (layout.left + right) / 2, layout.height - 8, gettext("Epoch"))

    def _line(self, svg: Element, one: Series) -> None:
        points = [f"{self._x(epoch)},{self._y(error)}" for epoch, error in enumerate(one.errors, 1)]
        add_shape(svg, "polyline", f"plot__line plot__line--{one.style}", points=" ".join(points))
        for epoch, error, kind, radius in self._marks(one):
            place = {"cx": str(self._x(epoch)), "cy": str(self._y(error)), "r": str(radius)}
            add_shape(svg, "circle", f"plot__{kind} plot__{kind}--{one.style}", **place)

    def _marks(self, one: Series) -> list[tuple[int, float, str, float]]:
        marks = [(len(one.errors), one.errors[-1], "end", 3.0)]
        if one.reported is not None:
            marks.append((self._epochs, one.reported, "reported", 6.5))
        return marks

    def _labels(self, svg: Element) -> None:
        """Label each line at its end, with labels moved apart where lines end close together."""
        ordered = sorted(self._series, key=lambda one: self._y(one.errors[-1]))
        wanted = [self._y(one.errors[-1]) for one in ordered]
        lowest = self._layout.height - self._layout.bottom + self._layout.line / 2
        for one, y, end in zip(ordered, spread(wanted, self._layout.line, lowest), wanted, strict=True):
            x = self._x(self._epochs)
            leader = f"M{x + 9} {end}L{x + 22} {y:.1f}"
            add_shape(svg, "path", f"plot__leader plot__leader--{one.style}", d=leader)
            add_text(svg, f"plot__label plot__label--{one.style}", x + 26, y, one.label)


def spread(wanted: Sequence[float], distance: float, highest: float) -> list[float]:
    """Space ascending positions at least `distance` apart, none above `highest`, with one pass in each direction."""
    places: list[float] = []
    for place in wanted:
        places.append(max(place, places[-1] + distance) if places else place)
    limit = highest
    for index in reversed(range(len(places))):
        places[index] = min(places[index], limit)
        limit = places[index] - distance
    return places
