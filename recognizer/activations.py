"""Activations of a version's convolutions for a drawing, to show how the network reads it."""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from recognizer.preprocessing import INPUT_SIDE, ModelInput

Maps = npt.NDArray[np.float32]
"""Feature maps of one convolution, `(maps, height, width)`, at least 0."""

GAP = 1  # pixels between two maps on a contact sheet


def activations_of(artifact: bytes, image: ModelInput) -> list[Maps]:
    """Run an artifact on a `(28, 28)` uint8 input and return the feature maps of each convolution, first layer first.

    This needs an interpreter of its own, because a serving one does not keep intermediate tensors. Takes about 5 ms.
    """
    interpreter = Interpreter(
        model_content=artifact,
        num_threads=1,
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]["index"]
    interpreter.set_tensor(source, (image / np.float32(255)).astype(np.float32).reshape(1, INPUT_SIDE, INPUT_SIDE, 1))
    interpreter.invoke()
    details = sorted(interpreter.get_tensor_details(), key=lambda tensor: int(tensor["index"]))
    between = [tensor["index"] for tensor in details if _is_between(tensor) and tensor["index"] != source]
    return [np.moveaxis(interpreter.get_tensor(index)[0], -1, 0) for index in between]


def _is_between(tensor: dict[str, Any]) -> bool:
    """Return whether a tensor is a layer's output, and not weights (no batch axis of 1) or scratch memory (no name)."""
    shape = tensor["shape"]
    return bool(tensor["dtype"] == np.float32 and len(shape) == 4 and shape[0] == 1 and tensor["name"])


def sheet_of(maps: Maps, columns: int, zoom: int) -> npt.NDArray[np.uint8]:
    """Arrange maps on a contact sheet, each scaled to its own maximum: `(h, w)` uint8."""
    count, height, width = maps.shape
    strongest = np.maximum(maps.max(axis=(1, 2), keepdims=True), 1e-6)
    levels = np.rint(maps.clip(0) / strongest * 255).astype(np.uint8)
    rows = -(-count // columns)
    sheet = np.full((rows * (height + GAP) - GAP, columns * (width + GAP) - GAP), 96, np.uint8)
    for place, one in enumerate(levels):
        top, left = place // columns * (height + GAP), place % columns * (width + GAP)
        sheet[top : top + height, left : left + width] = one
    large: npt.NDArray[np.uint8] = cv2.resize(sheet, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_NEAREST)
    return large
