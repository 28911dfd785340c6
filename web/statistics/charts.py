"""Charts of the statistics page.

The page also shows each chart's numbers in a table below it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from xml.etree.ElementTree import Element

from django.utils.safestring import SafeString

from recognizer.labels import LABELS
from web import numbers
from web.statistics.measures import Share
from web.svg import add_rule, add_shape, add_text, bar_row, figure, markup, ticks

MOST_LABELS = 8  # at most, along the horizontal axis


@dataclass(frozen=True, slots=True)
class Layout:
    """Dimensions of a chart, in CSS pixels at its intended size."""

    width: int
    height: int
    labels: int = MOST_LABELS
    left: int = 46
    right: int = 8
    top: int = 12
    bottom: int = 30

    @property
    def inner(self) -> int:
        return self.width - self.left - self.right

    @property
    def floor(self) -> int:
        return self.height - self.bottom


WIDE = Layout(880, 240, labels=13)
NARROW = Layout(358, 200, labels=6)
BINS = Layout(358, 190, labels=len(LABELS), left=40, bottom=40)

DAYS_LAYOUTS = {"wide": WIDE, "narrow": NARROW}


def days_chart(days: Sequence[tuple[date, int, int]], name: str, title: str, description: str) -> SafeString:
    """Draw a stacked bar per day, pictures on top of ink; `name` is a key of `DAYS_LAYOUTS`."""
    layout = DAYS_LAYOUTS[name]
    svg = _svg(layout, f"days-{name}", f"plot__{name}", title, description)
    marks = ticks(0, max(1, *(ink + pictures for _, ink, pictures in days)), 5)
    _rules(svg, layout, [(mark, numbers.decimal(mark)) for mark in marks if mark == int(mark)], marks[-1])
    step, every = layout.inner / len(days), -(-len(days) // layout.labels)
    for index, (day, ink, pictures) in enumerate(days):
        x, width = layout.left + index * step, step * 0.76
        base = _bar(svg, layout, "ink", x, width, 0, ink / marks[-1])
        _bar(svg, layout, "picture", x, width, base, pictures / marks[-1])
        if (len(days) - 1 - index) % every == every // 2:  # away from the edges
            add_text(
                svg,
                "chart__tick chart__tick--below",
                round(x + width / 2, 1),
                layout.floor + 18,
                numbers.day_of_year(day),
            )
    return markup(svg)


def shares_chart(points: Sequence[tuple[str, Share | None]], name: str, title: str, description: str) -> SafeString:
    """Draw shares with their intervals, in order; None leaves a gap."""
    svg = _svg(NARROW, name, "chart", title, description)
    ends = [100 * end for _, share in points if share for end in share.interval]
    marks = ticks(max(0.0, min(ends) - 1), min(100.0, max(ends) + 1))
    low, high = marks[0], marks[-1]
    _rules(svg, NARROW, [((mark - low), numbers.with_percent(numbers.brief(mark, 4))) for mark in marks], high - low)
    step, every = NARROW.inner / len(points), -(-len(points) // NARROW.labels)
    for index, (label, share) in enumerate(points):
        x = round(NARROW.left + (index + 0.5) * step, 1)
        if (len(points) - 1 - index) % every == 0:  # the latest always has a label
            add_text(svg, "chart__tick chart__tick--below", x, NARROW.floor + 18, label)
        if share:
            bottom, top, y = (_y(NARROW, (100 * v - low) / (high - low)) for v in (*share.interval, share.share))
            add_shape(svg, "path", "chart__reach", d=f"M{x} {bottom}V{top}")
            add_shape(svg, "circle", "chart__mark chart__mark--active", cx=str(x), cy=str(y), r="3.5")
    return markup(svg)


def bins_chart(
    bins: Sequence[tuple[str, float, float | None]], axis: str, name: str, title: str, description: str
) -> SafeString:
    """Draw a histogram of shares, with a mark at each bin's earlier share unless that is None."""
    svg = _svg(BINS, name, "chart", title, description)
    marks = ticks(0, 100 * max(0.01, *(max(share, before or 0) for _, share, before in bins)), 5)
    _rules(svg, BINS, [(mark, numbers.with_percent(numbers.brief(mark, 4))) for mark in marks], marks[-1])
    step = BINS.inner / len(bins)
    for index, (label, share, before) in enumerate(bins):
        x, width = BINS.left + (index + 0.14) * step, step * 0.72
        _bar(svg, BINS, "ink", x, width, 0, 100 * share / marks[-1])
        if before is not None:
            y = _y(BINS, 100 * before / marks[-1])
            add_shape(svg, "path", "chart__before", d=f"M{x - 2:.1f} {y}h{width + 4:.1f}")
        add_text(svg, "chart__tick chart__tick--bin", round(x + width / 2, 1), BINS.floor + 15, label)
    add_text(svg, "chart__tick chart__tick--below", BINS.left + BINS.inner / 2, BINS.height - 6, axis)
    return markup(svg)


def strip(parts: Sequence[tuple[str, float]]) -> SafeString:
    """Draw the parts of a whole side by side; each has the suffix of its CSS class. The text beside it names them."""
    svg = bar_row("strip")
    x = 0.0
    for style, share in parts:
        add_shape(
            svg, "rect", f"strip__part strip__part--{style}", x=f"{x:.2f}", width=f"{100 * share:.2f}", height="8"
        )
        x += 100 * share
    return markup(svg)


def _svg(layout: Layout, name: str, css_class: str, title: str, description: str) -> Element:
    return figure(layout.width, layout.height, css_class, f"chart-{name}", title, description)


def _rules(svg: Element, layout: Layout, marks: Sequence[tuple[float, str]], most: float) -> None:
    for mark, label in marks:
        add_rule(svg, layout.left, layout.width - layout.right, _y(layout, mark / most), label)


def _bar(svg: Element, layout: Layout, kind: str, x: float, width: float, base: float, share: float) -> float:
    """Draw a bar that starts at the share `base` of the height; return the share where it ends."""
    if share:
        top, bottom = _y(layout, base + share), _y(layout, base)
        place = {"x": f"{x:.1f}", "y": f"{top}", "width": f"{width:.1f}", "height": f"{max(bottom - top, 0.5):.1f}"}
        add_shape(svg, "rect", f"chart__bar chart__bar--{kind}", **place)
    return base + share


def _y(layout: Layout, share: float) -> float:
    return round(layout.floor - share * (layout.floor - layout.top), 1)
