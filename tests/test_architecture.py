"""The layering of the packages, checked on their imports."""

import ast
import os
import re
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from recognizer.models import Verdict

ROOT = Path(__file__).resolve().parent.parent
FLOORS = ["recognizer", "training", "web", "hdr_site"]  # from the bottom up: each may import those before it
OURS = sorted(path for folder in FLOORS for path in (ROOT / folder).rglob("*.py"))
HTML = {"django.http", "django.shortcuts", "django.template", "django.forms", "django.utils.html", "rest_framework"}

SERVE_WITHOUT_TENSORFLOW = """
import sys
from importlib.abc import MetaPathFinder

class NotInstalled(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"tensorflow", "keras"}:
            raise ImportError(name + " must not be needed by a web process")

sys.meta_path.insert(0, NotInstalled())
import django
django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
from recognizer import registry
registry.ensure_bundled()
from hdr_site.wsgi import application
from django.test import Client
body = {"strokes": [[[100, 40], [180, 40], [120, 240]]], "width": 280, "height": 280}
answer = Client().post("/api/v1/submissions", body, content_type="application/json")
assert answer.status_code == 201, answer.content
print(answer.json()["digit"], Client().get("/readyz").json()["model_version"])
assert not {"tensorflow", "keras"} & set(sys.modules)
"""


@cache
def imports_of(path: Path) -> set[str]:
    """Return every module that a file imports, at any depth."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_imports_point_down() -> None:
    wrong = {}
    for path in OURS:
        above = FLOORS[FLOORS.index(path.relative_to(ROOT).parts[0]) + 1 :]
        wrong[named(path)] = {name for name in imports_of(path) if name.partition(".")[0] in above}

    assert {name: imports for name, imports in wrong.items() if imports} == {}


def test_modules_have_no_import_cycles() -> None:
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in OURS}

    TopologicalSorter({name: imports_of(path) & set(modules) for name, path in modules.items()}).prepare()


@pytest.mark.parametrize("folder", ["recognizer", "training"])
def test_only_web_handles_requests(folder: str) -> None:
    users = [
        named(path)
        for path in sorted((ROOT / folder).rglob("*.py"))
        if any(name == html or name.startswith(f"{html}.") for name in imports_of(path) for html in HTML)
    ]

    assert users == []


def test_only_network_modules_import_tensorflow() -> None:
    heavy = {"tensorflow", "keras"}
    users = [path for path in OURS if {name.partition(".")[0] for name in imports_of(path)} & heavy]

    assert [str(path.relative_to(ROOT)) for path in users] == ["training/experiment/network.py", "training/network.py"]


@pytest.mark.slow
def test_web_process_serves_without_tensorflow(tmp_path: Path) -> None:
    environment = os.environ | {
        "HDR_DATA_DIR": str(tmp_path),
        "DJANGO_SETTINGS_MODULE": "hdr_site.settings",
        "ALLOWED_HOSTS": "testserver",
        "DATABASE_URL": "",
    }
    result = subprocess.run(
        [sys.executable, "-c", SERVE_WITHOUT_TENSORFLOW],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["7", "1"]


def counts_of_labels(path: Path) -> list[int]:
    """Return the lines where a file has 9, 10 or 11 as an index, a range, an array's size or the largest digit."""
    lines = []
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Subscript(slice=inner):
                found = [part for part in ast.walk(inner) if not isinstance(part, ast.Call)]
            case ast.Call(func=ast.Name(id="range"), args=inner_list):
                found = list(inner_list)
            case ast.Call(func=ast.Attribute(attr="zeros" | "empty" | "ones" | "full" | "eye"), args=[inner, *_]):
                found = list(ast.walk(inner))
            case ast.Compare(comparators=inner_list):
                found = list(inner_list)
            case ast.keyword(arg=str(name), value=inner) if name.endswith(("__lte", "max_value")):
                found = [inner]
            case _:
                continue
        values = [part.value for part in found if isinstance(part, ast.Constant)]
        if any(type(value) is int and value in (9, 10, 11) for value in values):
            lines.append(node.lineno if hasattr(node, "lineno") else 0)
    return lines


def test_only_labels_module_knows_number_of_digits() -> None:
    readers = [path for path in OURS if path.parent.name not in ("migrations", "hdr_site") and path.name != "labels.py"]

    assert {named(path): lines for path in readers if (lines := counts_of_labels(path))} == {}
    assert [named(path) for path in readers if re.search(r"\((n|m|1|\u2026), ?1[01]\)", path.read_text())] == []


def test_scripts_have_a_sentence_for_each_verdict() -> None:
    script = (ROOT / "static/js/answer.js").read_text()
    sentences = script.split("const SENTENCES = {")[1].split("};")[0]

    assert re.findall(r"^  (\w+):", sentences, re.MULTILINE) == Verdict.values
