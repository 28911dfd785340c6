"""The report's network and its training: two convolutions and two dense layers, trained on MNIST by a given optimiser.

It is the network of Keras' MNIST example, which the report most likely used.
"""

import os
import time
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import numpy as np
from keras import layers

from recognizer.labels import DIGITS
from recognizer.mnist import Digits
from training.experiment.comparison import Epoch, FitResult, Optimizer, Protocol

Report = Callable[[int, int, float], None]
"""Callback with (epoch, batches done in it, mean loss of the epoch so far)."""


def fit_report_network(
    optimizer: Optimizer,
    protocol: Protocol,
    train: Digits,
    test: Digits,
    report: Report,
    epoch_done: Callable[[Epoch], None],
) -> FitResult:
    """Train the network from scratch; weights, batches and dropout depend on the protocol's seed only.

    Args:
        report: called after every batch.
        epoch_done: called after every epoch, with the accuracy on `test`.
    """
    network = _new_network(protocol.seed)
    make = getattr(keras.optimizers, optimizer.keras_class)
    network.compile(
        make(learning_rate=optimizer.learning_rate, **dict(optimizer.options)),
        "sparse_categorical_crossentropy",
        jit_compile=False,  # XLA takes eight times as long on a CPU, as measured
    )
    inputs, labels = _inputs(train), train.labels.astype(np.int32)
    order = np.random.default_rng(protocol.seed)
    history: list[Epoch] = []
    seconds = 0.0
    for index in range(protocol.epochs):
        shuffled = order.permutation(len(labels))
        follow = keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda batch, logs, index=index: report(index, batch + 1, logs["loss"])
        )
        started = time.process_time()
        losses = network.fit(
            inputs[shuffled],
            labels[shuffled],
            batch_size=protocol.batch_size,
            shuffle=False,
            verbose=0,
            callbacks=[follow],
        )
        seconds += time.process_time() - started
        history.append(Epoch(round(losses.history["loss"][0], 5), _accuracy(network, test)))
        epoch_done(history[-1])
    return FitResult(optimizer, tuple(history), round(seconds, 1))


def _new_network(seed: int) -> keras.Model:
    """Build the network with seeded weights, in float32: `(n, 28, 28, 1)` in 0…1 → `(n, digits)` probabilities."""
    keras.utils.set_random_seed(seed)
    keras.mixed_precision.set_global_policy("float32")
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(32, 3, activation="relu"),  # 26×26
            layers.Conv2D(64, 3, activation="relu"),  # 24×24
            layers.MaxPooling2D(2),  # 12×12
            layers.Dropout(0.25),
            layers.Flatten(),  # (n, 9216)
            layers.Dense(128, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(len(DIGITS), activation="softmax"),
        ]
    )


def _accuracy(network: keras.Model, digits: Digits) -> float:
    answers = network.predict(_inputs(digits), batch_size=500, verbose=0).argmax(axis=1)
    return float((answers == digits.labels).mean())


def _inputs(digits: Digits) -> np.ndarray:
    return digits.images[..., None].astype(np.float32) / np.float32(255)
