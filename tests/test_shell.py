"""The site as an installed application."""

import re

import pytest
from django.contrib.auth.models import User
from django.contrib.staticfiles import finders
from django.test import Client

from recognizer.models import ModelVersion
from tests.conftest import Visitor


@pytest.mark.django_db
def test_manifest_names_existing_icons(active_model: ModelVersion, client: Client) -> None:
    manifest = client.get("/manifest.webmanifest").json()
    page = client.get("/").content.decode()

    assert '<link rel="manifest" href="/manifest.webmanifest">' in page
    assert {icon["sizes"] for icon in manifest["icons"]} == {"192x192", "512x512"}
    assert {icon["purpose"] for icon in manifest["icons"]} == {"any", "maskable"}
    assert all(finders.find(icon["src"].removeprefix("/static/")) for icon in manifest["icons"])


def test_manifest_uses_language_of_visitor(client: Client) -> None:
    manifest = client.get("/manifest.webmanifest", headers={"Accept-Language": "ar"}).json()

    assert (manifest["lang"], manifest["dir"], manifest["short_name"]) == ("ar", "rtl", "أرقام")


@pytest.mark.django_db
def test_service_worker_caches_existing_files_and_no_api_answers(active_model: ModelVersion, client: Client) -> None:
    response = client.get("/sw.js")
    worker = response.content.decode()
    listed = re.search(r"const FILES = \[(.*?)\];", worker, re.DOTALL)
    assert listed
    files = [file.encode().decode("unicode_escape") for file in re.findall(r'"([^"]+)"', listed[1])]

    assert response["Content-Type"].startswith("text/javascript") and response["Cache-Control"] == "no-cache"
    assert "/static/js/draw.js" in files and "/offline" in files
    assert all(finders.find(file.removeprefix("/static/")) for file in files if file != "/offline")
    assert not any("api" in file for file in files)
    assert client.get("/offline").status_code == 200


@pytest.mark.django_db
def test_cached_pages_contain_no_personal_data(visitor: Visitor, admin_user: User) -> None:
    visitor.force_login(admin_user)
    page = visitor.get("/offline")
    drawing = visitor.get("/").content.decode()
    kept = re.sub(r"<!-- personal -->.*?<!-- /personal -->", "", drawing, flags=re.DOTALL)  # as the worker does

    assert "boss" not in page.content.decode() and "csrfmiddlewaretoken" not in page.content.decode()
    assert "Cookie" not in page.get("Vary", "") and not page.cookies
    assert "boss" in drawing and "/admin/" in drawing
    assert "boss" not in kept and "/admin/" not in kept and "csrfmiddlewaretoken" in kept


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/", "/models", "/offline", "/words.js", "/api/v1/submissions", "/api/v1/models"])
def test_responses_are_private_to_the_browser(visitor: Visitor, path: str) -> None:
    assert "private" in visitor.get(path)["Cache-Control"]
