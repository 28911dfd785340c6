"""Training of the bundled model: data → fit → calibration → export → evaluation.

Everything that shapes it is in `BaseRecipe`; the same recipe, seed and files give the same training.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from recognizer.engine import DigitModel, misread_canaries
from recognizer.labels import digit_part
from recognizer.preprocessing import PREPROCESSING_VERSION, ink_to_input
from recognizer.verdicts import Thresholds
from training import calibration, evaluation, network
from training.base_data import BaseData, EpochMaker, Mixture
from training.scribbles import scribble
from training.strokes import PenDrawing, to_inputs


@dataclass(frozen=True, slots=True)
class BaseRecipe:
    """The configuration of the bundled model."""

    seed: int = 1
    architecture: network.Architecture = field(default_factory=network.Architecture)
    fit: network.Fit = field(default_factory=network.Fit)
    mixture: Mixture = field(default_factory=Mixture)
    goals: calibration.VerdictGoals = field(default_factory=calibration.VerdictGoals)


@dataclass(frozen=True, slots=True)
class BaseModel:
    """A finished base model with everything that is bundled."""

    artifact: bytes
    checkpoint: bytes
    card: dict[str, Any]

    def write(self, folder: Path) -> None:
        """Write `digits.tflite`, `digits.keras` and `model.json`."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "digits.tflite").write_bytes(self.artifact)
        (folder / "digits.keras").write_bytes(self.checkpoint)
        (folder / "model.json").write_text(json.dumps(self.card, indent=2) + "\n")


class AnotherRecipeError(RuntimeError):
    """The work folder belongs to another recipe; the message says what to do."""


def fit_base(recipe: BaseRecipe, data: BaseData, work_folder: Path, progress: network.Report) -> Any:
    """Fit the bundled model's network: resume after the last finished epoch, or load the result if it is finished.

    So one Keras backend can fit it and another can finish it.

    Args:
        recipe: the configuration.
        data: the training data.
        work_folder: holds the resumable state.
        progress: called after every batch, and with the network after each epoch.

    Raises:
        AnotherRecipeError: the folder's content was made with another recipe.
    """
    _claim(work_folder, recipe)
    fitted = work_folder / "fitted.keras"
    if fitted.is_file():
        return network.load_checkpoint(fitted.read_bytes())
    make = _epoch_maker(recipe, data)

    def batch(epoch: int, index: int) -> network.Batch:
        images, labels = make(epoch, index)
        return network.pack_inputs(images), network.pack_targets(labels)

    model = network.new_network(recipe.architecture, recipe.fit, recipe.seed)
    batches = network.EpochBatches(make.batches_per_epoch, batch)
    network.fit_network(model, batches, recipe.fit, recipe.seed, work_folder, progress)
    fitted.write_bytes(network.save_checkpoint(model))
    return model


def _claim(work_folder: Path, recipe: BaseRecipe) -> None:
    work_folder.mkdir(parents=True, exist_ok=True)
    note, content = work_folder / "recipe.json", json.dumps(asdict(recipe), indent=2)
    if note.is_file() and note.read_text() != content:
        raise AnotherRecipeError(
            f"{work_folder} holds a training of another recipe: delete it, or choose another --out."
        )
    note.write_text(content)


def batches_per_epoch(recipe: BaseRecipe, data: BaseData) -> int:
    """Return the number of batches in an epoch."""
    return _epoch_maker(recipe, data).batches_per_epoch


def _epoch_maker(recipe: BaseRecipe, data: BaseData) -> EpochMaker:
    return EpochMaker(data, recipe.mixture, recipe.fit.epochs, recipe.fit.batch_size, recipe.seed)


def validate(model: Any, data: BaseData) -> dict[str, float]:
    """Return the validation accuracy of a network during training, by the digits' logits alone."""
    sources = {
        "mnist": (data.mnist_validation.images, data.mnist_validation.labels),
        "pens": (to_inputs(data.digits["validation"]), _labels(data.digits["validation"])),
    }
    return {
        name: round(float((digit_part(network.logits_of(model, images)).argmax(axis=1) == labels).mean()), 4)
        for name, (images, labels) in sources.items()
    }


def finish(model: Any, recipe: BaseRecipe, data: BaseData) -> BaseModel:
    """Calibrate a trained network on validation data, export it, and measure the exported artifact."""
    images, labels = _validation_digits(data)
    temperature = calibration.fit_temperature(digit_part(network.logits_of(model, images)), labels)
    artifact = network.export_artifact(model, temperature)
    without_thresholds = DigitModel(artifact, Thresholds(0, 0, 0))
    answers = evaluation.read_all(without_thresholds, images).probabilities
    negatives = evaluation.read_all(without_thresholds, _validation_negatives(data, recipe.seed)).probabilities
    thresholds = calibration.choose_thresholds(answers, labels, negatives, recipe.goals)
    exported = DigitModel(artifact, thresholds)
    if wrong := misread_canaries(exported):
        raise RuntimeError(f"The trained model misreads the canary digits {wrong}; it cannot serve.")
    checkpoint = network.save_checkpoint(model)
    card = {
        "preprocessing_version": PREPROCESSING_VERSION,
        "temperature": round(temperature, 4),
        "thresholds": asdict(thresholds),
        "sha256": {
            name: hashlib.sha256(content).hexdigest() for name, content in (("tflite", artifact), ("keras", checkpoint))
        },
        "parameters": model.count_params(),
        "metrics": measure(exported, data),
        "recipe": asdict(recipe),
    }
    return BaseModel(artifact, checkpoint, card)


def measure(model: DigitModel, data: BaseData) -> dict[str, Any]:
    """Return metrics on data never used for training or tuning: MNIST's test set and the held-out writers."""
    mnist = evaluation.read_all(model, data.mnist_test.images)
    drawings = data.digits["test"]
    pen = evaluation.read_all(model, to_inputs(drawings))
    letters = evaluation.read_all(model, to_inputs(data.letters["test"]))
    return {
        "mnist_test": evaluation.detailed_digit_metrics(mnist, data.mnist_test.labels),
        "held_out_writers": evaluation.digit_metrics(pen, _labels(drawings))
        | {
            "writers": len({drawing.writer for drawing in drawings}),
            "mean_over_writers": evaluation.mean_over_writers(drawings, pen),
        },
        "letters_of_held_out_writers": evaluation.not_digit_metrics(letters),
    }


def _validation_digits(data: BaseData) -> tuple[Any, Any]:
    """Return the validation digits of MNIST and the pens; the pens' are repeated so that both weigh about the same."""
    drawings = data.digits["validation"]
    pens, labels = to_inputs(drawings), _labels(drawings)
    repeats = max(1, len(data.mnist_validation.labels) // (2 * len(labels)))
    return (
        np.concatenate([data.mnist_validation.images, *[pens] * repeats]),
        np.concatenate([data.mnist_validation.labels, *[labels] * repeats]),
    )


def _validation_negatives(data: BaseData, seed: int) -> Any:
    """Return non-digits: letters and symbols of the validation writers, and as many scribbles."""
    letters, rng = to_inputs(data.letters["validation"]), np.random.default_rng(seed)
    inks = [(drawing.digit or 0, drawing.strokes) for drawing in data.digits["validation"]]
    return np.concatenate([letters, [ink_to_input(scribble(rng, inks), 1.0) for _ in letters]])


def _labels(drawings: list[PenDrawing]) -> np.ndarray:
    return np.array([drawing.digit for drawing in drawings])
