"""The gates: what lets a candidate through and what holds it back, on readings made up for the purpose."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from recognizer import registry
from recognizer.engine import DigitModel, Thresholds
from training import gates
from training.evaluation import Readings
from training.examination import Examination, Judged, PeopleSamples, Samples

SIZES = {"mnist": 10_000, "strangers": 4000, "others": 1500, "holdout": 60, "validation": 60, "lessons": 400}
OF_PEOPLE = ("holdout", "validation", "lessons")
QUICK = gates.GateLimits(latency_readings=20)
EACH = 4  # drawings of one voice in a row


@pytest.fixture(scope="module")
def model() -> DigitModel:
    return DigitModel((registry.BUNDLED / "digits.tflite").read_bytes(), Thresholds(0.08, 0.9, 0.97))


@pytest.fixture(scope="module")
def examination() -> Examination:
    rng = np.random.default_rng(0)
    return Examination(**{name: samples(name, n, rng) for name, n in SIZES.items()})


def samples(name: str, n: int, rng: np.random.Generator) -> Any:
    images = np.zeros((min(n, 200), 28, 28), np.uint8)
    labels = np.full(n, -1) if name == "others" else rng.integers(0, 10, n)
    if name in OF_PEOPLE:
        return PeopleSamples(images, labels, voices=np.arange(n) // EACH, shares=np.full(n, 0.25 / n))
    return Samples(images, labels)


def readings(labels: np.ndarray, wrong: list[int] | range) -> Readings:
    """Calibrated answers, sure where they are right, and wrong where it says so."""
    digits = labels.copy()
    digits[list(wrong)] = (labels[list(wrong)] + 1) % 10
    probabilities = np.full((len(labels), 11), 0.001, np.float32)
    probabilities[np.arange(len(labels)), np.maximum(digits, 0)] = 0.991
    return Readings(probabilities, digits, digits == labels)


def judged(model: DigitModel, examination: Examination, **wrong: list[int] | range) -> Judged:
    parts = {"mnist": range(30), "strangers": range(50), "others": range(20), "lessons": range(80)} | wrong
    return Judged(model, {name: readings(getattr(examination, name).labels, parts.get(name, [])) for name in SIZES})


def evidence_of(examination: Examination, champion: Judged, candidate: Judged) -> gates.Evidence:
    return gates.Evidence(examination, champion, candidate, champion, 342_000, 1.0, QUICK)


def failed(model: DigitModel, examination: Examination, changes: Any = None, **wrong: list[int] | range) -> set[str]:
    champion = judged(model, examination)
    better = {"lessons": range(20)} | wrong
    evidence = evidence_of(examination, champion, judged(model, examination, **better))
    return {row["gate"] for row in gates.judge(replace(evidence, **(changes or {}))) if not row["passed"]}


def test_a_candidate_that_learned_and_forgot_nothing_passes(model: DigitModel, examination: Examination) -> None:
    assert failed(model, examination) == set()


def test_one_digit_more_or_less_of_ten_thousand_is_chance(model: DigitModel, examination: Examination) -> None:
    assert failed(model, examination, mnist=[*range(27), 100, 101, 102, 103, 104, 105]) == set()


def test_forgetting_mnist_is_noticed_far_below_a_tenth_of_a_point(model: DigitModel, examination: Examination) -> None:
    assert failed(model, examination, mnist=range(36)) == {"mnist_champion"}  # 0.06 points, all losses


def test_a_floor_holds_whatever_the_champion_does(model: DigitModel, examination: Examination) -> None:
    poor = judged(model, examination, mnist=range(60))

    assert "mnist" in failed(model, examination, {"champion": poor, "bundled": poor}, mnist=range(60))


def test_forgetting_strangers_is_noticed(model: DigitModel, examination: Examination) -> None:
    assert "strangers" in failed(model, examination, strangers=range(70))


def test_a_slow_drift_that_each_step_hides_is_noticed(model: DigitModel, examination: Examination) -> None:
    champion = judged(model, examination, mnist=range(44))

    assert failed(model, examination, {"champion": champion}, mnist=range(46)) == {"mnist_bundled"}


def test_one_digit_that_suffers_is_noticed(model: DigitModel, examination: Examination) -> None:
    sevens = np.flatnonzero(examination.strangers.labels == 7)[-20:].tolist()
    ones = np.flatnonzero(examination.strangers.labels == 1)[:20].tolist()
    champion = judged(model, examination, strangers=ones)

    assert failed(model, examination, {"champion": champion, "bundled": champion}, strangers=sevens) == {"recall"}


def of_voices(count: int, each: int = 1) -> list[int]:
    """Places of the first drawings of the first so many voices."""
    return [EACH * voice + drawing for voice in range(count) for drawing in range(each)]


@pytest.mark.parametrize("part", ["holdout", "validation"])
def test_six_people_who_are_read_worse_hold_it_back(model: DigitModel, examination: Examination, part: str) -> None:
    assert failed(model, examination, **{part: of_voices(6)}) == {part}
    assert failed(model, examination, **{part: of_voices(5, each=EACH)}) == set()  # 20 drawings, but five people


@pytest.mark.parametrize("part", ["holdout", "validation"])
def test_one_voice_does_not_decide_however_much_it_draws(
    model: DigitModel, examination: Examination, part: str
) -> None:
    crowd = replace(getattr(examination, part), voices=np.zeros(SIZES[part], int))
    crowded = replace(examination, **{part: crowd})

    assert failed(model, crowded, **{part: range(SIZES[part])}) == set()


@pytest.mark.parametrize("part", ["holdout", "validation"])
def test_what_the_champion_was_not_sure_of_is_no_evidence(
    model: DigitModel, examination: Examination, part: str
) -> None:
    champion = judged(model, examination)
    doubting = replace(champion.readings[part], sure=np.zeros(SIZES[part], bool))
    champion = replace(champion, readings=champion.readings | {part: doubting})

    assert failed(model, examination, {"champion": champion}, **{part: range(SIZES[part])}) == set()


def test_the_rows_of_peoples_gates_say_how_many_voices_judged(model: DigitModel, examination: Examination) -> None:
    champion = judged(model, examination)
    evidence = evidence_of(examination, champion, judged(model, examination))
    owners = {row["gate"]: row.get("owners") for row in gates.judge(evidence)}

    assert {gate: count for gate, count in owners.items() if count is not None} == {
        "holdout": 15,
        "validation": 15,
        "learned": 100,
    }


def test_guesses_that_are_lost_do_not_hide_what_was_learned(model: DigitModel, examination: Examination) -> None:
    """Somebody confirms what the champion only guessed, 100 times; the candidate guesses otherwise."""
    champion = judged(model, examination)
    guesses = range(200, 300)
    readings = champion.readings["lessons"]
    unsure = replace(readings, sure=readings.sure & ~np.isin(np.arange(len(readings.sure)), guesses))
    champion = replace(champion, readings=champion.readings | {"lessons": unsure})

    assert failed(model, examination, {"champion": champion}, lessons=[*range(20), *guesses]) == set()


def test_nothing_learned_is_no_reason_to_change(model: DigitModel, examination: Examination) -> None:
    assert failed(model, examination, lessons=range(80)) == {"learned"}


def test_taking_letters_for_digits_is_noticed(model: DigitModel, examination: Examination) -> None:
    assert failed(model, examination, others=range(80)) == {"not_digits"}


def test_misread_canaries_hold_it_back(model: DigitModel, examination: Examination) -> None:
    blind = DigitModel((registry.BUNDLED / "digits.tflite").read_bytes(), Thresholds(1.0, 1.0, 1.0))
    candidate = replace(judged(model, examination, lessons=range(20)), model=blind)

    assert failed(model, examination, {"candidate": candidate}) == {"canaries"}


def test_an_artifact_that_differs_from_its_network_or_is_too_large_is_held_back(
    model: DigitModel, examination: Examination
) -> None:
    assert failed(model, examination, {"agreement": 0.99, "artifact_size": 2_000_000}) == {"parity", "size"}


def test_without_labels_to_judge_on_those_gates_pass_and_say_so(model: DigitModel, examination: Examination) -> None:
    nothing = np.empty(0, np.int64)
    empty = PeopleSamples(np.empty((0, 28, 28), np.uint8), nothing, nothing, np.empty(0))
    few = replace(examination, holdout=empty, validation=empty)
    champion = judged(model, few)
    evidence = evidence_of(few, champion, judged(model, few, lessons=range(20)))
    report = {row["gate"]: row for row in gates.judge(evidence)}

    assert report["holdout"]["passed"] and report["holdout"]["n"] == 0
    assert report["validation"]["passed"] and report["validation"]["n"] == 0


def test_the_report_names_value_threshold_and_number_of_samples(model: DigitModel, examination: Examination) -> None:
    champion = judged(model, examination)
    report = gates.judge(evidence_of(examination, champion, champion))

    assert [row["gate"] for row in report] == [gate.name for gate in gates.GATES]
    assert report[0] == {
        "gate": "mnist",
        "explanation": "Accuracy on MNIST's test set has a floor.",
        "value": 0.997,
        "threshold": 0.995,
        "passed": True,
        "n": 10_000,
    }


@pytest.mark.parametrize(("k", "n", "chance"), [(0, 0, 1.0), (5, 5, 1 / 32), (9, 10, 11 / 1024), (600, 1000, 1.36e-10)])
def test_mcnemars_exact_test(k: int, n: int, chance: float) -> None:
    assert gates.at_least(k, n) == pytest.approx(chance, rel=0.01)
