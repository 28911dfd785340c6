"""A run's work, from labels to a promoted version, and how it fails."""

import hashlib
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
from django.conf import LazySettings
from django.test import Client

from recognizer import registry
from recognizer.engine import engine
from recognizer.mnist import find_mnist
from recognizer.models import ModelFile, ModelVersion, Promotion
from tests.labels import labelled
from training.attempt import Outcome, Progress, RunFailedError
from training.dataset import Part
from training.loop import learn
from training.models import TrainingRun, TrainingSample
from training.recipe import FineTuneConfig, Recipe

State = TrainingRun.State


@pytest.fixture
def run(active_model: ModelVersion) -> TrainingRun:
    """A run that a worker has taken."""
    return new_run()


def new_run(**columns: object) -> TrainingRun:
    columns = {"state": State.RUNNING, "attempt": 1, "worker": "here"} | columns
    return TrainingRun.objects.create(trigger=TrainingRun.Trigger.COMMAND, **columns)


def end(run: TrainingRun, outcome: Outcome) -> None:
    TrainingRun.objects.filter(pk=run.pk).update(state=outcome.state, reason=outcome.reason)


# --- Without TensorFlow -----------------------------------------------------------------------------------------------


def test_run_without_accepted_labels_is_skipped(run: TrainingRun, small_mnist: Path) -> None:
    outcome = learn(run, Progress())

    assert outcome == Outcome(State.SKIPPED, "There are no accepted labels to learn from yet.")


def test_missing_mnist_fails_with_instructions(run: TrainingRun, settings: LazySettings, tmp_path: Path) -> None:
    settings.MNIST_DIR, settings.DATA_DIR, settings.MNIST_URL = "", tmp_path, "http://127.0.0.1:9/"

    with pytest.raises(RunFailedError, match="HDR_MNIST_DIR"):
        learn(run, Progress())


def test_altered_mnist_fails_with_instructions(run: TrainingRun, small_mnist: Path) -> None:
    (small_mnist / "train-labels-idx1-ubyte.gz").write_bytes(b"something else")

    with pytest.raises(RunFailedError, match="expected sha256"):
        learn(run, Progress())


def test_version_without_checkpoint_fails_run(run: TrainingRun, small_mnist: Path) -> None:
    ModelFile.objects.filter(kind=ModelFile.Kind.CHECKPOINT).delete()

    with pytest.raises(RunFailedError, match="no checkpoint"):
        learn(run, Progress())


@pytest.mark.parametrize("kind", [ModelFile.Kind.ARTIFACT, ModelFile.Kind.CHECKPOINT])
def test_damaged_champion_file_fails_run(run: TrainingRun, small_mnist: Path, kind: str) -> None:
    file = ModelFile.objects.get(kind=kind)
    ModelFile.objects.filter(pk=file.pk).update(content=bytes(file.content)[:-50])

    with pytest.raises(RunFailedError, match="damaged"):
        learn(run, Progress())


# --- With a real fit of the real network on the real MNIST ------------------------------------------------------------

QUICK = Recipe(tune=FineTuneConfig(epochs=2, batches=30))


@pytest.fixture
def checkpoint(active_model: ModelVersion) -> None:
    """Give the bundled model its real checkpoint: most tests have a short one."""
    content = (registry.BUNDLED / "digits.keras").read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    rows = ModelFile.objects.filter(kind=ModelFile.Kind.CHECKPOINT)
    rows.update(content=content, size=len(content), sha256=sha256)


@pytest.fixture
def people(active_model: ModelVersion) -> None:
    """Ten people with twelve labelled drawings each; half of the answers are corrected."""
    for number in range(10):
        for seed in range(12):
            digit = seed % 10
            labelled(
                f"person {number}", digit, answered=digit if seed % 2 else (digit + 1) % 10, seed=100 * number + seed
            )


@pytest.mark.usefixtures("checkpoint")
@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # TensorFlow's and Keras' own
@pytest.mark.skipif(find_mnist() is None, reason="needs MNIST")
def test_run_makes_and_promotes_a_version(run: TrainingRun, people: None, client: Client) -> None:
    progress = Progress()
    outcome = learn(run, progress, QUICK)
    end(run, outcome)
    version = ModelVersion.objects.get(version=2)

    assert outcome.state == State.SUCCEEDED
    assert version.gate_report is not None
    failed = [row["gate"] for row in version.gate_report if not row["passed"]]
    assert (version.state == "active") == (not failed), outcome.reason
    assert {"mnist", "strangers", "holdout", "canaries", "parity"} <= {row["gate"] for row in version.gate_report}
    assert version.parent == ModelVersion.objects.get(version=1)
    assert progress.epochs == 2 and len(progress.losses) == 2
    learned = next(row for row in version.gate_report if row["gate"] == "learned")
    assert learned["value"] < 1 and learned["n"] > 50  # trained drawings are read better than before

    samples = TrainingSample.objects.filter(run=run)
    assert set(samples.values_list("part", flat=True)) == set(Part.values)
    assert sum(samples.values_list("weight", flat=True)) == pytest.approx(QUICK.rules.labels_share, abs=1e-4)
    assert set(run.timings) == {"data", "start", "fit", "export", "gates", "promote"}

    answer = client.get("/api/v1/models/2").json()
    assert answer["lineage"]["run"] == run.pk
    mnist = answer["metrics"]["mnist_test"]
    assert mnist["accuracy"] > 0.99
    assert sum(map(sum, mnist["confusion"])) == 10_000 == sum(n for n, *_ in mnist["reliability"])
    assert mnist["changes"]["from"] == 1 and len(mnist["changes"]["digits"]) <= 48
    registry.promote(version)
    engine.refresh()
    assert engine.version == 2  # canaries, sha256 and preprocessing hold in a web process

    again = new_run()
    skipped = learn(again, Progress(), QUICK)
    end(again, skipped)
    assert skipped.reason == f"Nothing changed since {run}, which made version 2."

    assert registry.roll_back(Promotion.objects.all()[0], version.parent, "people corrected it more")
    outcome = learn(new_run(), Progress(), QUICK)
    assert outcome.reason.endswith("Version 2, made from the same labels, was rolled back: this run was more careful.")
    first, second = (ModelVersion.objects.get(version=number).lineage["blends"][-1] for number in (2, 3))
    assert second["divergence"] <= QUICK.tune.most_divergence * QUICK.tune.caution < QUICK.tune.most_divergence
    assert second["new_share"] <= first["new_share"]


@pytest.mark.usefixtures("checkpoint")
@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.skipif(find_mnist() is None, reason="needs MNIST")
def test_run_that_forgets_is_rejected_and_kept(run: TrainingRun, people: None) -> None:
    reckless = replace(QUICK, tune=FineTuneConfig(epochs=1, batches=40, learning_rate=3e-2, new_shares=(1.0,)))
    outcome = learn(run, Progress(), reckless)
    version = ModelVersion.objects.get(version=2)

    assert outcome.state == State.SUCCEEDED
    assert "was rejected by its gates: " in outcome.reason
    assert version.state == "rejected"
    assert version.files.count() == 2
    assert registry.active_version() == ModelVersion.objects.get(version=1)
    assert not Promotion.objects.filter(cause=Promotion.Cause.GATES).exists()


@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", ["a Lambda layer", "a pickle"])
def test_checkpoint_with_code_is_refused_unexecuted(kind: str, tmp_path: Path) -> None:
    import keras

    from training.network import load_checkpoint

    proof = tmp_path / "executed"
    if kind == "a pickle":
        content = pickle.dumps(Touch(str(proof)))
    else:
        file = str(proof)
        touching = keras.layers.Lambda(lambda x: (Path(file).write_text(""), x)[1])
        keras.Sequential([keras.Input((1,)), touching]).save(tmp_path / "hostile.keras")
        content = (tmp_path / "hostile.keras").read_bytes()
        proof.unlink()

    with pytest.raises((ValueError, OSError)):
        load_checkpoint(content)
    assert not proof.exists()


class Touch:
    """Creates a file when it is unpickled."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (self._path, "w")
