"""Tables for the admin's pages: gate reports and named numbers."""

import json
from collections.abc import Sequence
from typing import Any

from django.template.loader import render_to_string
from django.utils.html import format_html
from django.utils.safestring import SafeString


def readable(name: str) -> str:
    """Return the name of a rule or a number with spaces instead of underscores."""
    return name.replace("_", " ")


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> SafeString:
    """Render rows below a header."""
    return render_to_string("admin/table.html", {"header": header, "rows": rows})


def gate_table(report: list[dict[str, Any]] | None) -> SafeString | str:
    """Render a gate report: each gate's value, threshold and result."""
    if not report:
        return "—"
    columns = ("gate", "value", "threshold", "n", "owners", "explanation")
    failed = format_html("<strong>{}</strong>", "FAILED")
    rows = [["passed" if row["passed"] else failed, *(row.get(column, "") for column in columns)] for row in report]
    return table(["", *columns], rows)


def number_table(data: dict[str, Any]) -> SafeString | str:
    """Render named numbers, one per row; if every value is a dictionary, its keys become the columns."""
    if not data:
        return "—"
    if all(isinstance(numbers, dict) for numbers in data.values()):
        names = {column for numbers in data.values() for column in numbers}
        columns = sorted(names, key=lambda name: (len(name), name))  # PostgreSQL's key order, on SQLite too
        rows = [[readable(name), *(numbers.get(column, "") for column in columns)] for name, numbers in data.items()]
        return table(["", *map(readable, columns)], rows)
    rows = []
    for name, value in data.items():
        if isinstance(value, dict):
            rows += [[f"{readable(name)}: {part}", number] for part, number in value.items()]
        else:
            rows.append([readable(name), value])
    return table([], rows)


def json_block(data: Any) -> SafeString:
    """Render data as indented JSON, as in the API."""
    return format_html("<pre>{}</pre>", json.dumps(data, indent=2, ensure_ascii=False))
