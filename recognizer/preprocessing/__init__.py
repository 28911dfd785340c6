"""Preprocessing: ink or picture → 28×28 model input. One implementation for web processes, training and evaluation."""

import cv2

from recognizer.preprocessing.geometry import (
    INPUT_SIDE,
    PREPROCESSING_VERSION,
    ModelInput,
    NoInkError,
    PreprocessingError,
)
from recognizer.preprocessing.ink import Stroke, ink_to_input

# A web process already reads in many threads; OpenCV's own threads would only slow them down.
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
