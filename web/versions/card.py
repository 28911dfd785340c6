"""The bundled model's card as a page: the few kinds of Markdown that `docs/model-card.md` has, and no more."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from django.conf import settings
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

FILE: Path = settings.BASE_DIR / "docs" / "model-card.md"

_SPANS = (
    (re.compile(r"`([^`]+)`"), r"<code>\1</code>"),
    (re.compile(r"\*\*([^*]+)\*\*"), r"<strong>\1</strong>"),
    (re.compile(r"\[([^\]]+)\]\((https://[^)\s]+)\)"), r'<a href="\2">\1</a>'),
    (re.compile(r"\[([^\]]+)\]\([^)]+\)"), r"\1"),  # to another file of the repository, which is no page
)


@dataclass(frozen=True, slots=True)
class Block:
    """A heading (`h1`, `h2`), paragraph (`p`), list (`ul`), table or piece of code (`pre`)."""

    kind: str
    text: SafeString = field(default_factory=SafeString)
    items: list[SafeString] = field(default_factory=list)
    head: list[SafeString] = field(default_factory=list)
    rows: list[list[SafeString]] = field(default_factory=list)


def read_card() -> list[Block]:
    """Read the card from the repository."""
    return list(blocks(FILE.read_text()))


def blocks(markdown: str) -> Iterator[Block]:
    """Part a text at its empty lines, and where a line's beginning says that something else begins."""
    for kind, lines in groupby(markdown.splitlines(), _Kinds()):
        yield from _block(kind, list(lines))


class _Kinds:
    """Says what each line belongs to; an indented one goes on with a list, and is code elsewhere."""

    def __init__(self) -> None:
        self._last = ""

    def __call__(self, line: str) -> str:
        if self._last != "ul" or not line.startswith("  "):
            self._last = _kind(line)
        return self._last


def _kind(line: str) -> str:
    if not line.strip():
        return ""
    marks = {"# ": "h1", "## ": "h2", "* ": "ul", "|": "table", "    ": "pre"}
    return next((kind for mark, kind in marks.items() if line.startswith(mark)), "p")


def _block(kind: str, lines: Sequence[str]) -> Iterator[Block]:
    match kind:
        case "h1" | "h2":
            yield from (Block(kind, _inline(line.lstrip("# "))) for line in lines)
        case "ul":
            items = re.split(r"^\* ", "\n".join(lines), flags=re.MULTILINE)[1:]
            yield Block(kind, items=[_inline(item) for item in items])
        case "table":
            head, _, *rows = [[_inline(cell.strip()) for cell in line.strip("| ").split(" | ")] for line in lines]
            yield Block(kind, head=head if any(head) else [], rows=rows)
        case "pre":
            yield Block(kind, escape("\n".join(line[4:] for line in lines)))
        case "p":
            yield Block(kind, _inline(" ".join(lines)))


def _inline(text: str) -> SafeString:
    """Escape first, then mark up: what the patterns let through cannot be a tag."""
    marked = str(escape(text))
    for pattern, markup in _SPANS:
        marked = pattern.sub(markup, marked)
    return mark_safe(marked)  # noqa: S308 - escaped above
