"""Data augmentation: vary a drawing as other hands, pens and cameras would.

Strokes are distorted as strokes and drawn again; only images without strokes (MNIST) are distorted as pixels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from recognizer.preprocessing.geometry import INPUT_SIDE, ModelInput
from recognizer.preprocessing.ink import Stroke, ink_to_input


@dataclass(frozen=True, slots=True)
class Distortion:
    """Strength of the augmentation: standard deviations or half-ranges, in the units given."""

    rotation: float = 15.0  # degrees, half-range
    shear: float = 0.3  # half-range
    scale: float = 0.18  # half-range of each axis's factor around 1
    shift: float = 1.8  # pixels of the model input, half-range
    elastic: float = 1.6  # pixels, upper limit of the standard deviation of an image's displacement field
    pen_widths: tuple[float, float] = (1.4, 4.2)  # pixels of the model input
    waves: float = 0.04  # smooth displacement of ink, share of the drawing's size, standard deviation
    point_noise: float = 0.015  # share of the drawing's size, upper limit of the standard deviation
    stroke_shift: float = 0.03  # share of the drawing's size, standard deviation
    cut_ends: float = 0.06  # maximum share of a stroke that is cut off at each end
    resampled: float = 0.3  # share of drawings with fewer points, as a slow device sends them
    joined: float = 0.08  # share of drawings with two strokes joined, as if the pen was not lifted
    hooked: float = 0.15  # share of strokes with a tick at the start or the end

    def eased(self, strength: float) -> "Distortion":
        """Return a copy with all distortions scaled by `strength`, 0…1; pen variation is unchanged."""
        bending = ("rotation", "shear", "scale", "shift", "elastic", "waves", "point_noise", "stroke_shift")
        return replace(self, **{name: getattr(self, name) * strength for name in bending})


def distort_image(image: ModelInput, distortion: Distortion, rng: np.random.Generator) -> ModelInput:
    """Distort an image: affine and elastic in one resampling, then a random line width.

    Args:
        image: `(28, 28)` uint8, light on dark.

    Returns:
        `(28, 28)` uint8.
    """
    inverse = np.linalg.inv(_affine(distortion, rng))
    shift = rng.uniform(-distortion.shift, distortion.shift, 2)
    source = (_GRID @ inverse.T + (_CENTRE - shift)).astype(np.float32)  # (28, 28, 2), x before y
    if rng.random() < 0.75:
        source += _displacement(distortion, rng)
    bent = cv2.remap(image, source, None, cv2.INTER_LINEAR)
    return _reink(bent, rng)


def distort_strokes(strokes: Sequence[Stroke], distortion: Distortion, rng: np.random.Generator) -> ModelInput:
    """Distort ink and draw it: affine, smooth waves, shifted strokes, cut ends, a random pen width.

    Returns:
        `(28, 28)` uint8, in half of the cases slightly off centre, like a careless crop.
    """
    points = np.concatenate(strokes)
    low, high = points.min(axis=0), points.max(axis=0)
    size = max(float((high - low).max()), 1e-6)
    affine = _affine(distortion, rng).T / size
    bend = _waves(rng, distortion.waves)
    noise = distortion.point_noise * rng.random()
    spacing = rng.uniform(0.06, 0.15) if rng.random() < distortion.resampled else 0.0  # of the drawing's size
    paths = []
    for stroke in _joined(strokes, distortion, rng):
        path = bend((stroke - (low + high) / 2) @ affine)  # about -0.5 … 0.5
        path = _cut_ends(path, distortion.cut_ends, rng)
        path = _resampled(path, spacing)
        path = path + rng.normal(0, noise, path.shape)
        if len(strokes) > 1:
            path += rng.normal(0, distortion.stroke_shift, 2)
        paths.append(_hooked(path, distortion, rng))
    drawn = ink_to_input(paths, 1.0, rng.uniform(*distortion.pen_widths))
    if rng.random() < 0.5:
        drawn = _nudge(drawn, distortion, rng)
    return drawn


def _resampled(path: Stroke, spacing: float) -> Stroke:
    """Thin out points to about `spacing`, as a slow device sends them; points that are farther apart all stay."""
    if not spacing or len(path) < 3:
        return path
    along = np.cumsum(np.hypot(*np.diff(path, axis=0).T))
    kept = np.unique(along // spacing, return_index=True)[1] + 1
    return path[np.unique([0, *kept, len(path) - 1])]


def _joined(strokes: Sequence[Stroke], distortion: Distortion, rng: np.random.Generator) -> Sequence[Stroke]:
    if len(strokes) == 1 or rng.random() >= distortion.joined:
        return strokes
    first = int(rng.integers(len(strokes) - 1))
    return [*strokes[:first], np.concatenate(strokes[first : first + 2]), *strokes[first + 2 :]]


def _hooked(path: Stroke, distortion: Distortion, rng: np.random.Generator) -> Stroke:
    if len(path) < 2 or rng.random() >= distortion.hooked:
        return path
    angle, length = rng.uniform(0, 2 * np.pi), rng.uniform(0.02, 0.1)
    tick = length * np.array([np.cos(angle), np.sin(angle)])
    if rng.random() < 0.5:
        return np.concatenate([path[:1] + tick, path])
    return np.concatenate([path, path[-1:] + tick])


_CENTRE = (INPUT_SIDE - 1) / 2
_GRID = np.stack(np.meshgrid(*[np.arange(INPUT_SIDE) - _CENTRE] * 2), axis=-1)  # (28, 28, 2), x before y


def _affine(distortion: Distortion, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    angle = np.deg2rad(rng.uniform(-distortion.rotation, distortion.rotation))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shear = np.array([[1, rng.uniform(-distortion.shear, distortion.shear)], [0, 1]])
    stretch = np.diag(rng.uniform(1 - distortion.scale, 1 + distortion.scale, 2))
    matrix: npt.NDArray[np.float64] = turn @ shear @ stretch
    return matrix


def _displacement(distortion: Distortion, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Return an elastic field (after Simard et al. 2003): upsampled coarse noise, `(28, 28, 2)` float32 pixels."""
    nodes = int(rng.integers(4, 8))
    noise = rng.normal(0, distortion.elastic * rng.random(), (nodes, nodes, 2)).astype(np.float32)
    return cv2.resize(noise, (INPUT_SIDE, INPUT_SIDE), interpolation=cv2.INTER_CUBIC)


def _reink(image: ModelInput, rng: np.random.Generator) -> ModelInput:
    """Thicken or thin the line by a random fraction of a pixel, and vary its brightness."""
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
    """Return a smooth deformation of the plane: two sine waves of about the drawing's size in each direction."""
    frequency = rng.normal(0, 4.0, (2, 4))  # radians per drawing size
    phase = rng.uniform(0, 2 * np.pi, 4)
    amplitude = np.zeros((4, 2))
    amplitude[:2, 0], amplitude[2:, 1] = rng.normal(0, strength, (2, 2))
    return lambda path: path + np.sin(path @ frequency + phase) @ amplitude


def _cut_ends(path: Stroke, share: float, rng: np.random.Generator) -> Stroke:
    start, end = (rng.uniform(0, share, 2) * len(path)).astype(int)
    return path[start : len(path) - end] if len(path) - start - end >= 2 else path
