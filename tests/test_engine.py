"""The engine serves the active version, switches to another, and refuses invalid models."""

import json
import threading

import numpy as np
import pytest
from django.db import DatabaseError, connection
from django.test import Client

from recognizer import registry
from recognizer.engine import ModelRefusedError, engine
from recognizer.models import ModelFile, ModelVersion, Submission
from tests.conftest import Visitor
from tests.drawings import THREE

pytestmark = pytest.mark.django_db


@pytest.fixture
def second_model(active_model: ModelVersion) -> ModelVersion:
    """Version 2 with the bundled bytes, not yet activated."""
    artifact = bytes(active_model.files.get(kind="tflite").content)
    return registry.register(
        artifact,
        None,
        preprocessing_version=active_model.preprocessing_version,
        thresholds=active_model.thresholds,
        metrics={},
        parent=active_model,
    )


def test_bundled_model_is_registered_once_as_version_1(active_model: ModelVersion) -> None:
    card = json.loads((registry.BUNDLED / "model.json").read_text())

    assert registry.ensure_bundled() is None
    assert ModelVersion.objects.get().version == 1
    assert active_model.files.get(kind="tflite").sha256 == card["sha256"]["tflite"]
    assert active_model.files.get(kind="tflite").size < 1_000_000


def test_promotion_switches_version_of_new_submissions(visitor: Visitor, second_model: ModelVersion) -> None:
    before = visitor.draw()
    registry.promote(second_model)
    engine.refresh()
    after = visitor.draw()

    assert (before["model_version"], after["model_version"]) == (1, 2)
    assert list(Submission.objects.order_by("id").values_list("model_version__version", flat=True)) == [1, 2]
    assert ModelVersion.objects.get(version=1).state == "retired"


def test_staff_promote_and_roll_back_by_api(staff: Client, visitor: Visitor, second_model: ModelVersion) -> None:
    assert visitor.post("/api/v1/models/2/activate", content_type="application/json").status_code in (401, 403)
    assert staff.post("/api/v1/models/2/activate").json()["state"] == "active"
    assert visitor.get("/api/v1/models/active").json()["version"] == 2
    assert staff.post("/api/v1/models/1/activate").status_code == 200
    assert [row["state"] for row in visitor.get("/api/v1/models").json()["results"]] == ["retired", "active"]


def test_damaged_artifact_is_refused_and_old_model_keeps_serving(
    visitor: Visitor, second_model: ModelVersion, client: Client
) -> None:
    file = second_model.files.get(kind="tflite")
    ModelFile.objects.filter(pk=file.pk).update(content=bytes(file.content)[:-100])
    registry.promote(second_model)
    engine.refresh()

    ready = client.get("/readyz")
    assert ready.status_code == 200
    assert ready.json()["model_version"] == 1
    assert "damaged" in ready.json()["problem"]
    assert visitor.draw()["model_version"] == 1

    registry.promote(ModelVersion.objects.get(version=1))
    engine.refresh()
    assert client.get("/readyz").json()["problem"] is None


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x20\x00\x00\x00TFL3" + b"\x00" * 100])
def test_invalid_model_bytes_are_refused(second_model: ModelVersion, content: bytes) -> None:
    bad = registry.register(content, None, preprocessing_version=1, thresholds=second_model.thresholds, metrics={})
    registry.promote(bad)
    engine.refresh()

    assert engine.version == 1
    assert engine.problem


def test_model_with_other_preprocessing_is_refused(second_model: ModelVersion) -> None:
    ModelVersion.objects.filter(pk=second_model.pk).update(preprocessing_version=99)
    registry.promote(second_model)
    engine.refresh()

    assert engine.version == 1
    assert "preprocessing" in (engine.problem or "")


def test_model_that_misreads_canaries_is_refused(second_model: ModelVersion) -> None:
    ModelVersion.objects.filter(pk=second_model.pk).update(
        thresholds={"digit": 1.0, "sure_digit": 1.0, "sure_confidence": 1.0}
    )
    registry.promote(second_model)
    engine.refresh()

    assert engine.version == 1
    assert "canary" in (engine.problem or "")


def test_site_without_model_answers_503(db: None, client: Client) -> None:
    with pytest.raises(ModelRefusedError):
        _ = engine.model

    assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").status_code == 503
    assert client.post("/api/v1/previews", THREE, content_type="application/json").status_code == 503


def test_readyz_names_version_and_process(active_model: ModelVersion, client: Client) -> None:
    ready = client.get("/readyz").json()

    assert ready["model_version"] == 1
    assert isinstance(ready["process"], int)


def test_concurrent_threads_get_equal_readings(active_model: ModelVersion) -> None:
    model = engine.model
    image = np.zeros((28, 28), np.uint8)
    image[4:24, 13:15] = 255
    answers: list[bytes] = []

    def work() -> None:
        answers.extend(model.probabilities(image).tobytes() for _ in range(50))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 400
    assert len(set(answers)) == 1


def test_artifact_download_uses_digest_as_etag(active_model: ModelVersion, client: Client) -> None:
    response = client.get("/api/v1/models/1/artifact")
    digest = active_model.files.get(kind="tflite").sha256

    assert response["ETag"] == f'"{digest}"'
    assert response.content == (registry.BUNDLED / "digits.tflite").read_bytes()
    assert client.get("/api/v1/models/1/artifact", headers={"If-None-Match": f'"{digest}"'}).status_code == 304
    assert client.get("/api/v1/models/9/artifact").status_code == 404


@pytest.mark.django_db(transaction=True)
def test_concurrent_promotions_leave_one_active_version(second_model: ModelVersion) -> None:
    versions = [ModelVersion.objects.get(version=1), second_model]
    errors: list[Exception] = []

    def work(version: ModelVersion) -> None:
        try:
            for _ in range(10):
                registry.promote(version)
        except DatabaseError as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=work, args=[version]) for version in versions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not errors
    assert ModelVersion.objects.filter(state="active").count() == 1
