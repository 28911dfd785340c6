"""Races: a drawing is deleted while it is corrected, or while a run that learned from it ends."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from django.db import connection, transaction

from recognizer import submissions
from recognizer.models import Correction, ModelVersion, Submission
from recognizer.owners import Owner
from tests.labels import labelled, person
from training.dataset import Dataset, Labelled, Part
from training.loop import _save_samples
from training.models import TrainingRun, TrainingSample

pytestmark = [pytest.mark.services, pytest.mark.django_db(transaction=True)]


@pytest.fixture(autouse=True)
def _require_postgresql() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has one writer at a time")


@pytest.fixture
def drawing(active_model: ModelVersion) -> Submission:
    return labelled("somebody", 3, state=Correction.State.PENDING)


@pytest.fixture
def meanwhile() -> Iterator[Callable[[Callable[[], Any]], "Future[Any]"]]:
    """Run something on its own connection, until it is done or waits for a lock."""
    with ThreadPoolExecutor(1) as pool:

        def alone(work: Callable[[], Any]) -> Any:
            try:
                return work()
            finally:
                connection.close()

        def begin(work: Callable[[], Any]) -> "Future[Any]":
            future = pool.submit(alone, work)
            while not future.done() and not _waiting_for_a_lock():
                pass
            return future

        yield begin


def _waiting_for_a_lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return bool(cursor.fetchone()[0])


def test_correcting_a_drawing_while_it_is_deleted_stores_nothing(drawing: Submission, meanwhile: Any) -> None:
    said = []

    def say() -> None:
        said.append(meanwhile(lambda: submissions.correct(drawing, 4, Owner(session=person("somebody")))))

    _delete_and_at_the_last_moment(drawing.pk, say)

    assert isinstance(said[0].exception(10), submissions.AlreadyDecidedError)
    assert not Submission.objects.exists()
    assert not Correction.objects.exists()


def _delete_and_at_the_last_moment(pk: int, do: Callable[[], None]) -> None:
    done = threading.Event()

    def before_the_drawing_itself(execute: Any, sql: str, *rest: Any) -> Any:
        if sql.startswith('DELETE FROM "recognizer_submission"') and not done.is_set():
            done.set()
            do()
        return execute(sql, *rest)

    with connection.execute_wrapper(before_the_drawing_itself):
        Submission.objects.get(pk=pk).delete()
    assert done.is_set()


def test_deleting_drawings_while_a_run_ends_leaves_no_samples(drawing: Submission, meanwhile: Any) -> None:
    run = TrainingRun.objects.create(trigger=TrainingRun.Trigger.API)
    learned = Labelled(
        submission=drawing.pk,
        owner="somebody",
        voice="somebody",
        budget="somebody",
        digit=3,
        confirms=True,
        image=np.zeros((28, 28), np.uint8),
        ink=None,
        part=Part.TRAIN,
    )
    with transaction.atomic():
        _save_samples(run, Dataset([learned], {}, ""))
        deleting = meanwhile(lambda: submissions.delete_all(Owner(session=person("somebody"))))

    assert deleting.result(10) == 1
    assert not TrainingSample.objects.exists()
    assert not Submission.objects.exists()
