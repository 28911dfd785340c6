"""The pages that people open."""

import re

import pytest
from django.test import Client

from recognizer.models import ModelVersion
from tests.conftest import Visitor

pytestmark = pytest.mark.django_db


def test_home_page_has_elements_of_the_report(active_model: ModelVersion, client: Client) -> None:
    page = client.get("/").content.decode()

    for words in ("Predict", "Clear", "Dark mode", "Light mode", "MNIST", "train-images-idx3-ubyte.gz"):
        assert words in page


def test_content_security_policy_is_strict_and_respected(active_model: ModelVersion, client: Client) -> None:
    response = client.get("/")
    page = response.content.decode()

    assert "unsafe" not in response["Content-Security-Policy"]
    assert "default-src 'none'" in response["Content-Security-Policy"]
    assert not re.search(r"<script(?![^>]*\ssrc=)", page)
    assert not re.search(r"\son\w+=|\sstyle=", page)
    assert not re.search(r'(?:src|href)="(?:https?:)?//(?!ossci)', page.replace("<a ", "<a\n")) or all(
        "<a" in line for line in page.splitlines() if "https://" in line
    )


def test_api_docs_use_local_files(active_model: ModelVersion, client: Client) -> None:
    page = client.get("/api/v1/docs").content.decode()

    assert "/static/drf_spectacular_sidecar/" in page
    assert not re.search(r'(?:src|href)="(?:https?:)?//', page)


def test_unknown_page_is_html_404_and_unknown_call_json_404(visitor: Visitor) -> None:
    assert "<h1" in visitor.get("/nowhere").content.decode()
    assert visitor.get("/nowhere").status_code == 404
    assert visitor.get("/api/v1/nowhere").json() == {"detail": "Not found."}
