"""MNIST's geometry, to which every digit is normalised before the network sees it.

The source is LeCun's description of the set: the digit is scaled to fit a 20×20 box, keeping its aspect ratio, and is
placed in a 28×28 field with its centre of mass in the middle.
"""

from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt

PREPROCESSING_VERSION = 1
"""Incremented when the same drawing gives a different input; a model serves only the version it was trained on."""

INPUT_SIDE = 28  # pixels of the model input
BOX_SIDE = 20  # the digit's longer side in the model input, pixels
PEN_WIDTH = 2.35  # line width of drawn ink, pixels of the model input
OVERSAMPLING = 4  # resolution for drawing ink and centring pictures, relative to the model input
FIELD_SIDE = 56  # pixels of the model input: large enough to centre the 28×28 window on any centre of mass

ModelInput = npt.NDArray[np.uint8]
"""The model's input: `(28, 28)` uint8, light ink (255) on a dark background (0)."""

GreyImage = npt.NDArray[np.uint8]
Width = TypeVar("Width", float, npt.NDArray[np.float64])


class PreprocessingError(ValueError):
    """The drawing or picture cannot be read; the message can be shown to its sender."""


class NoInkError(PreprocessingError):
    """Nothing in the drawing or picture could be ink."""


def depths_of(ink: GreyImage) -> npt.NDArray[np.float32]:
    """Return how far each pixel of ink lies from the ink's edge, in pixels; 0 where there is none."""
    depths: npt.NDArray[np.float32] = cv2.distanceTransform(np.pad(ink, 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
    return depths


def line_width(mean_depth: Width) -> Width:
    """Return the mean width of lines, in pixels: inside one, the depth averages a quarter of it."""
    return 4 * (mean_depth - 0.5)


def centre_window(field: GreyImage) -> ModelInput:
    """Crop the 28×28 input from an oversampled field, with the centre of mass in the middle.

    Args:
        field: `(224, 224)` uint8, the digit at `OVERSAMPLING` times its final size, light on dark.

    Returns:
        `(28, 28)` uint8.

    Raises:
        NoInkError: the field is empty.
    """
    side = INPUT_SIDE * OVERSAMPLING
    moments = cv2.moments(field)
    if not moments["m00"]:
        raise NoInkError("No ink was found.")
    # A pixel's centre is half a pixel after its index, hence +0.5.
    left = round(moments["m10"] / moments["m00"] + 0.5) - side // 2
    top = round(moments["m01"] / moments["m00"] + 0.5) - side // 2
    limit = field.shape[0] - side
    left, top = min(max(left, 0), limit), min(max(top, 0), limit)
    return reduce_field(field[top : top + side, left : left + side])


def reduce_field(field: GreyImage) -> ModelInput:
    """Downscale an oversampled `(112, 112)` uint8 window to the `(28, 28)` input by area averaging."""
    reduced: ModelInput = cv2.resize(field, (INPUT_SIDE, INPUT_SIDE), interpolation=cv2.INTER_AREA)
    return reduced
