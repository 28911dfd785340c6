"""Ink or picture → 28×28 model input: one implementation, used by the web processes, training and evaluation."""

from recognizer.preprocessing.geometry import (
    INPUT_SIDE,
    PREPROCESSING_VERSION,
    ModelInput,
    NoInkError,
    PreprocessingError,
)
from recognizer.preprocessing.ink import Stroke, ink_to_input

__all__ = [
    "INPUT_SIDE",
    "PREPROCESSING_VERSION",
    "ModelInput",
    "NoInkError",
    "PreprocessingError",
    "Stroke",
    "ink_to_input",
]
