"""A disk without space: what cannot be stored is refused in words, and nobody stumbles over a message half written."""

import json
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from celery import Celery
from django.conf import settings
from django.db import connection
from kombu.exceptions import OperationalError

from hdr_site.broker import LARGEST
from recognizer.models import Submission
from tests.conftest import Visitor
from tests.drawings import THREE

SUBMISSIONS, PREVIEWS = "/api/v1/submissions", "/api/v1/previews"


@contextmanager
def no_space() -> Iterator[None]:
    """Let this process write to no file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.django_db(transaction=True)
def test_a_drawing_that_cannot_be_stored_is_refused_in_words_and_still_read(visitor: Visitor) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("PostgreSQL's disk is not ours")
    with no_space():
        refused = visitor.post(SUBMISSIONS, THREE, content_type="application/json")
        preview = visitor.post(PREVIEWS, THREE, content_type="application/json")

    assert (refused.status_code, list(refused.json())) == (503, ["detail"])
    assert preview.json()["digit"] == 3
    assert visitor.draw()["digit"] == 3
    assert Submission.objects.count() == 1


@pytest.fixture
def messages(tmp_path: Path) -> Iterator[tuple[Celery, Path]]:
    """A Celery application with the folder broker, and its folder of messages."""
    with Celery(broker="filesystem://localhost", set_as_current=False) as app:
        app.conf.broker_transport = "hdr_site.broker:Transport"
        app.conf.broker_transport_options = {
            "data_folder_in": str(tmp_path),
            "data_folder_out": str(tmp_path),
            "control_folder": str(tmp_path / "control"),
        }
        app.conf.task_default_queue = "site"
        yield app, tmp_path


def received(app: Celery) -> str | None:
    """Take the next message and return the name of its task."""
    with app.connection_for_read() as broker, broker.SimpleQueue("site") as queue:
        try:
            message = queue.get(block=False)
        except queue.Empty:
            return None
        message.ack()
        return str(message.headers["task"])


def test_a_message_that_cannot_be_written_leaves_none_behind(messages: tuple[Celery, Path]) -> None:
    app, folder = messages
    app.send_task("before")
    with no_space(), pytest.raises(OperationalError, match="No message could be written"):
        app.send_task("lost", retry=False)
    app.send_task("after")

    assert [received(app), received(app), received(app)] == ["before", "after", None]
    assert not list(folder.glob("*.site.*"))


def test_a_damaged_message_is_thrown_away(messages: tuple[Celery, Path]) -> None:
    app, folder = messages
    app.send_task("whole")
    for name, content in {"0_empty": "", "1_cut": json.dumps({"body": "x"})[:-3]}.items():
        (folder / f"{name}.site.msg").write_text(content)

    assert [received(app), received(app)] == ["whole", None]


@pytest.mark.parametrize(
    "changes",
    [
        {"content-type": "application/x-python-serialize", "body": "KX19h5Qu"},  # a pickle
        {"content-type": "application/x-yaml"},
        {"body": "no base64"},
        {"body": 7},
        {"body": "eyJub25lIjogMX0="},  # {"none": 1}
        {"properties": []},
        {"properties": {"delivery_info": 3}},
        {"headers": 7},
        {"time": {"__type__": "datetime", "__value__": 1}},
    ],
    ids=lambda changes: str(changes)[:40],
)
def test_a_message_that_the_worker_could_not_read_is_thrown_away(
    changes: dict[str, Any], messages: tuple[Celery, Path]
) -> None:
    app, folder = messages
    app.send_task("whole")
    [whole] = folder.glob("*.site.msg")
    (folder / "0_odd.site.msg").write_text(json.dumps(json.loads(whole.read_text()) | changes))

    assert [received(app), received(app)] == ["whole", None]


@pytest.mark.parametrize("content", ["[]", "null", "7", "{}", "[" * 100_000, "x" * (LARGEST + 1)], ids=lambda x: x[:9])
def test_what_is_no_message_is_thrown_away(content: str, messages: tuple[Celery, Path]) -> None:
    app, folder = messages
    app.send_task("whole")
    (folder / "0_odd.site.msg").write_text(content)

    assert [received(app), received(app)] == ["whole", None]


def test_thousands_of_messages_are_listed_once(messages: tuple[Celery, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    app, folder = messages
    app.send_task("whole")
    [whole] = folder.glob("*.site.msg")
    for number in range(300):
        (folder / f"{number:03}.site.msg").write_text(whole.read_text())
    looked = Mock(side_effect=os.listdir)
    monkeypatch.setattr("hdr_site.broker.os.listdir", looked)

    with app.connection_for_read() as broker, broker.SimpleQueue("site") as queue:
        looked.reset_mock()
        for _ in range(301):
            queue.get(block=False).ack()
        assert looked.call_count == 1


def test_a_folder_that_is_gone_is_a_broker_that_is_away(messages: tuple[Celery, Path]) -> None:
    app, folder = messages
    folder.rename(folder.with_name("gone"))

    with pytest.raises(OperationalError):
        app.send_task("lost", retry=False)


def test_the_site_without_redis_uses_this_broker() -> None:
    if settings.REDIS_URL:
        pytest.skip("shown with the folder")
    from hdr_site import celery_app

    with celery_app.connection_for_write() as broker:
        assert type(broker.transport).__module__ == "hdr_site.broker"
