"""The rules that the folder tree promises, checked on the imports themselves."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ONLINE = sorted((ROOT / "recognizer").rglob("*.py"))
OURS = sorted(path for folder in ("hdr_site", "recognizer", "training") for path in (ROOT / folder).rglob("*.py"))

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


def imports_of(path: Path) -> set[str]:
    """Every module that a file imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", ONLINE, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_online_app_does_not_know_the_offline_one(path: Path) -> None:
    assert not {name for name in imports_of(path) if name.partition(".")[0] == "training"}


def test_only_the_modules_that_define_and_fit_a_network_import_tensorflow() -> None:
    heavy = {"tensorflow", "keras"}
    users = [path for path in OURS if {name.partition(".")[0] for name in imports_of(path)} & heavy]

    assert [str(path.relative_to(ROOT)) for path in users] == ["training/network.py", "training/report_network.py"]


def test_a_web_process_serves_without_tensorflow(tmp_path: Path) -> None:
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
