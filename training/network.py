"""The network: layers, losses, training and export. The only module that imports TensorFlow.

Another `KERAS_BACKEND` can train too, for example on an accelerator; only TensorFlow can export.

One network answers two questions about a 28×28 input: which digit it is (ten logits), and whether it is a digit at all
(the last logit). Targets are packed the same way, `(n, ANSWER_SIZE)`: a one-hot digit, or zeros for a non-digit, then 1
or 0.
"""

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")  # parallel operations slow each other down on few cores

import keras
import numpy as np
import numpy.typing as npt
from keras import layers, ops

from recognizer.labels import ANSWER_SIZE, DIGITS, digit_part, is_digit_part
from training.recipe import FineTuneConfig

CAN_EXPORT = keras.backend.backend() == "tensorflow"
if CAN_EXPORT:
    import tensorflow as tf

AT_ONCE = 200  # images per inference batch: the activations take a megabyte each

Tensor = Any  # of any backend

Batch = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]
"""Inputs `(n, 28, 28, 1)` in 0…1 and packed targets `(n, ANSWER_SIZE)`."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """Convolutions in order as `(filters, kernel side, stride)`, each with batch normalisation and ReLU."""

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
    dropout: float = 0.3  # fraction of the units to drop


@dataclass(frozen=True, slots=True)
class Fit:
    """Hyperparameters of the training from scratch."""

    epochs: int = 60
    batch_size: int = 256
    learning_rate: float = 3e-3  # peak; linear warm-up, then cosine decay to zero
    warmup_share: float = 0.04  # of all steps
    weight_decay: float = 3e-2
    label_smoothing: float = 0.05
    not_a_digit_weight: float = 0.3  # weight of the last logit's loss
    mixed_precision: bool = True  # bfloat16 arithmetic, float32 weights


class FusedBatchNormalization(layers.BatchNormalization):
    """Batch normalisation as one fused operation, for mixed precision; computes the same as Keras's layer.

    Keras's layer does each step of the formula in float32 with its own pass over memory, and took two thirds of the
    training time. A float32 network uses the plain layer, so that a checkpoint loads without our code.
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
    """Return the loss: cross-entropy over the digits, 0 for non-digits, plus the weighted one of the last logit."""

    def loss(target: Tensor, logits: Tensor) -> Tensor:
        one_hot, is_digit = digit_part(target), is_digit_part(target)
        smooth = one_hot * (1 - fit.label_smoothing) + is_digit[:, None] * fit.label_smoothing / len(DIGITS)
        digit = -ops.sum(smooth * ops.log_softmax(digit_part(logits)), axis=1)
        digitness = ops.binary_crossentropy(is_digit, is_digit_part(logits), from_logits=True)
        return digit + fit.not_a_digit_weight * digitness

    return loss


def distillation_loss(tune: FineTuneConfig) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the loss of the fine-tune: cross-entropy with the label, or distillation from the teacher on replay.

    Targets are `(n, 2 * ANSWER_SIZE)`: a packed target, then the teacher's logits, all 0 for labelled samples.
    """

    def loss(target: Tensor, logits: Tensor) -> Tensor:
        label, teacher = target[:, :ANSWER_SIZE], target[:, ANSWER_SIZE:]
        is_replay = ops.cast(ops.any(teacher != 0, axis=1), logits.dtype)
        soft_targets = ops.softmax(digit_part(teacher) / tune.temperature)
        student = ops.log_softmax(digit_part(logits) / tune.temperature)
        digit = -(tune.temperature**2) * ops.sum(soft_targets * student, axis=1)
        is_digit = ops.sigmoid(is_digit_part(teacher))
        digitness = ops.binary_crossentropy(is_digit, is_digit_part(logits), from_logits=True)
        distilled = digit * is_digit + tune.taught_not_a_digit_weight * digitness
        return is_replay * distilled + (1 - is_replay) * labelled(label, logits)

    labelled = packed_loss(Fit(label_smoothing=tune.label_smoothing, not_a_digit_weight=tune.not_a_digit_weight))
    return loss


class EpochBatches(keras.utils.PyDataset):
    """Batches that depend on (epoch, batch) only, so that a resumed fit sees the same ones."""

    def __init__(self, batches_per_epoch: int, make: Callable[[int, int], Batch]) -> None:
        super().__init__(workers=1, use_multiprocessing=False, max_queue_size=16)
        self.epoch = 0
        self._length = batches_per_epoch
        self._make = make

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Batch:
        return self._make(self.epoch, index)


class _Reporter(keras.callbacks.Callback):
    """Sets the epoch of the batches, and reports progress to the caller."""

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
"""Callback with (epoch, batches done in it, mean loss, the model at the end of an epoch else None)."""


def fit_network(
    network: keras.Model, batches: EpochBatches, fit: Fit, seed: int, checkpoint_folder: Path, report: Report
) -> None:
    """Train the network in place; resume after the last finished epoch in the checkpoint folder, if there is one."""
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
    network.fit(batches, epochs=fit.epochs, verbose=0, callbacks=[resume, _Reporter(batches, report)], shuffle=False)


def tune_network(
    network: keras.Model,
    epoch: Callable[[int, keras.Model], EpochBatches],
    tune: FineTuneConfig,
    seed: int,
    report: Report,
) -> keras.Model:
    """Fine-tune a copy of a trained network on targets of `distillation_loss`, and return the copy in float32.

    Batch normalisation is frozen, statistics and scales: a few drawings must not change what millions of samples set.

    Args:
        epoch: returns the batches of an epoch, given its number and the network at the start of the epoch.
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
    student.compile(keras.optimizers.Adam(schedule), distillation_loss(tune))
    for number in range(tune.epochs):
        batches = epoch(number, student)
        follow = _Reporter(batches, report)
        student.fit(batches, initial_epoch=number, epochs=number + 1, verbose=0, callbacks=[follow], shuffle=False)
    return in_float32(student)


def blend(one: keras.Model, other: keras.Model, share: float) -> keras.Model:
    """Return the weighted average of two networks, `share` of `other`, which forgets less (Wortsman et al. 2022)."""
    blended = in_float32(one)
    pairs = zip(one.get_weights(), other.get_weights(), strict=True)
    blended.set_weights([(1 - share) * first + share * second for first, second in pairs])
    return blended


def new_network(architecture: Architecture, fit: Fit, seed: int) -> keras.Model:
    """Build a network with seeded weights, in the precision of `fit`."""
    keras.utils.set_random_seed(seed)
    keras.mixed_precision.set_global_policy("mixed_bfloat16" if fit.mixed_precision else "float32")
    return build_network(architecture)


def logits_of(network: keras.Model, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Run the network in float32, as it is exported: `(n, 28, 28)` uint8 → `(n, ANSWER_SIZE)` logits."""
    exact = network if _is_exact(network) else in_float32(network)
    inputs = pack_inputs(images)
    starts = range(0, len(inputs), AT_ONCE)
    parts = [ops.convert_to_numpy(exact(inputs[start : start + AT_ONCE], training=False)) for start in starts]
    return np.concatenate(parts) if parts else np.empty((0, ANSWER_SIZE), np.float32)


def fast_logits_of(network: keras.Model, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Run the network in its own precision, faster and less exact: `(n, 28, 28)` uint8 → `(n, ANSWER_SIZE)` logits."""
    logits: npt.NDArray[np.float32] = network.predict(pack_inputs(images), batch_size=512, verbose=0)
    return logits


def in_float32(network: keras.Model) -> keras.Model:
    """Return a copy of the network in float32."""
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
    """Export for serving: calibrated probabilities, 8-bit weights, float activations.

    Returns:
        `.tflite` bytes: `(1, 28, 28, 1)` float32 in 0…1 → `(1, ANSWER_SIZE)` float32. The digits' probabilities sum
        to 1 (softmax of the logits divided by the temperature); the last one is the probability of being a digit.
    """
    inputs = keras.Input(batch_shape=(1, 28, 28, 1), name="drawing")
    logits = in_float32(network)(inputs)
    # Explicitly float32: LiteRT cannot run the bfloat16 of mixed precision.
    scaled = layers.Rescaling(1 / temperature, dtype="float32")(logits)
    digits = layers.Softmax(dtype="float32")(digit_part(scaled))
    is_digit = layers.Activation("sigmoid", dtype="float32")(is_digit_part(logits)[:, None])
    serving = keras.Model(inputs, layers.Concatenate(name="answer", dtype="float32")([digits, is_digit]))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "digits.tflite"
        serving.export(str(path), format="litert", verbose=False, optimizations=[tf.lite.Optimize.DEFAULT])
        return path.read_bytes()


def save_checkpoint(network: keras.Model) -> bytes:
    """Return the network as `.keras` bytes in float32, without the optimiser state."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "digits.keras"
        in_float32(network).save(path)
        return path.read_bytes()


def load_checkpoint(content: bytes) -> keras.Model:
    """Load a network from `.keras` bytes without executing code in them (`safe_mode`)."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "digits.keras"
        path.write_bytes(content)
        return keras.models.load_model(path, compile=False, safe_mode=True)


def pack_inputs(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Convert images `(n, 28, 28)` uint8 to the network's input `(n, 28, 28, 1)` float32 in 0…1."""
    return images[..., None].astype(np.float32) / np.float32(255)


def pack_targets(digits: Sequence[int | None]) -> npt.NDArray[np.float32]:
    """Pack labels, None for "not a digit", into targets `(n, ANSWER_SIZE)` float32."""
    targets = np.zeros((len(digits), ANSWER_SIZE), np.float32)
    for row, digit in enumerate(digits):
        if digit is not None:
            targets[row, digit] = targets[row, -1] = 1
    return targets
