"""The model that ships in the repository, as a new site serves it."""

import json

from recognizer.engine import DigitModel, Thresholds
from recognizer.registry import BUNDLED


def bundled_model() -> DigitModel:
    card = json.loads((BUNDLED / "model.json").read_text())
    return DigitModel((BUNDLED / "digits.tflite").read_bytes(), Thresholds(**card["thresholds"]))
