"""Tables for the admin's pages: gate reports, and named numbers."""

import json
from collections.abc import Sequence
from typing import Any

from django.template.loader import render_to_string
from django.utils.html import format_html
from django.utils.safestring import SafeString


def readable(name: str) -> str:
    """The name of a rule or a number, in words."""
    return name.replace("_", " ")


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> SafeString:
    """Lay rows out below a header."""
    return render_to_string("admin/table.html", {"header": header, "rows": rows})


def gate_table(report: list[dict[str, Any]] | None) -> SafeString | str:
    """Show a gate report: what each gate saw, what it asked for, and whether that was enough."""
    if not report:
        return "—"
    columns = ("gate", "value", "threshold", "n", "owners", "explanation")
    failed = format_html("<strong>{}</strong>", "FAILED")
    rows = [["passed" if row["passed"] else failed, *(row.get(column, "") for column in columns)] for row in report]
    return table(["", *columns], rows)


def number_table(data: dict[str, Any]) -> SafeString | str:
    """Show named numbers, one a row; where each name has several of them, they are the columns."""
    if not data:
        return "—"
    if all(isinstance(numbers, dict) for numbers in data.values()):
        names = {column for numbers in data.values() for column in numbers}
        columns = sorted(names, key=lambda name: (len(name), name))  # as PostgreSQL keeps them, on SQLite too
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
    """Show data as the API gives it."""
    return format_html("<pre>{}</pre>", json.dumps(data, indent=2, ensure_ascii=False))
