"""Distortions for training: what other hands, pens and cameras would have made of the same drawing.

Strokes are distorted as strokes and drawn anew; only pixels that have no strokes (MNIST) are distorted as pixels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from recognizer.preprocessing.geometry import INPUT_SIDE, ModelInput
from recognizer.preprocessing.ink import Stroke, ink_to_input


@dataclass(frozen=True, slots=True)
class Distortion:
    """How far a drawing is bent; standard deviations or half-ranges in the units named."""

    rotation: float = 12.0  # degrees, half-range
    shear: float = 0.25  # half-range
    scale: float = 0.12  # half-range of each axis's factor around 1
    shift: float = 1.6  # pixels of the model input, half-range
    elastic: float = 6.0  # strength of the displacement field (Simard et al. 2003), scaled as there
    elastic_sigma: float = 4.5  # smoothness of the field, pixels
    pen_widths: tuple[float, float] = (1.5, 3.9)  # pixels of the model input
    point_noise: float = 0.012  # of the drawing's size
    stroke_shift: float = 0.03  # of the drawing's size
    cut_ends: float = 0.05  # share of a stroke that may be missing at an end


def distort_image(image: ModelInput, distortion: Distortion, rng: np.random.Generator) -> ModelInput:
    """Bend an image: affine and elastic in one resampling, then another pen width.

    Args:
        image: `(28, 28)` uint8, light on dark.

    Returns:
        `(28, 28)` uint8.
    """
    centre = (INPUT_SIDE - 1) / 2
    inverse = np.linalg.inv(_affine(distortion, rng))
    shift = rng.uniform(-distortion.shift, distortion.shift, 2)
    rows, columns = np.mgrid[0:INPUT_SIDE, 0:INPUT_SIDE].astype(np.float32) - centre
    source_x = inverse[0, 0] * columns + inverse[0, 1] * rows + centre - shift[0]
    source_y = inverse[1, 0] * columns + inverse[1, 1] * rows + centre - shift[1]
    if distortion.elastic and rng.random() < 0.7:
        source_x = source_x + _displacement(distortion, rng)
        source_y = source_y + _displacement(distortion, rng)
    bent = cv2.remap(image, source_x.astype(np.float32), source_y.astype(np.float32), cv2.INTER_LINEAR)
    return _reink(bent, rng)


def distort_strokes(strokes: Sequence[Stroke], distortion: Distortion, rng: np.random.Generator) -> ModelInput:
    """Bend ink as ink and draw it: affine, a wavering hand, strokes out of place, short ends, another pen.

    Returns:
        `(28, 28)` uint8, slightly off the centre as a careless crop would be.
    """
    points = np.concatenate(strokes)
    low, high = points.min(axis=0), points.max(axis=0)
    size = max(float((high - low).max()), 1e-6)
    affine = _affine(distortion, rng).T / size
    waves = _waves(rng, 0.035)
    bent = []
    for stroke in strokes:
        path = (stroke - (low + high) / 2) @ affine  # about -0.5 … 0.5
        path = path + waves(path)
        path = path + rng.normal(0, distortion.stroke_shift, 2) * (len(strokes) > 1)
        path = path + rng.normal(0, distortion.point_noise * rng.random(), path.shape)
        bent.append(_cut_ends(path, distortion.cut_ends, rng))
    pen = rng.uniform(*distortion.pen_widths)
    drawn = ink_to_input(bent, 1.0, pen)
    if rng.random() < 0.5:
        drawn = _nudge(drawn, distortion, rng)
    return drawn


def _affine(distortion: Distortion, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    angle = np.deg2rad(rng.uniform(-distortion.rotation, distortion.rotation))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shear = np.array([[1, rng.uniform(-distortion.shear, distortion.shear)], [0, 1]])
    stretch = np.diag(rng.uniform(1 - distortion.scale, 1 + distortion.scale, 2))
    matrix: npt.NDArray[np.float64] = turn @ shear @ stretch
    return matrix


def _displacement(distortion: Distortion, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """One axis of an elastic field (Simard, Steinkraus and Platt 2003): smoothed noise, `(28, 28)` float32 pixels."""
    noise = rng.uniform(-1, 1, (INPUT_SIDE, INPUT_SIDE)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), distortion.elastic_sigma)
    return smooth * distortion.elastic * 3.2


def _reink(image: ModelInput, rng: np.random.Generator) -> ModelInput:
    """Thicken or thin the line by a random share of a pixel, and vary its darkness."""
    choice = rng.random()
    if choice < 0.5:
        morphed = (cv2.dilate if choice < 0.25 else cv2.erode)(image, _CROSS)
        share = rng.uniform(0, 1.0 if choice < 0.25 else 0.7)
        image = cv2.addWeighted(image, 1 - share, morphed, share, 0)
    elif choice < 0.6:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 0.8))
    gain = rng.uniform(0.8, 1.35)
    return cv2.convertScaleAbs(image, alpha=gain)


_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))


def _nudge(image: ModelInput, distortion: Distortion, rng: np.random.Generator) -> ModelInput:
    shift = rng.uniform(-distortion.shift, distortion.shift, 2)
    scale = rng.uniform(1 - distortion.scale, 1 + distortion.scale / 2)
    centre = (INPUT_SIDE - 1) / 2
    matrix = np.array([[scale, 0, centre * (1 - scale) + shift[0]], [0, scale, centre * (1 - scale) + shift[1]]])
    return _reink(cv2.warpAffine(image, matrix, (INPUT_SIDE, INPUT_SIDE)), rng)


def _waves(rng: np.random.Generator, strength: float) -> Callable[[Stroke], Stroke]:
    """A smooth bending of the plane: two sine waves of about the drawing's size in each direction."""
    frequency = rng.normal(0, 4.0, (2, 2, 2))  # radians per drawing size
    phase = rng.uniform(0, 2 * np.pi, (2, 2))
    amplitude = rng.normal(0, strength, (2, 2))

    def bend(path: Stroke) -> Stroke:
        return np.stack(
            [sum(amplitude[a, k] * np.sin(path @ frequency[a, k] + phase[a, k]) for k in (0, 1)) for a in (0, 1)],
            axis=1,
        )

    return bend


def _cut_ends(path: Stroke, share: float, rng: np.random.Generator) -> Stroke:
    start, end = (rng.uniform(0, share, 2) * len(path)).astype(int)
    return path[start : len(path) - end] if len(path) - start - end >= 2 else path
