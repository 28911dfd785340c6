"""The gates: what they let through and what they hold back, on synthetic readings."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from recognizer import registry
from recognizer.engine import DigitModel
from recognizer.verdicts import Thresholds
from training import gates
from training.eval_suite import EvalResult, EvalSuite, PeopleSamples, Samples
from training.evaluation import Readings

SIZES = {"mnist": 10_000, "strangers": 4000, "negatives": 1500, "holdout": 60, "validation": 60, "train": 400}
OF_PEOPLE = ("holdout", "validation", "train")
QUICK = gates.GateLimits(latency_readings=20)
EACH = 4  # drawings of one voice in a row


@pytest.fixture(scope="module")
def model() -> DigitModel:
    return DigitModel((registry.BUNDLED / "digits.tflite").read_bytes(), Thresholds(0.08, 0.9, 0.97))


@pytest.fixture(scope="module")
def suite() -> EvalSuite:
    rng = np.random.default_rng(0)
    return EvalSuite(**{name: samples(name, n, rng) for name, n in SIZES.items()})


def samples(name: str, n: int, rng: np.random.Generator) -> Any:
    images = np.zeros((min(n, 200), 28, 28), np.uint8)
    labels = np.full(n, -1) if name == "negatives" else rng.integers(0, 10, n)
    if name in OF_PEOPLE:
        return PeopleSamples(images, labels, voices=np.arange(n) // EACH, shares=np.full(n, 0.25 / n))
    return Samples(images, labels)


def readings(labels: np.ndarray, wrong: list[int] | range) -> Readings:
    """Return calibrated answers: sure where right, wrong at the given places."""
    digits = labels.copy()
    digits[list(wrong)] = (labels[list(wrong)] + 1) % 10
    probabilities = np.full((len(labels), 11), 0.001, np.float32)
    probabilities[np.arange(len(labels)), np.maximum(digits, 0)] = 0.991
    return Readings(probabilities, digits, digits == labels)


def result(model: DigitModel, suite: EvalSuite, **wrong: list[int] | range) -> EvalResult:
    parts = {"mnist": range(30), "strangers": range(50), "negatives": range(20), "train": range(80)} | wrong
    return EvalResult(model, {name: readings(getattr(suite, name).labels, parts.get(name, [])) for name in SIZES})


def evidence_of(suite: EvalSuite, champion: EvalResult, candidate: EvalResult) -> gates.Evidence:
    return gates.Evidence(suite, champion, candidate, champion, 342_000, 1.0, QUICK)


def failed(model: DigitModel, suite: EvalSuite, changes: Any = None, **wrong: list[int] | range) -> set[str]:
    champion = result(model, suite)
    better = {"train": range(20)} | wrong
    evidence = evidence_of(suite, champion, result(model, suite, **better))
    return {row["gate"] for row in gates.judge(replace(evidence, **(changes or {}))) if not row["passed"]}


def test_better_candidate_passes(model: DigitModel, suite: EvalSuite) -> None:
    assert failed(model, suite) == set()


def test_small_change_on_mnist_passes(model: DigitModel, suite: EvalSuite) -> None:
    assert failed(model, suite, mnist=[*range(27), 100, 101, 102, 103, 104, 105]) == set()


def test_small_loss_on_mnist_fails(model: DigitModel, suite: EvalSuite) -> None:
    assert failed(model, suite, mnist=range(36)) == {"mnist_champion"}  # 0.06 points, all losses


def test_absolute_floor_does_not_depend_on_champion(model: DigitModel, suite: EvalSuite) -> None:
    poor = result(model, suite, mnist=range(60))

    assert "mnist" in failed(model, suite, {"champion": poor, "bundled": poor}, mnist=range(60))


def test_loss_on_strangers_fails(model: DigitModel, suite: EvalSuite) -> None:
    assert "strangers" in failed(model, suite, strangers=range(70))


def test_slow_drift_from_bundled_model_fails(model: DigitModel, suite: EvalSuite) -> None:
    champion = result(model, suite, mnist=range(44))

    assert failed(model, suite, {"champion": champion}, mnist=range(46)) == {"mnist_bundled"}


def test_loss_on_one_digit_fails(model: DigitModel, suite: EvalSuite) -> None:
    sevens = np.flatnonzero(suite.strangers.labels == 7)[-20:].tolist()
    ones = np.flatnonzero(suite.strangers.labels == 1)[:20].tolist()
    champion = result(model, suite, strangers=ones)

    assert failed(model, suite, {"champion": champion, "bundled": champion}, strangers=sevens) == {"recall"}


def of_voices(count: int, each: int = 1) -> list[int]:
    """Return the places of the first `each` drawings of the first `count` voices."""
    return [EACH * voice + drawing for voice in range(count) for drawing in range(each)]


@pytest.mark.parametrize("part", ["holdout", "validation"])
def test_worse_readings_for_six_people_fail(model: DigitModel, suite: EvalSuite, part: str) -> None:
    assert failed(model, suite, **{part: of_voices(6)}) == {part}
    assert failed(model, suite, **{part: of_voices(5, each=EACH)}) == set()  # 20 drawings, but five people


@pytest.mark.parametrize("part", ["holdout", "validation"])
def test_one_voice_does_not_decide(model: DigitModel, suite: EvalSuite, part: str) -> None:
    crowd = replace(getattr(suite, part), voices=np.zeros(SIZES[part], int))
    crowded = replace(suite, **{part: crowd})

    assert failed(model, crowded, **{part: range(SIZES[part])}) == set()


@pytest.mark.parametrize("part", ["holdout", "validation"])
def test_unsure_answers_of_champion_are_no_evidence(model: DigitModel, suite: EvalSuite, part: str) -> None:
    champion = result(model, suite)
    doubting = replace(champion.readings[part], sure=np.zeros(SIZES[part], bool))
    champion = replace(champion, readings=champion.readings | {part: doubting})

    assert failed(model, suite, {"champion": champion}, **{part: range(SIZES[part])}) == set()


def test_gate_rows_count_voices(model: DigitModel, suite: EvalSuite) -> None:
    champion = result(model, suite)
    evidence = evidence_of(suite, champion, result(model, suite))
    owners = {row["gate"]: row.get("owners") for row in gates.judge(evidence)}

    assert {gate: count for gate, count in owners.items() if count is not None} == {
        "holdout": 15,
        "validation": 15,
        "learned": 100,
    }


def test_lost_guesses_do_not_hide_learning(model: DigitModel, suite: EvalSuite) -> None:
    """People confirm 100 guesses of the champion; the candidate guesses otherwise."""
    champion = result(model, suite)
    guesses = range(200, 300)
    readings = champion.readings["train"]
    unsure = replace(readings, sure=readings.sure & ~np.isin(np.arange(len(readings.sure)), guesses))
    champion = replace(champion, readings=champion.readings | {"train": unsure})

    assert failed(model, suite, {"champion": champion}, train=[*range(20), *guesses]) == set()


def test_candidate_that_learned_nothing_fails(model: DigitModel, suite: EvalSuite) -> None:
    assert failed(model, suite, train=range(80)) == {"learned"}


def test_reading_letters_as_digits_fails(model: DigitModel, suite: EvalSuite) -> None:
    assert failed(model, suite, negatives=range(80)) == {"not_digits"}


def test_misread_canaries_fail(model: DigitModel, suite: EvalSuite) -> None:
    blind = DigitModel((registry.BUNDLED / "digits.tflite").read_bytes(), Thresholds(1.0, 1.0, 1.0))
    candidate = replace(result(model, suite, train=range(20)), model=blind)

    assert failed(model, suite, {"candidate": candidate}) == {"canaries"}


def test_artifact_that_differs_or_is_too_large_fails(model: DigitModel, suite: EvalSuite) -> None:
    assert failed(model, suite, {"agreement": 0.99, "artifact_size": 2_000_000}) == {"parity", "size"}


def test_people_gates_pass_without_labels(model: DigitModel, suite: EvalSuite) -> None:
    nothing = np.empty(0, np.int64)
    empty = PeopleSamples(np.empty((0, 28, 28), np.uint8), nothing, nothing, np.empty(0))
    few = replace(suite, holdout=empty, validation=empty)
    champion = result(model, few)
    evidence = evidence_of(few, champion, result(model, few, train=range(20)))
    report = {row["gate"]: row for row in gates.judge(evidence)}

    assert report["holdout"]["passed"] and report["holdout"]["n"] == 0
    assert report["validation"]["passed"] and report["validation"]["n"] == 0


def test_report_has_value_threshold_and_sample_count(model: DigitModel, suite: EvalSuite) -> None:
    champion = result(model, suite)
    report = gates.judge(evidence_of(suite, champion, champion))

    assert [row["gate"] for row in report] == [gate.name for gate in gates.GATES]
    assert report[0] == {
        "gate": "mnist",
        "explanation": "Accuracy on the MNIST test set is at least 99.5%.",
        "value": 0.997,
        "threshold": 0.995,
        "passed": True,
        "n": 10_000,
    }


@pytest.mark.parametrize(("k", "n", "chance"), [(0, 0, 1.0), (5, 5, 1 / 32), (9, 10, 11 / 1024), (600, 1000, 1.36e-10)])
def test_binomial_tail_is_exact(k: int, n: int, chance: float) -> None:
    assert gates.binomial_tail(k, n) == pytest.approx(chance, rel=0.01)
