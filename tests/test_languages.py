"""The site in its languages: every sentence is translated, pages are laid out for it, visitors choose."""

import gettext
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.test import Client

from recognizer.models import ModelVersion

ROOT = Path(__file__).resolve().parent.parent
OTHERS = [code for code, _ in settings.LANGUAGES if code != "en"]

IN_TEMPLATES = re.compile(r'{% translate (?:"([^"]+)"|\'([^\']+)\')')
BLOCKS = re.compile(r"{% blocktranslate[^%]*%}(.*?)(?:{% plural %}(.*?))?{% endblocktranslate %}", re.DOTALL)
IN_CODE = re.compile(r'\b(?:gettext(?:_lazy)?|_)\(\s*"([^"]+)"')
VARIABLE = re.compile(r"{{ *(\w+) *}}")


def catalogue(code: str, domain: str) -> gettext.NullTranslations:
    return gettext.translation(domain, ROOT / "locale", [code])


def said_by_pages() -> Iterator[str]:
    for template in sorted((ROOT / "templates").rglob("*.html")):
        text = template.read_text()
        yield from ((once or twice).replace("%", "%%") for once, twice in IN_TEMPLATES.findall(text))
        for block in BLOCKS.findall(text):
            sentence = " ".join(line.strip() for line in block[0].strip().splitlines())
            yield VARIABLE.sub(r"%(\1)s", sentence.replace("%", "%%"))
    for folder in ("hdr_site", "recognizer", "training"):
        for module in sorted((ROOT / folder).rglob("*.py")):
            yield from IN_CODE.findall(module.read_text())


def said_by_scripts() -> Iterator[str]:
    for script in sorted((ROOT / "static" / "js").glob("*.js")):
        yield from IN_CODE.findall(script.read_text())


@pytest.mark.parametrize("code", OTHERS)
def test_every_sentence_is_translated_and_compiled(code: str) -> None:
    pages, scripts = catalogue(code, "django"), catalogue(code, "djangojs")
    untranslated = {text for text in said_by_pages() if not {text, (text, 0)} & pages._catalog.keys()}  # type: ignore[attr-defined]
    untranslated |= {text for text in said_by_scripts() if text not in scripts._catalog}  # type: ignore[attr-defined]

    assert not untranslated


@pytest.mark.parametrize("code", OTHERS)
@pytest.mark.parametrize("domain", ["django", "djangojs"])
def test_a_translation_has_the_same_values(code: str, domain: str) -> None:
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
def test_the_home_page_speaks_the_browsers_language(
    active_model: ModelVersion, client: Client, asked: str, language: str, direction: str, title: str
) -> None:
    page = client.get("/", headers={"Accept-Language": asked}).content.decode()

    assert f'<html lang="{language}"{direction}>' in page
    assert f"<h1>{title}</h1>" in page
    assert ("words.js" in page) == (language != "en")


@pytest.mark.django_db
def test_a_visitor_chooses_a_language(active_model: ModelVersion, client: Client) -> None:
    answer = client.post("/language", {"language": "fr", "next": "/experiment"})

    assert (answer.status_code, answer["Location"]) == (302, "/experiment")
    assert "Dessinez un chiffre" in client.get("/", headers={"Accept-Language": "ar"}).content.decode()


@pytest.mark.django_db
@pytest.mark.parametrize("next_page", ["https://example.org/", "//example.org", "javascript:alert(1)"])
def test_choosing_a_language_leads_nowhere_else(client: Client, next_page: str) -> None:
    answer = client.post("/language", {"language": "xx", "next": next_page})

    assert answer["Location"] == "/"


@pytest.mark.parametrize("code", OTHERS)
def test_scripts_get_their_words(client: Client, code: str) -> None:
    script = client.get("/words.js", headers={"Accept-Language": code})
    found = re.search(r"const newcatalog = ({.*?});", script.content.decode(), re.DOTALL)

    assert script["Content-Type"].startswith("text/javascript")
    assert found and json.loads(found[1])["Try again"] == catalogue(code, "djangojs").gettext("Try again")
    assert client.get("/words.js", headers={"If-Modified-Since": script["Last-Modified"]}).status_code == 304


@pytest.mark.django_db
def test_programs_are_answered_in_english(active_model: ModelVersion, client: Client) -> None:
    answer = client.get("/api/v1/submissions/999999")

    assert answer.json() == {"detail": "Not found."}
