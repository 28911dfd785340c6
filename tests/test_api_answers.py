"""Every API answer has exactly the fields of its OpenAPI schema, for every call."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from jsonschema import Draft202012Validator

from recognizer.models import Correction, ModelVersion
from tests.conftest import Visitor
from tests.drawings import SCRIBBLE, THREE
from tests.versions import learned
from training.models import TrainingRun

pytestmark = pytest.mark.django_db

API = "/api/v1"
Answer = tuple[str, Any]  # the operation, and the response to it


def test_every_answer_has_exactly_the_fields_of_the_schema(
    visitor: Visitor, admin_user: User, active_model: ModelVersion, small_mnist: Path
) -> None:
    schema = visitor.get(f"{API}/schema", headers={"Accept": "application/json"}).json()
    components = exact(schema["components"])
    described = {
        (f"{method} {path.removeprefix(API)}", int(status)): response["content"]["application/json"]["schema"]
        for path, operations in schema["paths"].items()
        for method, operation in operations.items()
        for status, response in operation["responses"].items()
        if int(status) < 300 and "application/json" in response.get("content", {})
    }
    answered = set()
    staff = Client()
    staff.force_login(admin_user)
    for operation, response in (*answers_to_people(visitor), *answers_to_staff(staff, visitor, active_model)):
        answered.add((operation, response.status_code))
        shape = {"components": components} | exact(described[operation, response.status_code])
        faults = [
            f"{operation}: {fault.json_path}: {fault.message}"
            for fault in Draft202012Validator(shape).iter_errors(response.json())
        ]
        assert faults == []
    assert answered == set(described)


def answers_to_people(visitor: Visitor) -> Iterator[Answer]:
    def post(path: str, body: Any) -> Any:
        return visitor.post(f"{API}{path}", body, content_type="application/json")

    for ink in (THREE, SCRIBBLE):
        yield "post /previews", post("/previews", ink)
        stored = post("/submissions", ink)
        yield "post /submissions", stored
        drawn = stored.json()["id"]
        yield "get /submissions/{id}", visitor.get(f"{API}/submissions/{drawn}")
        yield "get /submissions/{id}/explanation", visitor.get(f"{API}/submissions/{drawn}/explanation")
        yield "post /submissions/{id}/correction", post(f"/submissions/{drawn}/correction", {"digit": 8})
        yield "post /submissions/{id}/correction", post(f"/submissions/{drawn}/correction", {"digit": None})
        yield "get /submissions/{id}", visitor.get(f"{API}/submissions/{drawn}")
    yield "get /submissions", visitor.get(f"{API}/submissions")


def answers_to_staff(staff: Client, visitor: Visitor, first: ModelVersion) -> Iterator[Answer]:
    yield "get /corrections", staff.get(f"{API}/corrections")
    for act, correction in zip(("accept", "reject"), list(Correction.objects.waiting()), strict=True):
        yield f"post /corrections/{{id}}/{act}", staff.post(f"{API}/corrections/{correction.pk}/{act}")
    yield "get /corrections", staff.get(f"{API}/corrections?status=accepted")
    yield "get /submissions", visitor.get(f"{API}/submissions")  # with a label that was decided

    second = learned(first, {"mnist_test": {"n": 10_000, "accuracy": 0.9978}})
    yield "get /models", staff.get(f"{API}/models")
    yield "get /models/active", staff.get(f"{API}/models/active")
    yield "get /models/{version}", staff.get(f"{API}/models/{second.version}")
    yield "post /models/{version}/activate", staff.post(f"{API}/models/{first.version}/activate")

    asked = staff.post(f"{API}/training-runs", {}, content_type="application/json")
    yield "post /training-runs", asked
    for run in TrainingRun.objects.all():
        yield "get /training-runs/{id}", staff.get(f"{API}/training-runs/{run.pk}")
    yield "post /training-runs/{id}/cancel", staff.post(f"{API}/training-runs/{asked.json()['id']}/cancel")
    yield "get /training-runs", staff.get(f"{API}/training-runs")


def exact(schema: Any) -> Any:
    """Convert OpenAPI 3.0 schemas to JSON Schema that forbids additional fields."""
    if isinstance(schema, list):
        return [exact(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    strict = {key: exact(value) for key, value in schema.items() if key != "nullable"}
    if isinstance(strict.get("properties"), dict):
        strict.setdefault("additionalProperties", False)
    return {"anyOf": [strict, {"type": "null"}]} if schema.get("nullable") is True else strict
