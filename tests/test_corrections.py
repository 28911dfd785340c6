"""People correct answers, admins decide, and no correction is ever overwritten."""

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.test import Client

from recognizer.models import Correction, Submission
from tests.conftest import Visitor
from tests.drawings import SEVEN

pytestmark = pytest.mark.django_db


def test_correction_is_saved_as_pending(visitor: Visitor) -> None:
    drawn = visitor.draw()["id"]
    response = visitor.say(drawn, 8)

    assert response.status_code == 201
    assert response.json() | {"id": 0, "created": ""} == {
        "id": 0, "submission": drawn, "digit": 8, "status": "pending", "triage": "", "created": "", "decided": None,
    }  # fmt: skip
    assert visitor.get(f"/api/v1/submissions/{drawn}").json()["correction"]["digit"] == 8
    assert Submission.objects.get().digit == 3


def test_not_a_digit_is_a_valid_label(visitor: Visitor) -> None:
    drawn = visitor.draw()["id"]

    assert visitor.say(drawn, None).status_code == 201
    assert visitor.get(f"/api/v1/submissions/{drawn}").json()["correction"]["digit"] is None


def test_second_correction_replaces_first_and_keeps_history(visitor: Visitor) -> None:
    drawn = visitor.draw()["id"]
    visitor.say(drawn, 8)
    response = visitor.say(drawn, 5)

    assert response.status_code == 200
    assert [(row.digit, row.superseded is None) for row in Correction.objects.order_by("id")] == [(8, False), (5, True)]
    assert visitor.get(f"/api/v1/submissions/{drawn}").json()["correction"]["digit"] == 5


def test_pending_correction_can_be_withdrawn(visitor: Visitor) -> None:
    drawn = visitor.draw()["id"]
    visitor.say(drawn, 8)
    url = f"/api/v1/submissions/{drawn}/correction"

    assert visitor.delete(url).status_code == 204
    assert visitor.get(f"/api/v1/submissions/{drawn}").json()["correction"] is None
    assert visitor.delete(url).status_code == 404
    assert visitor.say(drawn, 5).status_code == 201
    assert Correction.objects.count() == 2


@pytest.mark.parametrize("verb, state", [("accept", "accepted"), ("reject", "rejected")])
def test_decision_is_final(visitor: Visitor, staff: Client, admin_user: User, verb: str, state: str) -> None:
    drawn = visitor.draw()["id"]
    correction = visitor.say(drawn, 8).json()["id"]

    decided = staff.post(f"/api/v1/corrections/{correction}/{verb}")

    assert decided.status_code == 200
    assert decided.json()["status"] == state
    row = Correction.objects.get()
    assert row.decided_by == admin_user and row.decided is not None
    for again in ("accept", "reject"):
        assert staff.post(f"/api/v1/corrections/{correction}/{again}").status_code == 409
    assert visitor.say(drawn, 3).status_code == 409
    assert visitor.delete(f"/api/v1/submissions/{drawn}/correction").status_code == 409
    assert Correction.objects.get().state == state


def test_superseded_correction_cannot_be_decided(visitor: Visitor, staff: Client) -> None:
    drawn = visitor.draw()["id"]
    first = visitor.say(drawn, 8).json()["id"]
    visitor.say(drawn, 5)

    assert staff.post(f"/api/v1/corrections/{first}/accept").status_code == 409


def test_review_queue_starts_with_lowest_confidence(visitor: Visitor, staff: Client) -> None:
    for body in (None, SEVEN):
        visitor.say((visitor.draw(body) if body else visitor.draw())["id"], 8)
    three, seven = Submission.objects.order_by("id")
    Submission.objects.filter(pk=seven.pk).update(confidence=0.4)

    queue = staff.get("/api/v1/corrections?status=pending&page_size=1").json()
    rest = staff.get(queue["next"]).json()

    assert [row["submission"]["id"] for row in queue["results"] + rest["results"]] == [seven.pk, three.pk]
    assert staff.get("/api/v1/corrections?status=accepted").json()["results"] == []


def test_only_staff_can_review(visitor: Visitor) -> None:
    correction = visitor.say(visitor.draw()["id"], 8).json()["id"]

    assert visitor.get("/api/v1/corrections").status_code in (401, 403)
    assert visitor.post(f"/api/v1/corrections/{correction}/accept", content_type="application/json").status_code in (
        401,
        403,
    )
    assert Correction.objects.get().state == "pending"


def test_database_allows_one_standing_correction(visitor: Visitor) -> None:
    drawn = visitor.draw()["id"]
    visitor.say(drawn, 8)

    with pytest.raises(IntegrityError), transaction.atomic():
        Correction.objects.create(submission_id=drawn, digit=5)


def test_correction_that_agrees_is_a_confirmation(visitor: Visitor) -> None:
    visitor.say(visitor.draw()["id"], 3)

    assert Correction.objects.get().confirms
