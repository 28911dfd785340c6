"""The bundled model's card, `docs/model-card.md`, as HTML."""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.utils.safestring import SafeString, mark_safe
from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode

FILE: Path = settings.BASE_DIR / "docs" / "model-card.md"

_markdown = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")


def read_card() -> SafeString:
    """Read the card from the repository and render it."""
    return render_markdown(FILE.read_text())


def render_markdown(text: str) -> SafeString:
    """Render Markdown as HTML with the site's classes. HTML tags are escaped; only `https://` links stay links."""
    environment: dict[str, Any] = {}
    tokens = _markdown.parse(text, environment)
    for node in SyntaxTreeNode(tokens).walk():
        _adapt(node)
    html: str = _markdown.renderer.render(tokens, _markdown.options, environment)
    return mark_safe(html)  # noqa: S308 - `html` is off


def _adapt(node: SyntaxTreeNode) -> None:
    if node.token and node.type == "code_block":
        node.token.attrSet("tabindex", "0")  # so that the keyboard can scroll it
    if not node.nester_tokens:
        return
    opening, closing = node.nester_tokens
    match node.type:
        case "heading" if node.tag == "h2":
            opening.attrSet("class", "section-title")
        case "table":
            opening.attrSet("class", "results")
        case "th":
            opening.attrSet("scope", "col")
        case "td" if node.previous_sibling is None:
            opening.tag = closing.tag = "th"
            opening.attrSet("scope", "row")
        case "thead" if not any(cell.children[0].content for cell in node.children[0].children):
            _hide(node)  # an empty head: Markdown has no table without one
        case "link" if not str(node.attrs["href"]).startswith("https://"):
            opening.hidden = closing.hidden = True  # a link to a file of the repository, which is not a page here


def _hide(node: SyntaxTreeNode) -> None:
    for part in node.walk():
        if part.nester_tokens:
            part.nester_tokens.opening.hidden = part.nester_tokens.closing.hidden = True
