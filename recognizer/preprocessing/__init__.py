"""Ink or picture → 28×28 model input: one implementation, used by the web processes, training and evaluation."""

import cv2

from recognizer.preprocessing.geometry import (
    INPUT_SIDE,
    PREPROCESSING_VERSION,
    ModelInput,
    NoInkError,
    PreprocessingError,
)
from recognizer.preprocessing.ink import Stroke, ink_to_input

# A web process reads in many threads already; more of OpenCV's own would only get in their way.
cv2.setNumThreads(1)

__all__ = [
    "INPUT_SIDE",
    "PREPROCESSING_VERSION",
    "ModelInput",
    "NoInkError",
    "PreprocessingError",
    "Stroke",
    "ink_to_input",
]
