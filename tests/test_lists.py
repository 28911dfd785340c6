"""Lists fetch no ink and no pictures; complete downloads are streamed in small batches."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from recognizer import history
from recognizer.models import Correction, Submission
from tests.conftest import Visitor
from tests.drawings import SEVEN, THREE
from training.exchange import examples

FETCHED = re.compile(r'"recognizer_submission"\."(ink|picture)"(?! IS)')


def fetched(queries: CaptureQueriesContext) -> list[str]:
    return [query["sql"] for query in queries if FETCHED.search(query["sql"])]


@pytest.fixture
def drawn(visitor: Visitor) -> Visitor:
    """A visitor with three corrected drawings; one correction is accepted."""
    for body in (THREE, SEVEN, THREE):
        visitor.say(visitor.draw(body)["id"], 4)
    Correction.objects.filter(pk=Correction.objects.earliest("pk").pk).update(state=Correction.State.ACCEPTED)
    return visitor


@pytest.mark.parametrize(
    "address", ["/api/v1/submissions?page_size=200", "/mine", "/mine?show=waiting", "/mine/deletion"]
)
def test_own_lists_fetch_no_ink(drawn: Visitor, address: str) -> None:
    with CaptureQueriesContext(connection) as queries:
        assert drawn.get(address).status_code == 200

    assert not fetched(queries)


@pytest.mark.parametrize(
    "address",
    [
        "/api/v1/submissions?page_size=200",
        "/api/v1/corrections?page_size=200",
        "/review",
        "/admin/recognizer/submission/",
        "/admin/recognizer/correction/",
        "/admin/data/",
        "/statistics",
        "/models",
        "/models/1",
    ],
)
def test_staff_lists_fetch_no_ink(drawn: Visitor, staff: Client, admin_user: Any, address: str) -> None:
    staff.force_login(admin_user)
    with CaptureQueriesContext(connection) as queries:
        assert staff.get(address).status_code == 200

    assert not fetched(queries)


def test_list_has_no_ink_but_single_drawing_has(drawn: Visitor) -> None:
    row = drawn.get("/api/v1/submissions").json()["results"][0]

    assert "ink" not in row and row["correction"]["digit"] == 4
    assert drawn.get(f"/api/v1/submissions/{row['id']}").json() == row | {"ink": THREE}


def test_list_fetches_no_reports_of_versions(drawn: Visitor) -> None:
    with CaptureQueriesContext(connection) as queries:
        drawn.get("/api/v1/submissions?page_size=200")

    assert not any("gate_report" in query["sql"] or "lineage" in query["sql"] for query in queries)


def test_download_of_own_drawings_fetches_ink_in_batches(drawn: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "STORED_AT_ONCE", 1)
    with CaptureQueriesContext(connection) as queries:
        sent = json.loads(b"".join(drawn.get("/mine/drawings.json")))["drawings"]

    assert len(fetched(queries)) == len(sent) == 3
    assert [row["ink"] for row in sent] == [THREE, SEVEN, THREE]


def test_drawing_deleted_during_download_is_left_out(drawn: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "STORED_AT_ONCE", 1)
    stream = iter(drawn.get("/mine/drawings.json"))
    begun = [next(stream), next(stream)]
    Submission.objects.order_by("-pk")[1].delete()

    assert len(json.loads(b"".join([*begun, *stream]))["drawings"]) == 2


@pytest.mark.parametrize(("name", "queries_with_ink"), [("npz", 0), ("idx", 0), ("png", 0), ("ndjson", 2)])
def test_export_fetches_ink_only_if_needed_and_in_batches(
    drawn: Visitor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, queries_with_ink: int
) -> None:
    monkeypatch.setattr(examples, "INK_BATCH", 2)
    Correction.objects.update(state=Correction.State.ACCEPTED)
    with CaptureQueriesContext(connection) as queries:
        call_command("export_dataset", name, tmp_path / "out")

    assert len(fetched(queries)) == queries_with_ink


def test_deleting_in_admin_fetches_no_ink(drawn: Visitor, staff: Client, admin_user: User) -> None:
    staff.force_login(admin_user)
    account = User.objects.create(username="ada")
    Submission.objects.update(account=account, session=None)
    pks = list(Submission.objects.values_list("pk", flat=True))
    chosen = {"action": "delete_selected", "_selected_action": pks[:2]}
    with CaptureQueriesContext(connection) as queries:
        of_account = staff.get(f"/admin/auth/user/{account.pk}/delete/").content.decode()
        of_one = staff.get(f"/admin/recognizer/submission/{pks[0]}/delete/").content.decode()
        of_two = staff.post("/admin/recognizer/submission/", chosen).content.decode()
        staff.post("/admin/recognizer/submission/", chosen | {"post": "yes"})

    assert f"{len(pks)} drawings" in of_account
    assert "1 drawing" in of_one and "2 drawings" in of_two
    assert list(Submission.objects.values_list("pk", flat=True)) == pks[2:]
    assert not fetched(queries)
