"""Prometheus metrics: counters of events, gauges from the database, and access by token."""

import re
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from recognizer.models import ModelVersion
from tests.conftest import Visitor

pytestmark = pytest.mark.django_db


def count(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def scraped(client: Client) -> dict[str, Any]:
    answer = client.get("/metrics")
    assert answer["Content-Type"].startswith("text/plain")
    return {family.name: family for family in text_string_to_metric_families(answer.content.decode())}


def test_drawing_and_correcting_are_counted(visitor: Visitor) -> None:
    route = {"method": "POST", "route": "api/v1/submissions", "status": "201"}
    names: tuple[tuple[str, dict[str, str]], ...] = (
        ("digits_http_request_seconds_count", route),
        ("digits_preprocessing_seconds_count", {"form": "ink"}),
        ("digits_inference_seconds_count", {}),
        ("digits_readings_total", {"verdict": "sure", "stored": "yes"}),
        ("digits_corrections_total", {"kind": "corrected"}),
    )
    before = [count(name, **labels) for name, labels in names]

    visitor.say(visitor.draw()["id"], 8)

    assert [count(name, **labels) for name, labels in names] == [number + 1 for number in before]


def test_invented_methods_and_paths_share_one_series(client: Client) -> None:
    before = count("digits_http_request_seconds_count", method="other", route="none", status="404")

    for number in range(5):
        client.generic(f"FETCH{number}", f"/made/up/{number}")

    assert count("digits_http_request_seconds_count", method="other", route="none", status="404") == before + 5


def test_gauges_show_database_and_process(visitor: Visitor, active_model: ModelVersion) -> None:
    visitor.say(visitor.draw()["id"], 8)

    families = scraped(visitor)

    assert families["digits_active_version"].samples[0].value == 1
    assert families["digits_serving_version"].samples[0].value == 1
    assert families["digits_corrections_waiting"].samples[0].value == 1
    states = {sample.labels["state"]: sample.value for sample in families["digits_training_runs"].samples}
    assert states["running"] == 0 and states["succeeded"] == 0
    for family in families.values():
        assert family.documentation
    assert all(name.startswith(("digits_", "python_", "process_")) for name in families)


def test_metrics_token_is_required(client: Client, settings: Any) -> None:
    settings.METRICS_TOKEN = "long and secret"

    assert client.get("/metrics").status_code == 401
    assert client.get("/metrics", headers={"Authorization": "Bearer wrong"}).status_code == 401
    assert client.get("/metrics", headers={"Authorization": "Bearer é"}).status_code == 401
    assert client.get("/metrics", headers={"Authorization": "Basic long and secret"}).status_code == 401
    assert client.get("/metrics", headers={"Authorization": "Bearer long and secret"}).status_code == 200
    assert client.get("/metrics", headers={"Authorization": "bearer long and secret"}).status_code == 200


def test_rules_and_dashboard_use_existing_metrics(visitor: Visitor) -> None:
    visitor.draw()
    there = {sample.name for family in scraped(visitor).values() for sample in family.samples}
    there |= {"digits_training_last_success_timestamp_seconds"}  # once a run has made a version

    for file in ("alerts.yml", "grafana.json"):
        named = set(re.findall(r"\bdigits_\w+", (Path(__file__).parent.parent / "deploy" / file).read_text()))
        assert named and named <= there, file
