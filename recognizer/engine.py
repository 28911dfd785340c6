"""The engine: runs LiteRT inference, and follows the registry's active version without a restart.

A loaded artifact is a `DigitModel`; the `Engine` holds one and swaps it. TensorFlow is not used here.
"""

import json
import logging
import threading
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from ai_edge_litert.interpreter import Interpreter
from django.db import DatabaseError, close_old_connections

from recognizer.labels import Label
from recognizer.metrics import SERVING_VERSION, SWAP_FAILURES, SWAPS
from recognizer.mnist import Digits
from recognizer.models import ModelFile, ModelVersion, Promotion, Verdict
from recognizer.preprocessing import PREPROCESSING_VERSION, ModelInput, ink_to_input
from recognizer.registry import FileError, bundled_versions, read_file
from recognizer.verdicts import Thresholds

logger = logging.getLogger(__name__)

POLL_SECONDS = 1.0  # between two polls of the active version
FIRST_LOOK_SECONDS = 10.0  # timeout for loading the model before a web process takes requests
CANARY_FILE = Path(__file__).parent / "bundled" / "canaries.json"  # drawn for this purpose, two per digit


class ModelRefusedError(RuntimeError):
    """An artifact must not serve: it is damaged, needs other preprocessing, or misreads canary digits."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A model's answer to one input."""

    digit: Label
    confidence: float  # calibrated probability of the digit answered, or of not being a digit
    probabilities: list[float]  # of each digit, sum 1
    verdict: Verdict


class DigitModel:
    """A loaded artifact. Threads share it; each thread has its own interpreter.

    Args:
        artifact: `.tflite` bytes: `(1, 28, 28, 1)` float32 in 0…1 → `(1, ANSWER_SIZE)` float32, the probability of each
            digit, then of being a digit.
        thresholds: of the verdicts.
        version: the version number in the registry.
        pk: primary key of the version.
    """

    def __init__(self, artifact: bytes, thresholds: Thresholds, version: int = 0, pk: int = 0) -> None:
        self.version, self.pk, self.thresholds = version, pk, thresholds
        self.artifact = artifact
        self._local = threading.local()

    def probabilities(self, image: ModelInput) -> npt.NDArray[np.float32]:
        """Run the network on an input `(28, 28)` uint8 and return its answer `(ANSWER_SIZE,)` float32."""
        interpreter, source, answer = self._interpreter()
        interpreter.set_tensor(source, (image.astype(np.float32) * np.float32(1 / 255)).reshape(1, 28, 28, 1))
        interpreter.invoke()
        result: npt.NDArray[np.float32] = interpreter.get_tensor(answer)[0]
        return result

    def read(self, image: ModelInput) -> Reading:
        """Read one input and return the answer with its verdict."""
        *probabilities, is_digit = self.probabilities(image).tolist()
        confidence = max(probabilities)
        verdict = self.thresholds.verdict(is_digit, confidence)
        if verdict == Verdict.NOT_A_DIGIT:
            return Reading(None, 1 - is_digit, probabilities, verdict)
        return Reading(probabilities.index(confidence), confidence, probabilities, verdict)

    def _interpreter(self) -> tuple[Interpreter, int, int]:
        try:
            loaded: tuple[Interpreter, int, int] = self._local.interpreter
        except AttributeError:
            interpreter = Interpreter(model_content=self.artifact, num_threads=1)
            interpreter.allocate_tensors()
            (source,), (answer,) = interpreter.get_input_details(), interpreter.get_output_details()
            loaded = self._local.interpreter = interpreter, source["index"], answer["index"]
        return loaded


def load_model(version: ModelVersion) -> DigitModel:
    """Load a version's artifact and check that it may serve.

    Raises:
        ModelRefusedError: with the reason.
    """
    try:
        content = read_file(version, ModelFile.Kind.ARTIFACT)
    except FileError as error:
        raise ModelRefusedError(str(error)) from error
    if version.preprocessing_version != PREPROCESSING_VERSION:
        raise ModelRefusedError(
            f"{version} was trained on preprocessing {version.preprocessing_version}, not on {PREPROCESSING_VERSION}"
        )
    try:
        model = DigitModel(content, Thresholds(**version.thresholds), version.version, version.pk)
        wrong = misread_canaries(model)
    except Exception as error:  # a damaged artifact can raise anything in LiteRT, which must not end the polling thread
        raise ModelRefusedError(f"the artifact of {version} does not run: {error}") from error
    if wrong:
        raise ModelRefusedError(f"{version} misreads the canary digits {wrong}")
    return model


def load_earlier_model(version: ModelVersion) -> DigitModel | None:
    """Load the version that served before, else the bundled model; return None if neither may serve."""
    last = Promotion.objects.filter(version=version).select_related("previous").first()
    for earlier in (last.previous if last else None, bundled_versions().first()):
        if earlier is not None and earlier != version:
            try:
                return load_model(earlier)
            except ModelRefusedError as refusal:
                logger.error("Not going back from %s to %s: %s.", version, earlier, refusal)
    return None


def misread_canaries(model: DigitModel) -> list[int]:
    """Return the labels of the canary drawings that the model misreads."""
    canaries = canary_digits()
    drawn = zip(canaries.images, canaries.labels.tolist(), strict=True)
    return [digit for image, digit in drawn if model.read(image).digit != digit]


@cache
def canary_digits() -> Digits:
    """Return the canary drawings as model inputs with labels."""
    canaries = json.loads(CANARY_FILE.read_text())
    inputs = [ink_to_input([np.array(stroke, np.float64) for stroke in c["strokes"]], 100) for c in canaries]
    return Digits(np.stack(inputs), np.array([c["digit"] for c in canaries], np.uint8))


class Engine:
    """Serves the active version in one process, and swaps models when the registry's active version changes."""

    def __init__(self) -> None:
        self._model: DigitModel | None = None
        self._lock = threading.Lock()
        self._refused_pk: int | None = None
        self.problem: str | None = None

    @property
    def model(self) -> DigitModel:
        """The serving model; loaded now if this process has none yet.

        Raises:
            ModelRefusedError: no model can serve.
        """
        if self._model is None:
            self.refresh()
        if self._model is None:
            raise ModelRefusedError(self.problem or "there is no active model")
        return self._model

    @property
    def version(self) -> int | None:
        """The number of the serving version, or None."""
        return self._model.version if self._model else None

    def refresh(self) -> None:
        """Load, check and swap to the active version if it changed. Never raises: on errors the old model stays."""
        with self._lock:
            try:
                active = ModelVersion.objects.filter(state=ModelVersion.State.ACTIVE).first()
                if active is None:
                    self.problem = "there is no active model"
                elif self._model is None or active.pk != self._model.pk:
                    self._swap(active)
                else:
                    self.problem = self._refused_pk = None
            except DatabaseError as error:
                self.problem = f"the database does not answer: {error}"

    def _swap(self, active: ModelVersion) -> None:
        if active.pk == self._refused_pk:
            return  # logged once already; a repaired file gets a new version
        try:
            self._model = load_model(active)
        except ModelRefusedError as refusal:
            self._refused_pk, self.problem = active.pk, str(refusal)
            SWAP_FAILURES.inc()
            if self._model is None:  # a new process must serve too
                self._model = load_earlier_model(active)
            logger.error("Not swapping: %s; version %s serves on.", refusal, self.version)
        else:
            self._refused_pk = self.problem = None
            SWAPS.inc()
            logger.info("Serving version %s.", active.version)
        if self._model:
            SERVING_VERSION.set(self._model.version)

    def follow(self) -> None:
        """Poll the registry on a daemon thread; return after the first poll. Call it once per web process."""
        polled = threading.Event()
        threading.Thread(target=self._follow, args=[polled], name="engine", daemon=True).start()
        polled.wait(FIRST_LOOK_SECONDS)

    def _follow(self, polled: threading.Event) -> None:
        while True:
            self.refresh()
            polled.set()
            close_old_connections()
            time.sleep(POLL_SECONDS)


engine = Engine()
"""This process's engine."""
