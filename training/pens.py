"""A generative model of pen strokes: how people draw each character, and how their drawings vary.

A site does not have the drawings that the bundled model was trained on, and a fine-tune without them would forget
them. So the bundled model ships with this pen model, fitted on the same writers, which generates similar drawings.

Each way of drawing a character (a cluster of drawings with the same number of strokes) is a mean path with its
principal modes of variation: the point distribution model of Cootes, Taylor, Cooper and Graham (1995).
"""

import io
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recognizer.labels import DIGITS, decode, encode
from recognizer.preprocessing import Stroke
from training.strokes import PenDrawing

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PenFit:
    """Hyperparameters of the fit."""

    points: int = 20  # per stroke, resampled evenly along its length
    strokes: int = 4  # drawings with more are left out
    smallest: int = 8  # minimum number of drawings per way
    drawings_per_way: int = 30  # about; more drawings give more ways
    most_ways: int = 6  # per character and number of strokes
    variance: float = 0.97  # share of a way's variance that its modes explain
    most_modes: int = 12
    rounds: int = 20  # of k-means
    seed: int = 5


@dataclass(frozen=True, slots=True)
class Way:
    """One way of drawing a character."""

    digit: int | None
    share: float  # number of its drawings, used as its weight among the ways of its character
    mean: Floats  # (strokes, points, 2); the drawing's longer side is about 1
    modes: Floats  # (modes, strokes, points, 2), scaled to one standard deviation


class Pens:
    """Generates characters like those of the writers it was fitted on."""

    CLIP = 2.0  # standard deviations at which a mode's amount is clipped

    def __init__(self, ways: Sequence[Way]) -> None:
        self.ways = list(ways)
        self._digits = [[way for way in self.ways if way.digit == digit] for digit in DIGITS]
        self._negatives = [way for way in self.ways if way.digit is None]
        if not all(self._digits):
            raise ValueError("a way of drawing is missing for some digit")

    def draw(self, digit: int | None, rng: np.random.Generator) -> list[Stroke]:
        """Generate a digit, or for None a character that is not one, as strokes in a box of about 1 × 1."""
        ways = self._negatives if digit is None else self._digits[digit]
        shares = np.array([way.share for way in ways])
        way = ways[rng.choice(len(ways), p=shares / shares.sum())]
        amounts = np.clip(rng.normal(size=len(way.modes)), -self.CLIP, self.CLIP)
        return list(way.mean + np.tensordot(amounts, way.modes, 1))

    def to_bytes(self) -> bytes:
        """Return the model as a NumPy archive of half-precision arrays, without pickles."""
        arrays = {}
        for number, way in enumerate(self.ways):
            arrays[f"{number}.label"] = np.array([encode(way.digit), way.share], np.float32)
            arrays[f"{number}.mean"] = way.mean.astype(np.float16)
            arrays[f"{number}.modes"] = way.modes.astype(np.float16)
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]  # its stub takes a flag for an array
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> "Pens":
        """Load a model from the bytes of `to_bytes`."""
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            ways = []
            for number in range(len(arrays.files) // 3):
                digit, share = arrays[f"{number}.label"].tolist()
                mean, modes = (arrays[f"{number}.{part}"].astype(np.float64) for part in ("mean", "modes"))
                ways.append(Way(decode(int(digit)), share, mean, modes))
        return cls(ways)


def fit_pens(drawings: Sequence[PenDrawing], fit: PenFit | None = None) -> Pens:
    """Fit the pen model: cluster each character's drawings into ways, and find the modes of each way."""
    fit = fit or PenFit()
    rng = np.random.default_rng(fit.seed)
    by_form: dict[tuple[str, int], list[Floats]] = defaultdict(list)
    for drawing in drawings:
        strokes = [stroke for stroke in drawing.strokes if len(stroke)]
        if 0 < len(strokes) <= fit.strokes:
            by_form[(drawing.character, len(strokes))].append(_canonical(strokes, fit.points))
    ways = []
    for (character, _), paths in sorted(by_form.items()):
        if len(paths) >= fit.smallest:
            ways += _ways(character, np.stack(paths), fit, rng)
    return Pens(ways)


def _canonical(strokes: list[Stroke], points: int) -> Floats:
    """Normalise a drawing's size and the number of points per stroke: `(strokes, points, 2)`.

    Stroke order and direction do not matter: strokes run from top to bottom (closed or level ones from left to right)
    and are sorted by position.
    """
    everything = np.concatenate(strokes)
    low, high = everything.min(axis=0), everything.max(axis=0)
    size = max(float((high - low).max()), 1e-6)
    paths = [_directed(_resample((stroke - (low + high) / 2) / size, points)) for stroke in strokes]
    paths.sort(key=lambda path: float(path.mean(axis=0) @ (0.6, 1.0)))
    return np.stack(paths)


def _directed(path: Stroke) -> Stroke:
    along = path[-1] - path[0]
    return path[::-1] if along @ (0.5, 1.0) < 0 else path


def _resample(path: Stroke, points: int) -> Stroke:
    steps = np.hypot(*np.diff(path, axis=0).T) if len(path) > 1 else np.zeros(0)
    length = np.concatenate([[0.0], np.cumsum(steps)])
    at = np.linspace(0, length[-1], points)
    return np.stack([np.interp(at, length, path[:, axis]) for axis in (0, 1)], axis=1)


def _ways(character: str, paths: Floats, fit: PenFit, rng: np.random.Generator) -> list[Way]:
    flat = paths.reshape(len(paths), -1)
    count = int(np.clip(len(flat) // fit.drawings_per_way, 1, fit.most_ways))
    ways = []
    for members in _clusters(flat, count, fit, rng):
        if len(members) < fit.smallest:
            continue
        mean = members.mean(axis=0)
        _, deviations, modes = np.linalg.svd(members - mean, full_matrices=False)
        variances = deviations**2
        mode_count = int(np.searchsorted(np.cumsum(variances) / max(variances.sum(), 1e-12), fit.variance)) + 1
        mode_count = min(mode_count, fit.most_modes, len(members) // 2)
        scaled = modes[:mode_count] * (deviations[:mode_count, None] / np.sqrt(len(members) - 1))
        shape = paths.shape[1:]
        digit = int(character) if character.isdecimal() else None
        ways.append(Way(digit, float(len(members)), mean.reshape(shape), scaled.reshape(mode_count, *shape)))
    return ways


def _clusters(flat: Floats, count: int, fit: PenFit, rng: np.random.Generator) -> list[Floats]:
    """Cluster rows by k-means (Lloyd 1982) with k-means++ initialisation (Arthur and Vassilvitskii 2007)."""
    centres = flat[[rng.integers(len(flat))]]
    while len(centres) < count:
        nearest = ((flat[:, None] - centres) ** 2).sum(axis=2).min(axis=1)
        centres = np.vstack([centres, flat[rng.choice(len(flat), p=nearest / nearest.sum())]])
    for _ in range(fit.rounds):
        owner = ((flat[:, None] - centres) ** 2).sum(axis=2).argmin(axis=1)
        centres = np.stack([flat[owner == k].mean(axis=0) if (owner == k).any() else centres[k] for k in range(count)])
    return [flat[owner == k] for k in range(count)]
