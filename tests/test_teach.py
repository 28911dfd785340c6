"""The page that asks for digits."""

import re

import pytest

from recognizer.models import ModelVersion
from tests.conftest import Visitor, main_of
from tests.drawings import SEVEN, THREE
from web.pages.teach import digits_by_need

pytestmark = pytest.mark.django_db


def given(visitor: Visitor) -> list[int]:
    return [int(count) for count in re.findall(r"data-count>(\d+)<", main_of(visitor.get("/teach")))]


def test_digits_given_and_not_withdrawn_are_counted(
    active_model: ModelVersion, visitor: Visitor, stranger: Visitor
) -> None:
    for body, digit in ((THREE, 3), (THREE, 3), (SEVEN, 1), (SEVEN, None)):
        visitor.say(visitor.draw(body)["id"], digit)
    stranger.say(stranger.draw(THREE)["id"], 3)
    last = visitor.draw(THREE)["id"]
    visitor.say(last, 5)
    visitor.delete(f"/api/v1/submissions/{last}/correction")

    assert given(visitor) == [0, 1, 0, 2, 0, 0, 0, 0, 0, 0]


def test_least_known_digits_are_asked_for_first(active_model: ModelVersion) -> None:
    recall = [1.0] * 10
    recall[4], recall[2] = 0.9, 0.95
    counts = {"corrections_of": {"9": 3}, "confirmations_of": {str(digit): 5 for digit in range(10) if digit != 2}}
    ModelVersion.objects.update(metrics={"mnist_test": {"recall": recall}}, lineage={"drawings": counts})

    assert digits_by_need()[:2] == [2, 4]
    assert digits_by_need()[-1] == 9


def test_page_works_for_version_without_metrics(active_model: ModelVersion, visitor: Visitor) -> None:
    ModelVersion.objects.update(metrics={}, lineage={})

    assert 'data-order="0 1 2 3 4 5 6 7 8 9"' in main_of(visitor.get("/teach"))


def test_page_uses_few_queries(
    active_model: ModelVersion, visitor: Visitor, django_assert_max_num_queries: object
) -> None:
    for _ in range(5):
        visitor.say(visitor.draw(THREE)["id"], 3)
    with django_assert_max_num_queries(5):  # type: ignore[operator]
        visitor.get("/teach")
