"""Drawing or uploading a digit, reading it, and finding it again."""

import base64
import io
from typing import Any

import numpy as np
import pytest
from django.contrib.auth.models import User
from django.test import Client
from PIL import Image
from rest_framework.authtoken.models import Token

from recognizer.models import ModelVersion, Submission
from recognizer.preprocessing import PREPROCESSING_VERSION
from tests.conftest import Visitor
from tests.drawings import SEVEN, THREE, body_of, canary, encoded, picture_of

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("digit", range(10))
def test_drawn_digit_is_read_and_stored(visitor: Visitor, digit: int) -> None:
    answer = visitor.draw(body_of(canary(digit)))

    assert answer["digit"] == digit
    assert answer["verdict"] == "sure"
    assert answer["confidence"] == pytest.approx(max(answer["probabilities"]), abs=1e-5)
    assert sum(answer["probabilities"]) == pytest.approx(1, abs=1e-4)
    assert answer["model_version"] == 1
    stored = Submission.objects.get(pk=answer["id"])
    assert stored.digit == digit
    assert stored.ink and stored.ink["width"] == 280
    assert stored.session is not None and stored.account is None
    assert stored.preprocessing_version == PREPROCESSING_VERSION


def test_answer_contains_28_by_28_model_input(visitor: Visitor) -> None:
    answer = visitor.draw()

    kind, _, payload = answer["input"].partition(",")
    image = Image.open(io.BytesIO(base64.b64decode(payload)))
    assert kind == "data:image/png;base64"
    assert image.size == (28, 28)
    assert np.asarray(image).tobytes() == bytes(Submission.objects.get().input)


def test_preview_gives_same_answer_and_stores_nothing(visitor: Visitor) -> None:
    preview = visitor.post("/api/v1/previews", THREE, content_type="application/json")
    stored = visitor.draw(THREE)

    assert preview.status_code == 200
    assert Submission.objects.count() == 1
    assert preview.json().keys() == stored.keys() - {"id", "created"}
    assert preview.json()["digit"] == stored["digit"] == 3


@pytest.mark.parametrize("scale, left, top", [(2, 40, 40), (0.6, 5, 5), (0.6, 210, 215), (2.7, 0, 0)])
def test_position_and_size_do_not_matter(visitor: Visitor, scale: float, left: float, top: float) -> None:
    plain = visitor.draw(body_of(canary(5)))
    moved = visitor.draw(body_of(canary(5), scale=scale, left=left, top=top))

    assert moved["digit"] == 5
    assert moved["confidence"] == pytest.approx(plain["confidence"], abs=0.02)


def test_time_and_pressure_of_points_are_stored(visitor: Visitor) -> None:
    strokes = [[[x, y, 8.0 * i, 0.5] for i, (x, y) in enumerate(stroke)] for stroke in THREE["strokes"]]
    answer = visitor.draw(THREE | {"strokes": strokes})

    assert answer["digit"] == 3
    ink = Submission.objects.get().ink
    assert ink and ink["strokes"][0][1][2:] == [8.0, 0.5]


def test_upload_and_data_url_are_read_alike(visitor: Visitor) -> None:
    png = encoded(picture_of(canary(4)))
    upload = visitor.post("/api/v1/submissions", {"image": io.BytesIO(png)})
    data_url = visitor.draw({"image": "data:image/png;base64," + base64.b64encode(png).decode()})

    assert upload.status_code == 201
    assert upload.json()["digit"] == data_url["digit"] == 4
    assert upload.json()["probabilities"] == data_url["probabilities"]


def test_stored_picture_is_small_and_without_metadata(visitor: Visitor) -> None:
    exif = Image.Exif()
    exif[0x010E] = "taken at home"
    photo = encoded(np.repeat(np.repeat(picture_of(canary(8)), 6, 0), 6, 1), "JPEG", exif=exif)
    assert b"taken at home" in photo

    response = visitor.post("/api/v1/submissions", {"image": io.BytesIO(photo)})

    stored = bytes(Submission.objects.get().picture or b"")
    image = Image.open(io.BytesIO(stored))
    assert response.json()["digit"] == 8
    assert max(image.size) <= 512
    assert not image.getexif()
    assert b"taken at home" not in stored


def test_non_digit_gets_no_digit(visitor: Visitor) -> None:
    grid = [[[40, y], [240, y]] for y in range(40, 250, 40)] + [[[x, 40], [x, 240]] for x in range(40, 250, 40)]
    answer = visitor.draw({"strokes": grid, "width": 280, "height": 280})

    assert answer["verdict"] == "not_a_digit"
    assert answer["digit"] is None
    assert len(answer["probabilities"]) == 10


@pytest.mark.parametrize("strokes", [[], [[]], [[], []]])
def test_blank_canvas_is_refused(visitor: Visitor, strokes: list[Any]) -> None:
    response = visitor.post("/api/v1/submissions", THREE | {"strokes": strokes}, content_type="application/json")

    assert response.status_code == 400
    assert "ink" in response.json()["detail"]
    assert not Submission.objects.exists()


def test_history_is_own_newest_first_and_paginated(visitor: Visitor, stranger: Visitor) -> None:
    ids = [visitor.draw()["id"] for _ in range(3)]
    stranger.draw(SEVEN)

    first = visitor.get("/api/v1/submissions?page_size=2").json()
    second = visitor.get(first["next"]).json()

    assert [row["id"] for row in first["results"] + second["results"]] == ids[::-1]
    assert first["previous"] is None and second["next"] is None
    assert "ink" not in first["results"][0] and "ink" not in second["results"][0]
    assert first["results"][0]["correction"] is None


def test_submissions_of_others_are_404(visitor: Visitor, stranger: Visitor) -> None:
    theirs = stranger.draw()["id"]

    assert visitor.get(f"/api/v1/submissions/{theirs}").status_code == 404
    assert visitor.delete(f"/api/v1/submissions/{theirs}").status_code == 404
    assert visitor.say(theirs, 3).status_code == 404
    assert Submission.objects.count() == 1


def test_staff_see_all_submissions(visitor: Visitor, staff: Client) -> None:
    drawn = visitor.draw()["id"]

    assert staff.get(f"/api/v1/submissions/{drawn}").json()["digit"] == 3
    assert [row["id"] for row in staff.get("/api/v1/submissions").json()["results"]] == [drawn]


def test_deleted_submission_is_gone(visitor: Visitor) -> None:
    drawn = visitor.draw()["id"]
    visitor.say(drawn, 3)

    assert visitor.delete(f"/api/v1/submissions/{drawn}").status_code == 204
    assert visitor.get(f"/api/v1/submissions/{drawn}").status_code == 404
    assert not Submission.objects.exists()


def test_account_has_same_history_on_every_device(active_model: ModelVersion) -> None:
    token = Token.objects.create(user=User.objects.create_user("ada"))
    laptop, phone = (Client(headers={"Authorization": f"Token {token.key}"}) for _ in range(2))

    drawn = laptop.post("/api/v1/submissions", THREE, content_type="application/json").json()["id"]

    assert phone.get(f"/api/v1/submissions/{drawn}").status_code == 200


def test_anonymous_request_is_stored_without_owner(active_model: ModelVersion, visitor: Visitor) -> None:
    bare = Client(enforce_csrf_checks=True)
    response = bare.post("/api/v1/submissions", THREE, content_type="application/json")

    assert response.status_code == 201
    assert not bare.cookies
    assert bare.get("/api/v1/submissions").json()["results"] == []
    assert visitor.get(f"/api/v1/submissions/{response.json()['id']}").status_code == 404


def test_write_with_cookie_requires_csrf_token(visitor: Visitor) -> None:
    visitor.csrf = ""
    response = visitor.post("/api/v1/submissions", THREE, content_type="application/json")

    assert response.status_code == 403
    assert "CSRF" in response.json()["detail"]
    assert not Submission.objects.exists()


def test_owner_cookie_is_signed_and_http_only(visitor: Visitor) -> None:
    cookie = visitor.cookies["owner"]
    drawn = visitor.draw()["id"]
    visitor.cookies["owner"] = cookie.value.replace(cookie.value[:32], "0" * 32)

    assert cookie["httponly"] and cookie["samesite"] == "Lax"
    assert visitor.get(f"/api/v1/submissions/{drawn}").status_code == 404


def test_storing_takes_one_query(visitor: Visitor, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(1):
        visitor.draw()
    with django_assert_num_queries(0):
        visitor.post("/api/v1/previews", THREE, content_type="application/json")


def test_history_page_uses_two_queries(visitor: Visitor, django_assert_num_queries: Any) -> None:
    for _ in range(5):
        visitor.say(visitor.draw()["id"], 3)
    with django_assert_num_queries(2):  # submissions with their versions, corrections
        visitor.get("/api/v1/submissions")
