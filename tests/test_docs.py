"""README and docs name every setting, call and command, their links work, and their lines are wrapped."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest
from django.core.management import call_command, get_commands
from django.test import Client
from django.urls import URLResolver, get_resolver

from training.gates import GATES

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
API = (ROOT / "docs" / "api.md").read_text()
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]

LONGEST_LINE = 140  # of Markdown, in characters; tables may be wider


def test_readme_names_every_environment_variable() -> None:
    sources = [
        *(ROOT / "hdr_site").glob("*.py"),
        *(ROOT / "recognizer").rglob("*.py"),
        *(ROOT / "training").rglob("*.py"),
    ]
    read = re.compile(r'environment\.(?:text|flag|number|words|secret|choice)\(\s*"([A-Z_]+)"')
    names = {name for source in sources for name in read.findall(source.read_text())}

    assert len(names) > 10
    assert {name for name in names if f"`{name}`" not in README} == set()


def test_readme_names_every_command() -> None:
    ours = {name for name, app in get_commands().items() if app in ("hdr_site", "recognizer", "training", "web")}

    assert {name for name in ours if f"`{name}`" not in README} == set()


def test_api_page_names_every_call() -> None:
    (api,) = (part for part in get_resolver().url_patterns if str(part.pattern) == "api/v1/")
    assert isinstance(api, URLResolver)
    calls = api.url_patterns
    named = [re.sub(r"<int:(\w+)>", r"{\1}", str(call.pattern)).replace("{pk}", "{id}") for call in calls]

    assert {call for call in named if call and f"/{call}`" not in API} == set()


def test_learning_page_describes_every_gate() -> None:
    table = re.search(
        r"\| gate \| what must hold \|\n\|---\|---\|\n((?:\|.*\n)+)", (ROOT / "docs" / "learning.md").read_text()
    )

    assert table
    assert table[1].splitlines() == [f"| `{gate.name}` | {gate.explanation} |" for gate in GATES]


def test_schema_is_valid_and_complete(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("spectacular", validate=True, fail_on_warn=True)

    assert "Warning" not in capsys.readouterr().err


@pytest.mark.django_db
def test_schema_describes_every_call(client: Client) -> None:
    paths = client.get("/api/v1/schema", headers={"Accept": "application/vnd.oai.openapi+json"}).json()["paths"]

    assert "/api/v1/submissions/{id}/correction" in paths
    assert set(paths["/api/v1/submissions"]) == {"get", "post"}
    assert {"/api/v1/previews", "/api/v1/corrections", "/api/v1/models/active"} <= set(paths)


def test_links_between_documents_work() -> None:
    links = [(page, link) for page in PAGES for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text())]

    assert len(links) > 50
    assert [f"{page.name}: {link}" for page, link in links if not (page.parent / link).exists()] == []


def test_benchmarks_named_in_docs_exist() -> None:
    named = {
        name for page in [ROOT / "Makefile", *PAGES] for name in re.findall(r"benchmarks(?:\.\w+)+", page.read_text())
    }

    assert len(named) > 10
    assert {name for name in named if find_spec(name) is None} == set()


def test_markdown_lines_are_wrapped() -> None:
    lines = [
        (f"{page.relative_to(ROOT)}:{number}", line)
        for page in PAGES
        for number, line in enumerate(page.read_text().splitlines(), 1)
    ]

    assert len(lines) > 1000
    assert [where for where, line in lines if len(line) > LONGEST_LINE and not line.startswith("|")] == []


def test_images_contain_the_model_card_that_the_site_shows() -> None:
    assert "!docs/model-card.md" in (ROOT / ".dockerignore").read_text().splitlines()
