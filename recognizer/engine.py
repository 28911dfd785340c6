"""The engine: reads digits with LiteRT, and follows the registry's active version without a restart.

A loaded artifact is a `DigitModel`; the `Engine` holds one and swaps it. No TensorFlow here.
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

from recognizer.metrics import SERVING_VERSION, SWAP_FAILURES, SWAPS
from recognizer.mnist import Digits
from recognizer.models import ModelFile, ModelVersion, Promotion, Verdict
from recognizer.preprocessing import PREPROCESSING_VERSION, ModelInput, ink_to_input
from recognizer.registry import FileError, bundled_versions, read_file

logger = logging.getLogger(__name__)

POLL_SECONDS = 1.0  # how often a process looks at the active row
FIRST_LOOK_SECONDS = 10.0  # a web process waits so long for its model before it takes requests
CANARY_FILE = Path(__file__).parent / "bundled" / "canaries.json"  # drawn for this, two of each digit


class ModelRefusedError(RuntimeError):
    """An artifact must not serve: damaged, of another preprocessing, or wrong on the canary digits."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Where the verdicts part, as probabilities 0…1; stored with each version."""

    digit: float  # of being a digit, below it: not_a_digit
    sure_digit: float  # of being a digit, at least this to be sure
    sure_confidence: float  # of the digit named, at least this to be sure


@dataclass(frozen=True, slots=True)
class Reading:
    """What a model says of one input."""

    digit: int | None  # None: not a digit
    confidence: float  # calibrated probability of the digit named, or of there being none
    probabilities: list[float]  # of the digits 0 to 9, adding up to 1
    verdict: Verdict


class DigitModel:
    """A loaded artifact. Threads share it; each has an interpreter of its own.

    Args:
        artifact: `.tflite` bytes: `(1, 28, 28, 1)` float32 in 0…1 → `(1, 11)` float32, ten digit probabilities and
            the probability of being a digit.
        thresholds: of the verdicts.
        version: the registry's number.
    """

    def __init__(self, artifact: bytes, thresholds: Thresholds, version: int = 0, pk: int = 0) -> None:
        self.version, self.pk, self.thresholds = version, pk, thresholds
        self.artifact = artifact
        self._local = threading.local()

    def probabilities(self, image: ModelInput) -> npt.NDArray[np.float32]:
        """Run the network on `(28, 28)` uint8 and return its `(11,)` float32 answer."""
        interpreter, source, answer = self._interpreter()
        interpreter.set_tensor(source, (image.astype(np.float32) * np.float32(1 / 255)).reshape(1, 28, 28, 1))
        interpreter.invoke()
        result: npt.NDArray[np.float32] = interpreter.get_tensor(answer)[0]
        return result

    def read(self, image: ModelInput) -> Reading:
        """Read one input and say how sure the answer is."""
        answer = self.probabilities(image).tolist()
        probabilities, is_digit = answer[:10], answer[10]
        digit = max(range(10), key=probabilities.__getitem__)
        if is_digit < self.thresholds.digit:
            return Reading(None, 1 - is_digit, probabilities, Verdict.NOT_A_DIGIT)
        confidence = probabilities[digit]
        sure = is_digit >= self.thresholds.sure_digit and confidence >= self.thresholds.sure_confidence
        return Reading(digit, confidence, probabilities, Verdict.SURE if sure else Verdict.UNSURE)

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
    """Load a version's artifact and prove that it may serve.

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
    except Exception as error:  # whatever foreign bytes make LiteRT or the canaries raise must not end the follower
        raise ModelRefusedError(f"the artifact of {version} does not run: {error}") from error
    if wrong:
        raise ModelRefusedError(f"{version} misreads the canary digits {wrong}")
    return model


def load_earlier_model(version: ModelVersion) -> DigitModel | None:
    """Load what served before a version, else the bundled model; None if neither may serve."""
    last = Promotion.objects.filter(version=version).select_related("previous").first()
    for earlier in (last.previous if last else None, bundled_versions().first()):
        if earlier is not None and earlier != version:
            try:
                return load_model(earlier)
            except ModelRefusedError as refusal:
                logger.error("Not going back from %s to %s: %s.", version, earlier, refusal)
    return None


def misread_canaries(model: DigitModel) -> list[int]:
    """Run the frozen canary drawings and return the digits that are misread."""
    canaries = canary_digits()
    drawn = zip(canaries.images, canaries.labels.tolist(), strict=True)
    return [digit for image, digit in drawn if model.read(image).digit != digit]


@cache
def canary_digits() -> Digits:
    """The canary drawings as model inputs."""
    canaries = json.loads(CANARY_FILE.read_text())
    inputs = [ink_to_input([np.array(stroke, np.float64) for stroke in c["strokes"]], 100) for c in canaries]
    return Digits(np.stack(inputs), np.array([c["digit"] for c in canaries], np.uint8))


class Engine:
    """Serves the active version in one process, and swaps when the registry's active row changes."""

    def __init__(self) -> None:
        self._model: DigitModel | None = None
        self._lock = threading.Lock()
        self._refused: int | None = None
        self.problem: str | None = None

    @property
    def model(self) -> DigitModel:
        """The model to read with; loads it if this process has none yet.

        Raises:
            ModelRefusedError: there is none to serve.
        """
        if self._model is None:
            self.refresh()
        if self._model is None:
            raise ModelRefusedError(self.problem or "there is no active model")
        return self._model

    @property
    def version(self) -> int | None:
        """The number of the version that serves, or None."""
        return self._model.version if self._model else None

    def refresh(self) -> None:
        """Look at the active row; load, check and swap if it names another. Never raises: the old one serves on."""
        with self._lock:
            try:
                active = ModelVersion.objects.filter(state=ModelVersion.State.ACTIVE).first()
                if active is None:
                    self.problem = "there is no active model"
                elif self._model is None or active.pk != self._model.pk:
                    self._swap(active)
                else:
                    self.problem = self._refused = None
            except DatabaseError as error:
                self.problem = f"the database does not answer: {error}"

    def _swap(self, active: ModelVersion) -> None:
        if active.pk == self._refused:
            return  # said once already; a repaired file comes as a new version
        try:
            self._model = load_model(active)
        except ModelRefusedError as refusal:
            self._refused, self.problem = active.pk, str(refusal)
            SWAP_FAILURES.inc()
            if self._model is None:  # a process that starts now serves too
                self._model = load_earlier_model(active)
            logger.error("Not swapping: %s; version %s serves on.", refusal, self.version)
        else:
            self._refused = self.problem = None
            SWAPS.inc()
            logger.info("Serving version %s.", active.version)
        if self._model:
            SERVING_VERSION.set(self._model.version)

    def follow(self) -> None:
        """Follow the registry on a daemon thread, and return once it has looked. Called once, by the web process."""
        looked = threading.Event()
        threading.Thread(target=self._follow, args=[looked], name="engine", daemon=True).start()
        looked.wait(FIRST_LOOK_SECONDS)

    def _follow(self, looked: threading.Event) -> None:
        while True:
            self.refresh()
            looked.set()
            close_old_connections()
            time.sleep(POLL_SECONDS)


engine = Engine()
"""This process's engine."""
