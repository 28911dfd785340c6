"""The site's languages: every sentence is translated, layout follows the direction, visitors can choose."""

import ast
import gettext
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.test import Client
from django.utils.translation.template import templatize

from recognizer.models import ModelVersion

ROOT = Path(__file__).resolve().parent.parent
OTHERS = [code for code, _ in settings.LANGUAGES if code != "en"]

# As Django rewrites templates for xgettext.
IN_TEMPLATES = re.compile(r"""(?:\bn?gettext|\b_)\((u?'(?:[^'\\]|\\.)*'|u?"(?:[^"\\]|\\.)*")""")
IN_SCRIPTS = re.compile(r'\bgettext\(\s*"([^"]+)"')
MARKS = {"_"} | {f"{kind}gettext{late}" for kind in ("", "n", "p") for late in ("", "_lazy", "_noop")}
CONTEXT_ENDS = "\x04"  # between a context and its sentence, in a catalogue


def catalogue(code: str, domain: str) -> gettext.NullTranslations:
    return gettext.translation(domain, ROOT / "locale", [code])


def sentences(code: str, domain: str) -> set[str]:
    """Return the sentences that a catalogue translates."""
    keys = catalogue(code, domain)._catalog.keys()  # type: ignore[attr-defined]
    return {key if isinstance(key, str) else key[0] for key in keys if key}


def said_by_pages() -> Iterator[str]:
    templates = ROOT / "templates"
    for template in [*templates.rglob("*.html"), *templates.rglob("*.txt")]:
        yield from map(ast.literal_eval, IN_TEMPLATES.findall(templatize(template.read_text())))
    for folder in ("hdr_site", "recognizer", "training", "web"):
        for module in (ROOT / folder).rglob("*.py"):
            if "migrations" not in module.parts:
                yield from said_in(ast.parse(module.read_text()))


def said_in(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in MARKS:
            texts = [argument.value for argument in node.args if isinstance(argument, ast.Constant)]
            name = node.func.id
            if texts:  # otherwise it was marked elsewhere
                yield CONTEXT_ENDS.join(map(str, texts[:2])) if name.startswith("pgettext") else str(texts[0])


def said_by_scripts() -> Iterator[str]:
    for script in (ROOT / "static" / "js").glob("*.js"):
        yield from IN_SCRIPTS.findall(script.read_text())


@pytest.mark.parametrize("code", OTHERS)
def test_catalogues_have_exactly_the_sentences_in_use(code: str) -> None:
    assert set(said_by_pages()) ^ sentences(code, "django") == set()
    assert set(said_by_scripts()) ^ sentences(code, "djangojs") == set()


@pytest.mark.parametrize("code", OTHERS)
@pytest.mark.parametrize("domain", ["django", "djangojs"])
def test_translations_keep_placeholders(code: str, domain: str) -> None:
    entries = {k: v for k, v in catalogue(code, domain)._catalog.items() if k and isinstance(k, str)}  # type: ignore[attr-defined]
    values = re.compile(r"%\((\w+)\)s")

    assert entries
    assert not {k for k, v in entries.items() if set(values.findall(k)) != set(values.findall(v))}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("asked", "language", "direction", "title"),
    [
        ("en-GB,en;q=0.9", "en", "", "Draw a digit"),
        ("fr-MA,fr;q=0.9,en;q=0.5", "fr", "", "Dessinez un chiffre"),
        ("ar-MA,ar;q=0.9", "ar", ' dir="rtl"', "ارسم رقمًا"),
        ("de", "en", "", "Draw a digit"),
        ("\x00;;;q=9,*", "en", "", "Draw a digit"),
    ],
)
def test_home_page_uses_browser_language(
    active_model: ModelVersion, client: Client, asked: str, language: str, direction: str, title: str
) -> None:
    page = client.get("/", headers={"Accept-Language": asked}).content.decode()

    assert f'<html lang="{language}"{direction}>' in page
    assert f"<h1>{title}</h1>" in page
    assert ("words.js" in page) == (language != "en")


@pytest.mark.django_db
def test_visitor_can_choose_language(active_model: ModelVersion, client: Client) -> None:
    answer = client.post("/language", {"language": "fr", "next": "/experiment"})

    assert (answer.status_code, answer["Location"]) == (302, "/experiment")
    assert "Dessinez un chiffre" in client.get("/", headers={"Accept-Language": "ar"}).content.decode()


@pytest.mark.django_db
@pytest.mark.parametrize("next_page", ["https://example.org/", "//example.org", "javascript:alert(1)"])
def test_choosing_language_does_not_redirect_to_other_sites(client: Client, next_page: str) -> None:
    answer = client.post("/language", {"language": "xx", "next": next_page})

    assert answer["Location"] == "/"


@pytest.mark.parametrize("code", OTHERS)
def test_scripts_get_translations(client: Client, code: str) -> None:
    script = client.get("/words.js", headers={"Accept-Language": code})
    found = re.search(r"const newcatalog = ({.*?});", script.content.decode(), re.DOTALL)

    assert script["Content-Type"].startswith("text/javascript")
    assert found and json.loads(found[1])["Try again"] == catalogue(code, "djangojs").gettext("Try again")
    assert client.get("/words.js", headers={"If-Modified-Since": script["Last-Modified"]}).status_code == 304


@pytest.mark.django_db
def test_api_answers_are_in_english(active_model: ModelVersion, client: Client) -> None:
    answer = client.get("/api/v1/submissions/999999")

    assert answer.json() == {"detail": "Not found."}
