"""Charts of the version pages.

All have the width of a phone, so that the text keeps its size; on wider screens several stand side by side.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import floor, log10
from xml.etree.ElementTree import Element

from django.utils.safestring import SafeString

from training.evaluation import CalibrationBin
from web import numbers
from web.svg import add_rule, add_shape, add_text, bar_row, figure, markup, ticks

WIDTH, HEIGHT = 360, 200
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 14, 34

MOST_LABELS = 8  # at most, along the horizontal axis


@dataclass(frozen=True, slots=True)
class Point:
    """One version's value in a chart."""

    version: int
    value: float  # percent
    state: str  # suffix of the mark's CSS class


def versions_chart(points: Sequence[Point], name: str, title: str, description: str) -> SafeString:
    """Draw percentages by version; `points` holds at least two, oldest first."""
    values = [point.value for point in points]
    padding = max(0.05, 0.1 * (max(values) - min(values)))
    marks = ticks(max(0.0, min(values) - padding), min(100.0, max(values) + padding))
    svg = _svg(name, title, description)
    places = [_x(index, len(points)) for index in range(len(points))]
    heights = [_y(value, marks) for value in values]
    _rules(svg, marks)
    step = -(-len(points) // MOST_LABELS)
    for index, (x, point) in enumerate(zip(places, points, strict=True)):
        if (len(points) - 1 - index) % step == 0:  # the newest always has a label
            add_text(svg, "chart__tick chart__tick--below", x, HEIGHT - BOTTOM + 18, str(point.version))
    line = [(x, y) for x, y, point in zip(places, heights, points, strict=True) if point.state in ("active", "retired")]
    add_shape(svg, "polyline", "chart__line", points=" ".join(f"{x},{y}" for x, y in line))
    for x, y, point in zip(places, heights, points, strict=True):
        radius = "5" if point.state == "active" else "3.5"
        add_shape(svg, "circle", f"chart__mark chart__mark--{point.state}", cx=str(x), cy=str(y), r=radius)
    return markup(svg)


def loss_chart(losses: Sequence[float], title: str, description: str) -> SafeString:
    """Draw the mean loss of each epoch; `losses` holds at least one."""
    marks = ticks(min(losses), max(losses), 5)
    svg = _svg("loss", title, description)
    _rules(svg, marks, str)
    places = [(_x(index, len(losses)), _y(loss, marks)) for index, loss in enumerate(losses)]
    step = -(-len(losses) // MOST_LABELS)
    for epoch, (x, _) in enumerate(places, 1):
        if (epoch - 1) % step == 0:
            add_text(svg, "chart__tick chart__tick--below", x, HEIGHT - BOTTOM + 18, str(epoch))
    add_shape(svg, "polyline", "chart__line", points=" ".join(f"{x},{y}" for x, y in places))
    for x, y in places:
        add_shape(svg, "circle", "chart__mark chart__mark--retired", cx=str(x), cy=str(y), r="3.5")
    return markup(svg)


def reliability_chart(bins: Sequence[CalibrationBin], title: str, description: str) -> SafeString:
    """Draw a reliability diagram: accuracy by confidence. On the diagonal the confidence is calibrated."""
    side = WIDTH - LEFT - RIGHT - 10
    svg, bottom = _svg("reliability", title, description, height=TOP + side + BOTTOM), TOP + side
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        x, y = LEFT + side * share, bottom - side * share
        add_rule(svg, LEFT, LEFT + side, y, numbers.percent(share, 0))
        add_text(svg, "chart__tick chart__tick--below", x, bottom + 18, numbers.percent(share, 0))
    add_shape(svg, "path", "chart__diagonal", d=f"M{LEFT} {bottom}L{LEFT + side} {TOP}")
    most = max(group.n for group in bins)
    for group in bins:
        x, y = LEFT + side * group.confidence, bottom - side * group.right
        radius = 3 + 6 * log10(1 + group.n) / log10(1 + most)
        add_shape(svg, "circle", "chart__bin", cx=f"{x:.1f}", cy=f"{y:.1f}", r=f"{radius:.1f}")
    return markup(svg)


def bar(share: float) -> SafeString:
    """Draw a bar that fills a share of 0…1 of its width; the text beside it says what it means."""
    svg = bar_row("bar-line")
    add_shape(svg, "rect", "bar-line__track", width="100", height="8")
    add_shape(svg, "rect", "bar-line__ink", width=f"{100 * min(max(share, 0.0), 1.0):.1f}", height="8")
    return markup(svg)


def _svg(name: str, title: str, description: str, height: int = HEIGHT) -> Element:
    return figure(WIDTH, height, "chart", f"chart-{name}", title, description)


def _rules(svg: Element, marks: Sequence[float], write: Callable[[str], str] = numbers.with_percent) -> None:
    places = max(0, -floor(log10(marks[1] - marks[0]) + 1e-9))
    for mark in marks:
        add_rule(svg, LEFT, WIDTH - RIGHT, _y(mark, marks), write(numbers.decimal(mark, places)))


def _x(index: int, count: int) -> float:
    left, right = LEFT + 10, WIDTH - RIGHT - 10
    return round((left + right) / 2 if count == 1 else left + (right - left) * index / (count - 1), 1)


def _y(value: float, marks: Sequence[float]) -> float:
    share = (value - marks[0]) / (marks[-1] - marks[0])
    return round(HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP), 1)
