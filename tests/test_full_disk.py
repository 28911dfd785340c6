"""A full disk: failures are reported clearly, and no partial message is read."""

import errno
import json
import os
import resource
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from celery import Celery
from django.conf import settings
from django.db import connection
from django.test import Client
from kombu.exceptions import OperationalError

from hdr_site.broker import LARGEST
from recognizer.models import Correction, Submission
from recognizer.reserved import Counts
from tests.conftest import Visitor
from tests.drawings import THREE
from web.throttles import FileCounter

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
def test_unstorable_drawing_is_503_and_previews_still_work(visitor: Visitor) -> None:
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


def test_unwritable_message_leaves_no_file(messages: tuple[Celery, Path]) -> None:
    app, folder = messages
    app.send_task("before")
    with no_space(), pytest.raises(OperationalError, match="No message could be written"):
        app.send_task("lost", retry=False)
    app.send_task("after")

    assert [received(app), received(app), received(app)] == ["before", "after", None]
    assert not list(folder.glob("*.site.*"))


def test_damaged_message_is_discarded(messages: tuple[Celery, Path]) -> None:
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
def test_message_unreadable_for_worker_is_discarded(changes: dict[str, Any], messages: tuple[Celery, Path]) -> None:
    app, folder = messages
    app.send_task("whole")
    [whole] = folder.glob("*.site.msg")
    (folder / "0_odd.site.msg").write_text(json.dumps(json.loads(whole.read_text()) | changes))

    assert [received(app), received(app)] == ["whole", None]


@pytest.mark.parametrize("content", ["[]", "null", "7", "{}", "[" * 100_000, "x" * (LARGEST + 1)], ids=lambda x: x[:9])
def test_file_that_is_no_message_is_discarded(content: str, messages: tuple[Celery, Path]) -> None:
    app, folder = messages
    app.send_task("whole")
    (folder / "0_odd.site.msg").write_text(content)

    assert [received(app), received(app)] == ["whole", None]


def test_messages_are_listed_once(messages: tuple[Celery, Path], monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_missing_folder_is_an_unreachable_broker(messages: tuple[Celery, Path]) -> None:
    app, folder = messages
    folder.rename(folder.with_name("gone"))

    with pytest.raises(OperationalError):
        app.send_task("lost", retry=False)


def test_site_without_redis_uses_this_broker() -> None:
    if settings.REDIS_URL:
        pytest.skip("shown with the folder")
    from hdr_site.celery import app as celery_app

    with celery_app.connection_for_write() as broker:
        assert type(broker.transport).__module__ == "hdr_site.broker"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere space cannot be reserved")
def test_shared_memory_files_have_reserved_disk_space(tmp_path: Path) -> None:
    """Otherwise the kernel kills a process that writes there when the disk is full."""
    FileCounter(tmp_path / "throttles")
    counts: Any = Counts(str(tmp_path / "counts"))
    with closing(counts):
        for number in range(3000):
            counts.write_value(f"route {number}", number, 0.0)

    for name in ("throttles", "counts"):
        status = (tmp_path / name).stat()
        assert status.st_blocks * 512 >= status.st_size > 1 << 16


def test_calls_are_counted_on_full_disk(tmp_path: Path) -> None:
    with no_space():
        counter = FileCounter(tmp_path / "throttles")
        assert [counter.count("x", 60)[0] for _ in range(3)] == [1, 2, 3]


def test_prometheus_counts_stay_intact_on_full_disk(tmp_path: Path) -> None:
    counts: Any = Counts(str(tmp_path / "counts"))
    with closing(counts):
        counts.write_value("old", 1.0, 0.0)
        with no_space():
            for number in range(3000):
                counts.write_value(f"new {number}", number, 0.0)
            counts.write_value("old", 2.0, 0.0)

        kept = {name: value for name, value, *_ in counts.read_all_values_from_file(tmp_path / "counts")}
    assert kept.pop("old") == 2.0
    assert 0 < len(kept) < 3000
    assert all(value == float(name.removeprefix("new ")) for name, value in kept.items())


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere space cannot be reserved")
def test_process_started_on_full_disk_counts_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "posix_fallocate", Mock(side_effect=OSError(errno.ENOSPC, "No space left on device")))
    counts: Any = Counts(str(tmp_path / "counts"))
    with closing(counts):
        counts.write_value("new", 1.0, 0.0)
        assert counts.read_value("new") == (1.0, 0.0)

    assert not list(tmp_path.iterdir())  # otherwise /metrics would fail on an empty file


@pytest.mark.django_db
def test_download_on_full_disk_shows_error(
    admin_client: Client, visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    visitor.say(visitor.draw()["id"], 3)
    Correction.objects.update(state=Correction.State.ACCEPTED)
    monkeypatch.setattr("web.admin.data.TemporaryFile", lambda: Path("/dev/full").open("r+b", buffering=0))  # noqa: SIM115

    assert admin_client.get("/admin/data/ndjson").status_code == 302
    assert "No space left on device" in admin_client.get("/admin/data/").content.decode()
