"""The model that ships in the repository, as a new site serves it."""

import json

from recognizer.engine import DigitModel
from recognizer.registry import BUNDLED
from recognizer.verdicts import Thresholds


def bundled_model() -> DigitModel:
    card = json.loads((BUNDLED / "model.json").read_text())
    return DigitModel((BUNDLED / "digits.tflite").read_bytes(), Thresholds(**card["thresholds"]))
