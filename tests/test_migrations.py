"""Migrations keep every row of a filled database, forwards and back."""

import json
from pathlib import Path

import pytest
from django.db.migrations import AddField
from django.db.migrations.loader import MigrationLoader

from tests.hosts import USE_THE_SITE, Host

EASY = {"recognizer": "0006", "training": "0001"}  # later migrations work while the previous release runs
EARLIER = "0003"  # of recognizer: before counts, the review and the indexes by owner

ROWS = """
import json
from django.db import connection
with connection.cursor() as cursor:
    rows = {}
    for table, columns in (
        ("recognizer_submission", "id, digit, confidence, verdict, length(input), account_id, session"),
        ("recognizer_correction", "id, submission_id, digit, state, account_id, session, superseded"),
        ("recognizer_modelversion", "id, version, state"),
        ("recognizer_modelfile", "id, version_id, kind, sha256, length(content)"),
        ("auth_user", "id, username, password"),
    ):
        cursor.execute(f"SELECT {columns} FROM {table} ORDER BY id")
        rows[table] = [[str(value) for value in row] for row in cursor.fetchall()]
print(json.dumps(rows))
"""

CONFIDENCES = """
from recognizer.models import Correction
print(all(row.confidence == row.submission.confidence > 0 for row in Correction.objects.all()))
"""


@pytest.mark.services
def test_migrating_back_and_forth_keeps_all_rows(tmp_path: Path) -> None:
    host = Host(tmp_path / "host")
    host.manage("migrate", "--verbosity", "0")
    host.manage("shell", "--verbosity", "0", script=USE_THE_SITE)
    before = json.loads(host.manage("shell", "--verbosity", "0", script=ROWS))
    assert all(before.values())

    host.manage("migrate", "recognizer", EARLIER, "--verbosity", "0")
    assert json.loads(host.manage("shell", "--verbosity", "0", script=ROWS)) == before

    host.manage("migrate", "--verbosity", "0")
    assert json.loads(host.manage("shell", "--verbosity", "0", script=ROWS)) == before
    assert host.manage("shell", "--verbosity", "0", script=CONFIDENCES).strip() == "True"


def test_new_columns_allow_writes_by_previous_release() -> None:
    """During an upgrade, hosts with the previous release insert rows without the new columns."""
    added = {
        f"{name}: {operation.name}": operation.field
        for (app, name), migration in MigrationLoader(None).disk_migrations.items()
        for operation in migration.operations
        if app in EASY and name[:4] > EASY[app] and isinstance(operation, AddField)
    }

    assert {name for name, field in added.items() if not (field.null or field.has_db_default())} == set()
