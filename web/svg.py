"""Building blocks of all charts: inline SVG, rendered on the server, styled by classes only.

The content security policy forbids inline scripts and styles. Texts are escaped.
"""

from math import ceil, floor, log10
from xml.etree.ElementTree import Element, SubElement, tostring

from django.utils.safestring import SafeString, mark_safe

MOST_TICKS = 6


def figure(width: float, height: float, css_class: str, name: str, title: str, description: str) -> Element:
    """Start an SVG figure; `name` makes its ids unique on the page.

    Args:
        width, height: size of the view box, in user units.
        title, description: text for screen readers.
    """
    svg = Element(
        "svg",
        {
            "class": css_class,
            "viewBox": f"0 0 {width} {height}",
            "role": "img",
            "aria-labelledby": f"{name}-title {name}-description",
        },
    )
    SubElement(svg, "title", id=f"{name}-title").text = title
    SubElement(svg, "desc", id=f"{name}-description").text = description
    return svg


def bar_row(css_class: str) -> Element:
    """Start a row of bars, 100 × 8 units, hidden from screen readers because the text beside it has the numbers."""
    svg = Element("svg", {"class": css_class, "viewBox": "0 0 100 8", "aria-hidden": "true"})
    svg.set("preserveAspectRatio", "none")
    return svg


def add_shape(parent: Element, tag: str, css_class: str, **attributes: str) -> Element:
    return SubElement(parent, tag, {"class": css_class} | attributes)


def add_text(parent: Element, css_class: str, x: float, y: float, text: str) -> None:
    add_shape(parent, "text", css_class, x=f"{x:g}", y=f"{y:g}").text = text


def add_rule(parent: Element, left: float, right: float, y: float, label: str) -> None:
    """Draw a horizontal grid line with a label on its left."""
    add_shape(parent, "path", "chart__rule", d=f"M{left} {y:g}H{right}")
    add_text(parent, "chart__tick chart__tick--beside", left - 7, y, label)


def markup(svg: Element) -> SafeString:
    return mark_safe(tostring(svg, encoding="unicode"))  # noqa: S308 - ElementTree escapes


def ticks(low: float, high: float, most: int = MOST_TICKS) -> list[float]:
    """Return at most `most` round numbers, from at or below `low` to at or above `high`."""
    span = max(high - low, 1e-6)
    size = 10.0 ** floor(log10(span / (most - 1)))
    for step in (size * factor for factor in (1, 2, 5, 10, 20)):
        first, last = floor(low / step + 1e-9), ceil(high / step - 1e-9)
        if last - first < most:
            return [round(step * number, 10) for number in range(first, max(last, first + 1) + 1)]
    raise AssertionError("twenty times a hundredth of the span is no step")
