"""MNIST's geometry, the one frame that every digit is brought into before the network sees it.

The source is LeCun's description of the set: the digit is scaled to fit a 20×20 box keeping its
aspect ratio, and is placed in a 28×28 field so that its centre of mass is in the middle.
"""

from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt

PREPROCESSING_VERSION = 1
"""Raised whenever the same drawing would give another input; a model serves only the version it was trained on."""

INPUT_SIDE = 28  # pixels of the model input
BOX_SIDE = 20  # the digit's longer side within it, pixels
PEN_WIDTH = 2.35  # ink is drawn this wide, pixels of the model input
OVERSAMPLING = 4  # ink is drawn, and pictures are centred, this much finer than the model input
FIELD_SIDE = 56  # pixels of the model input: room for a picture's 28×28 window to slide to any centre of mass

ModelInput = npt.NDArray[np.uint8]
"""What the model sees: `(28, 28)` uint8, light ink (255) on dark ground (0)."""

GreyImage = npt.NDArray[np.uint8]
Width = TypeVar("Width", float, npt.NDArray[np.float64])


class PreprocessingError(ValueError):
    """The drawing or picture cannot be read; the message is fit to be shown to the person who sent it."""


class NoInkError(PreprocessingError):
    """There is nothing in it that could be ink."""


def depths_of(ink: GreyImage) -> npt.NDArray[np.float32]:
    """Return how far each pixel of ink lies from the ink's edge, in pixels; 0 where there is none."""
    depths: npt.NDArray[np.float32] = cv2.distanceTransform(np.pad(ink, 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
    return depths


def line_width(mean_depth: Width) -> Width:
    """Return the mean width of lines, in pixels: inside one, the depth averages a quarter of it."""
    return 4 * (mean_depth - 0.5)


def centre_window(field: GreyImage) -> ModelInput:
    """Cut the 28×28 input out of an oversampled field so that the centre of mass falls into its middle.

    Args:
        field: `(224, 224)` uint8, the digit at `OVERSAMPLING` times its final size, light on dark.

    Returns:
        `(28, 28)` uint8.

    Raises:
        NoInkError: the field is all dark.
    """
    side = INPUT_SIDE * OVERSAMPLING
    moments = cv2.moments(field)
    if not moments["m00"]:
        raise NoInkError("There is no ink in it.")
    # A pixel's centre lies half a pixel after its index, hence the +0.5.
    left = round(moments["m10"] / moments["m00"] + 0.5) - side // 2
    top = round(moments["m01"] / moments["m00"] + 0.5) - side // 2
    limit = field.shape[0] - side
    left, top = min(max(left, 0), limit), min(max(top, 0), limit)
    return reduce_field(field[top : top + side, left : left + side])


def reduce_field(field: GreyImage) -> ModelInput:
    """Reduce an oversampled `(112, 112)` uint8 window to the `(28, 28)` input, each pixel the mean of its area."""
    reduced: ModelInput = cv2.resize(field, (INPUT_SIDE, INPUT_SIDE), interpolation=cv2.INTER_AREA)
    return reduced
