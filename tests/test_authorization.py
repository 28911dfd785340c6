"""The `Authorization` header: a token is accepted in either scheme, anything else is refused."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from rest_framework.authtoken.models import Token

from recognizer.models import ModelVersion, Submission
from tests.conftest import Visitor
from tests.drawings import THREE

pytestmark = pytest.mark.django_db


@pytest.fixture
def key(active_model: ModelVersion) -> str:
    return str(Token.objects.create(user=User.objects.create(username="ada")).key)


def submit(authorization: str, client: Client | None = None) -> Any:
    headers = {"Authorization": authorization}
    return (client or Client()).post("/api/v1/submissions", THREE, content_type="application/json", headers=headers)


@pytest.mark.parametrize("scheme", ["Token", "Bearer", "bearer", "BEARER", "token", "Bearer "])
def test_token_is_accepted_in_either_scheme(key: str, scheme: str) -> None:
    assert submit(f"{scheme} {key}").status_code == 201
    assert Submission.objects.get().account == User.objects.get()


@pytest.mark.parametrize(
    "header",
    [
        "{key}", "Basic {key}", "Basic YWRhOng=", "Digest {key}", "", " ", "Bearer", "Bearer ", "Token", "Bearer{key}",
        "Bearer:{key}", "Bearer {key} x", "Bearer {key}, Bearer {key}", "Token Bearer {key}", "Bearer\xa0{key}",
        "Bearer\t{key}", "Bearer {key}\xa0", "Bearer é", "Bearer ٣", "Bearer a\0b", "Bearer " + "0" * 40, "Bärer {key}",
    ],
)  # fmt: skip
def test_invalid_authorization_is_401_and_stores_nothing(key: str, header: str) -> None:
    answer = submit(header.replace("{key}", key))

    assert (answer.status_code, answer["WWW-Authenticate"]) == (401, "Bearer")
    assert list(answer.json()) == ["detail"]
    assert not Submission.objects.exists()


def test_cookie_does_not_replace_invalid_token(visitor: Visitor) -> None:
    assert submit("Basic x", visitor).status_code == 401
    assert visitor.get("/api/v1/submissions", headers={"Authorization": "Bearer x"}).status_code == 401
    assert not Submission.objects.exists()


def test_schema_describes_token_authentication(client: Client) -> None:
    schema = client.get("/api/v1/schema", headers={"Accept": "application/json"}).json()

    assert schema["components"]["securitySchemes"]["token"] == {"type": "http", "scheme": "bearer"}
    operations = [operation for path in schema["paths"].values() for operation in path.values()]
    assert all({"token": []} in operation["security"] for operation in operations)
    assert all("401" in operation["responses"] for operation in operations)


def test_schema_is_generated_once_and_cached(client: Client, monkeypatch: Any) -> None:
    first = client.get("/api/v1/schema")
    monkeypatch.setattr("drf_spectacular.generators.SchemaGenerator.get_schema", None)  # a second time would fail

    again = client.get("/api/v1/schema", headers={"If-None-Match": first["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get("/api/v1/schema", headers={"Accept-Language": "fr"}).content == first.content


def test_schema_is_served_as_yaml_and_json(client: Client) -> None:
    yaml = client.get("/api/v1/schema")
    json = client.get("/api/v1/schema", headers={"Accept": "application/json"})

    assert yaml.content.startswith(b"openapi: 3") and json.json()["openapi"].startswith("3")
    assert yaml["ETag"] != json["ETag"]
    assert "Accept" in yaml["Vary"] and yaml["Cache-Control"] == "no-cache"
