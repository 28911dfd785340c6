"""The network: its layers, its loss, its fit and its export. The only module that imports TensorFlow.

With another `KERAS_BACKEND` it fits as well, where an accelerator is at hand say; only TensorFlow exports.

One network answers two questions of a 28×28 input: which digit it is (ten logits), and whether it is one at all
(the last logit). Targets are packed alike, `(n, ANSWER_SIZE)`: a one-hot digit, or zeros for none, then 1 or 0.
"""

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")  # on few cores, operations side by side get in each other's way

import keras
import numpy as np
import numpy.typing as npt
from keras import layers, ops

from recognizer.labels import ANSWER_SIZE, DIGITS, digit_part, is_digit_part
from training.recipe import FineTuneConfig

CAN_EXPORT = keras.backend.backend() == "tensorflow"
if CAN_EXPORT:
    import tensorflow as tf

AT_ONCE = 200  # images that the network is run on: its activations take a megabyte each

Tensor = Any  # of whatever backend

Batch = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]
"""Inputs `(n, 28, 28, 1)` in 0…1 and packed targets `(n, ANSWER_SIZE)`."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """Convolutions in order, each `(filters, kernel side, stride)` with batch normalisation and ReLU."""

    convolutions: tuple[tuple[int, int, int], ...] = (
        (32, 3, 1),  # 28×28
        (64, 5, 2),  # 14×14
        (64, 3, 1),
        (64, 3, 1),
        (128, 3, 2),  # 7×7
        (128, 3, 1),
        (128, 3, 1),
        (128, 3, 1),
    )
    dropout: float = 0.3


@dataclass(frozen=True, slots=True)
class Fit:
    """How weights are found."""

    epochs: int = 60
    batch_size: int = 256
    learning_rate: float = 3e-3  # at its peak; linear warm-up, then half a cosine down to zero
    warmup_share: float = 0.04  # of all steps
    weight_decay: float = 3e-2
    label_smoothing: float = 0.05
    not_a_digit_weight: float = 0.3  # of the last logit's loss
    mixed_precision: bool = True  # bfloat16 arithmetic, float32 weights


class FusedBatchNormalization(layers.BatchNormalization):
    """Batch normalisation in one operation, for mixed precision; computes what Keras's own layer does.

    That one is written out in float32, a pass over memory for each step of the formula, and took two thirds of a fit.
    A network in float32 has the plain layer, so that whoever loads a checkpoint needs nothing of ours.
    """

    def call(self, inputs: Tensor, training: bool | None = None, mask: None = None) -> Tensor:
        learns = bool(training and self.trainable)
        moving = (self.moving_mean, self.moving_variance)
        outputs, *seen = tf.compat.v1.nn.fused_batch_norm(
            inputs,
            tf.convert_to_tensor(self.gamma),
            tf.convert_to_tensor(self.beta),
            *((None, None) if learns else map(tf.convert_to_tensor, moving)),
            epsilon=self.epsilon,
            is_training=learns,
        )
        for statistic, value in zip(moving, seen, strict=True) if learns else ():
            statistic.assign(statistic * self.momentum + value * (1 - self.momentum))
        return outputs


def _normalization(precision: str) -> type[layers.BatchNormalization]:
    plain = precision == "float32" or not CAN_EXPORT
    return layers.BatchNormalization if plain else FusedBatchNormalization


def build_network(architecture: Architecture) -> keras.Model:
    """Build the untrained network: `(n, 28, 28, 1)` float32 in 0…1 → `(n, ANSWER_SIZE)` logits."""
    normalization = _normalization(keras.mixed_precision.dtype_policy().compute_dtype)
    inputs = keras.Input((28, 28, 1), name="drawing")
    x = inputs
    for filters, side, stride in architecture.convolutions:
        x = layers.Conv2D(filters, side, strides=stride, padding="same", use_bias=False)(x)
        x = normalization(momentum=0.95)(x)
        x = layers.ReLU()(x)
    x = layers.GlobalAveragePooling2D()(x)  # (n, filters)
    x = layers.Dropout(architecture.dropout)(x)
    logits = layers.Dense(ANSWER_SIZE, dtype="float32", name="logits")(x)
    return keras.Model(inputs, logits, name="digits")


def packed_loss(fit: Fit) -> Callable[[Tensor, Tensor], Tensor]:
    """Cross-entropy over the digits, silent for what is not one, plus the weighted one of the last logit."""

    def loss(target: Tensor, logits: Tensor) -> Tensor:
        one_hot, is_digit = digit_part(target), is_digit_part(target)
        smooth = one_hot * (1 - fit.label_smoothing) + is_digit[:, None] * fit.label_smoothing / len(DIGITS)
        digit = -ops.sum(smooth * ops.log_softmax(digit_part(logits)), axis=1)
        digitness = ops.binary_crossentropy(is_digit, is_digit_part(logits), from_logits=True)
        return digit + fit.not_a_digit_weight * digitness

    return loss


def taught_loss(tune: FineTuneConfig) -> Callable[[Tensor, Tensor], Tensor]:
    """Cross-entropy with a label where there is one, with the teacher's softened answer where there is none.

    Targets are `(n, 2 * ANSWER_SIZE)`: a packed target, then the teacher's logits, all zeros where the label counts.
    """

    def loss(target: Tensor, logits: Tensor) -> Tensor:
        label, teacher = target[:, :ANSWER_SIZE], target[:, ANSWER_SIZE:]
        taught = ops.cast(ops.any(teacher != 0, axis=1), logits.dtype)
        softened = ops.softmax(digit_part(teacher) / tune.temperature)
        student = ops.log_softmax(digit_part(logits) / tune.temperature)
        digit = -(tune.temperature**2) * ops.sum(softened * student, axis=1)
        is_digit = ops.sigmoid(is_digit_part(teacher))
        digitness = ops.binary_crossentropy(is_digit, is_digit_part(logits), from_logits=True)
        distilled = digit * is_digit + tune.taught_not_a_digit_weight * digitness
        return taught * distilled + (1 - taught) * labelled(label, logits)

    labelled = packed_loss(Fit(label_smoothing=tune.label_smoothing, not_a_digit_weight=tune.not_a_digit_weight))
    return loss


class EpochBatches(keras.utils.PyDataset):
    """Batches made by a function of (epoch, batch) alone, so that a resumed fit sees what it would have."""

    def __init__(self, batches_per_epoch: int, make: Callable[[int, int], Batch]) -> None:
        super().__init__(workers=1, use_multiprocessing=False, max_queue_size=16)
        self.epoch = 0
        self._length = batches_per_epoch
        self._make = make

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Batch:
        return self._make(self.epoch, index)


class _Follow(keras.callbacks.Callback):
    """Tells the batches which epoch it is, and the caller how far the fit is."""

    def __init__(self, batches: EpochBatches, report: "Report") -> None:
        super().__init__()
        self._batches, self._report, self._epoch = batches, report, 0

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
        self._epoch = self._batches.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self._report(self._epoch, batch + 1, (logs or {}).get("loss", float("nan")), None)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._report(epoch, len(self._batches), (logs or {}).get("loss", float("nan")), self.model)


Report = Callable[[int, int, float, keras.Model | None], None]
"""Called with (epoch, batches done in it, mean loss, the model at an epoch's end)."""


def fit_network(
    network: keras.Model, batches: EpochBatches, fit: Fit, seed: int, checkpoint_folder: Path, report: Report
) -> None:
    """Train in place; interrupted, it goes on after the last finished epoch found in the checkpoint folder."""
    keras.utils.set_random_seed(seed)
    steps = fit.epochs * len(batches)
    warmup = max(1, round(steps * fit.warmup_share))
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=fit.learning_rate / 25,
        decay_steps=steps - warmup,
        warmup_target=fit.learning_rate,
        warmup_steps=warmup,
    )
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=fit.weight_decay)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    network.compile(optimizer, packed_loss(fit))
    resume = keras.callbacks.BackupAndRestore(str(checkpoint_folder), delete_checkpoint=False)
    network.fit(batches, epochs=fit.epochs, verbose=0, callbacks=[resume, _Follow(batches, report)], shuffle=False)


def tune_network(
    network: keras.Model,
    epoch: Callable[[int, keras.Model], EpochBatches],
    tune: FineTuneConfig,
    seed: int,
    report: Report,
) -> keras.Model:
    """Train a copy of a trained network on targets of `taught_loss`, and return the copy in float32.

    Batch normalisation stays as it is, statistics and scales: a few drawings must not move what millions settled.

    Args:
        epoch: returns the batches of an epoch, given its number and the network as it is when the epoch begins.
    """
    keras.utils.set_random_seed(seed)
    student = _in_precision(network, "mixed_bfloat16" if tune.mixed_precision else "float32")
    for layer in student.layers:
        layer.trainable = not isinstance(layer, layers.BatchNormalization)
    steps = tune.epochs * tune.batches
    warmup = max(1, round(steps * tune.warmup_share))
    schedule = keras.optimizers.schedules.CosineDecay(
        tune.learning_rate / 25, steps - warmup, warmup_target=tune.learning_rate, warmup_steps=warmup
    )
    student.compile(keras.optimizers.Adam(schedule), taught_loss(tune))
    for number in range(tune.epochs):
        batches = epoch(number, student)
        follow = _Follow(batches, report)
        student.fit(batches, initial_epoch=number, epochs=number + 1, verbose=0, callbacks=[follow], shuffle=False)
    return in_float32(student)


def blend(one: keras.Model, other: keras.Model, share: float) -> keras.Model:
    """Average two networks' weights, `share` of the other's (Wortsman et al. 2022: between two, less is forgotten)."""
    blended = in_float32(one)
    pairs = zip(one.get_weights(), other.get_weights(), strict=True)
    blended.set_weights([(1 - share) * first + share * second for first, second in pairs])
    return blended


def new_network(architecture: Architecture, fit: Fit, seed: int) -> keras.Model:
    """Build a network with seeded weights in the precision that the fit asks for."""
    keras.utils.set_random_seed(seed)
    keras.mixed_precision.set_global_policy("mixed_bfloat16" if fit.mixed_precision else "float32")
    return build_network(architecture)


def logits_of(network: keras.Model, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Run the network as it will be exported, in float32: `(n, 28, 28)` uint8 → `(n, ANSWER_SIZE)`."""
    exact = network if _is_exact(network) else in_float32(network)
    inputs = pack_inputs(images)
    starts = range(0, len(inputs), AT_ONCE)
    parts = [ops.convert_to_numpy(exact(inputs[start : start + AT_ONCE], training=False)) for start in starts]
    return np.concatenate(parts) if parts else np.empty((0, ANSWER_SIZE), np.float32)


def rough_logits_of(network: keras.Model, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Run the network in its own precision: `(n, 28, 28)` uint8 → `(n, ANSWER_SIZE)`; faster, and less exact."""
    logits: npt.NDArray[np.float32] = network.predict(pack_inputs(images), batch_size=512, verbose=0)
    return logits


def in_float32(network: keras.Model) -> keras.Model:
    """Copy a network out of mixed precision."""
    return _in_precision(network, "float32")


def _is_exact(network: keras.Model) -> bool:
    return all(layer.compute_dtype == "float32" for layer in network.layers)


def _in_precision(network: keras.Model, policy: str) -> keras.Model:
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_global_policy("float32")
    normalization = _normalization(policy)
    try:
        config = network.get_config()
        for layer in config["layers"]:
            exact = layer["class_name"] == "InputLayer" or layer["config"]["name"] == "logits"
            layer["config"]["dtype"] = "float32" if exact else policy
            if layer["class_name"] in (layers.BatchNormalization.__name__, FusedBatchNormalization.__name__):
                name = normalization.__name__
                layer |= {"module": "keras.layers", "class_name": name, "registered_name": name}
        copy = keras.Model.from_config(config, {FusedBatchNormalization.__name__: FusedBatchNormalization})
        copy.set_weights(network.get_weights())
    finally:
        keras.mixed_precision.set_global_policy(before)
    return copy


def export_artifact(network: keras.Model, temperature: float) -> bytes:
    """Export for serving: calibrated probabilities, weights in 8 bits, activations in float.

    Returns:
        A `.tflite`: `(1, 28, 28, 1)` float32 in 0…1 → `(1, ANSWER_SIZE)` float32. The digits' probabilities add up
        to 1 (softmax of the logits over the temperature); the last is the probability of being a digit.
    """
    inputs = keras.Input(batch_shape=(1, 28, 28, 1), name="drawing")
    logits = in_float32(network)(inputs)
    # Named float32, or the fit's bfloat16 would be exported, which LiteRT does not run.
    scaled = layers.Rescaling(1 / temperature, dtype="float32")(logits)
    digits = layers.Softmax(dtype="float32")(digit_part(scaled))
    is_digit = layers.Activation("sigmoid", dtype="float32")(is_digit_part(logits)[:, None])
    serving = keras.Model(inputs, layers.Concatenate(name="answer", dtype="float32")([digits, is_digit]))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "digits.tflite"
        serving.export(str(path), format="litert", verbose=False, optimizations=[tf.lite.Optimize.DEFAULT])
        return path.read_bytes()


def save_checkpoint(network: keras.Model) -> bytes:
    """Return the network as `.keras` bytes in float32, without the optimiser's state."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "digits.keras"
        in_float32(network).save(path)
        return path.read_bytes()


def load_checkpoint(content: bytes) -> keras.Model:
    """Load `.keras` bytes; nothing in them is executed (`safe_mode`)."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "digits.keras"
        path.write_bytes(content)
        return keras.models.load_model(path, compile=False, safe_mode=True)


def pack_inputs(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Turn `(n, 28, 28)` uint8 into the network's `(n, 28, 28, 1)` float32 in 0…1."""
    return images[..., None].astype(np.float32) / np.float32(255)


def pack_targets(digits: Sequence[int | None]) -> npt.NDArray[np.float32]:
    """Pack labels, None for what is not a digit, into `(n, ANSWER_SIZE)` targets."""
    targets = np.zeros((len(digits), ANSWER_SIZE), np.float32)
    for row, digit in enumerate(digits):
        if digit is not None:
            targets[row, digit] = targets[row, -1] = 1
    return targets
