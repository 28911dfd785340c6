"""Shapes that people draw to test a digit reader. None of these kinds is in the training data.

`training/scribbles.py` has the kinds that the network learns from.
"""

from collections.abc import Callable, Sequence

import numpy as np

from recognizer.preprocessing import Stroke

Strokes = list[Stroke]


def shape(name: str, rng: np.random.Generator, digits: Sequence[Strokes]) -> Strokes:
    """Draw a shape as by hand: rotated, stretched and unsteady.

    Args:
        name: one of `SHAPES` or `NUMBERS`.
        digits: ink of single digits, for numbers.
    """
    if name in NUMBERS:
        first, second = (_unit(digits[int(rng.integers(len(digits)))]) for _ in range(2))
        return first + [stroke + NUMBERS[name](rng) for stroke in second]
    angle = np.deg2rad(rng.normal(0, 6))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    stretch = rng.uniform(0.8, 1.2, 2)
    return [_by_hand(np.asarray(path, np.float64) * stretch @ turn, rng) for path in SHAPES[name]()]


def _by_hand(path: Stroke, rng: np.random.Generator) -> Stroke:
    """Put points along a path, and make them waver."""
    lengths = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(path, axis=0).T))])
    along = np.linspace(0, lengths[-1], 40)
    smooth = np.stack([np.interp(along, lengths, path[:, axis]) for axis in (0, 1)], axis=1)
    waver = np.cumsum(rng.normal(0, 0.008, smooth.shape), axis=0)
    wavered: Stroke = smooth + waver - np.linspace(0, 1, len(waver))[:, None] * waver[-1]
    return wavered


def _unit(strokes: Strokes) -> Strokes:
    points = np.concatenate(strokes)
    low, size = points.min(axis=0), max(float(np.ptp(points, axis=0).max()), 1e-6)
    return [(stroke - low) / size for stroke in strokes]


def _arc(x: float, y: float, rx: float, ry: float, start: float = 0, end: float = 360) -> Stroke:
    """Return part of an ellipse around (x, y): degrees clockwise from the right, y down."""
    angle = np.deg2rad(np.linspace(start, end, 30))
    return np.stack([x + rx * np.cos(angle), y + ry * np.sin(angle)], axis=1)


def _heart() -> Strokes:
    t = np.linspace(0, 2 * np.pi, 60)
    x = 16 * np.sin(t) ** 3
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
    return [np.stack([x, y], axis=1) / 32]


def _star() -> Strokes:
    angle = np.deg2rad(-90 + 144 * np.arange(6))
    return [np.stack([np.cos(angle), np.sin(angle)], axis=1)]


def _cloud() -> Strokes:
    arcs = [_arc(0.2, 0.6, 0.2, 0.2, 90, 270), _arc(0.45, 0.4, 0.25, 0.25, 190, 350), _arc(0.8, 0.6, 0.2, 0.2, -90, 90)]
    return [np.concatenate([*arcs, [[0.2, 0.8]]])]


def _flower() -> Strokes:
    t = np.linspace(0, 2 * np.pi, 100)
    radius = 0.6 + 0.4 * np.cos(5 * t)
    return [np.stack([radius * np.cos(t), radius * np.sin(t)], axis=1), _arc(0, 0, 0.15, 0.15)]


def _wave() -> Strokes:
    x = np.linspace(0, 2, 60)
    return [np.stack([x, 0.25 * np.sin(x * 2 * np.pi * 1.5)], axis=1)]


SHAPES: dict[str, Callable[[], Sequence[Stroke | list[list[float]]]]] = {
    "cross": lambda: [[[0, 0], [1, 1]], [[1, 0], [0, 1]]],
    "plus": lambda: [[[0.5, 0], [0.5, 1]], [[0, 0.5], [1, 0.5]]],
    "heart": _heart,
    "star": _star,
    "arrow": lambda: [[[0, 0.5], [1, 0.5]], [[0.7, 0.2], [1, 0.5], [0.7, 0.8]]],
    "smiley": lambda: [
        _arc(0.5, 0.5, 0.5, 0.5),
        [[0.33, 0.3], [0.33, 0.4]],
        [[0.67, 0.3], [0.67, 0.4]],
        _arc(0.5, 0.5, 0.28, 0.28, 20, 160),
    ],
    "house": lambda: [
        [[0, 1], [0, 0.45], [0.5, 0], [1, 0.45], [1, 1], [0, 1]],
        [[0.4, 1], [0.4, 0.65], [0.6, 0.65], [0.6, 1]],
    ],
    "cloud": _cloud,
    "flower": _flower,
    "wave": _wave,
    "stick figure": lambda: [
        _arc(0.5, 0.15, 0.15, 0.15),
        [[0.5, 0.3], [0.5, 0.7]],
        [[0.2, 0.45], [0.8, 0.45]],
        [[0.2, 1], [0.5, 0.7], [0.8, 1]],
    ],
    "note": lambda: [_arc(0.2, 0.9, 0.2, 0.13), [[0.4, 0.9], [0.4, 0], [0.8, 0.25]]],
    "fish": lambda: [
        _arc(0.4, 0.5, 0.4, 0.25),
        [[0.78, 0.5], [1.1, 0.2], [1.1, 0.8], [0.78, 0.5]],
        [[0.2, 0.42], [0.22, 0.44]],
    ],
    "umbrella": lambda: [
        _arc(0.5, 0.5, 0.5, 0.5, 180, 360),
        [[0, 0.5], [1, 0.5]],
        [[0.5, 0.5], [0.5, 1], [0.4, 1.05], [0.32, 0.98]],
    ],
    "percent": lambda: [_arc(0.2, 0.2, 0.17, 0.2), _arc(0.8, 0.8, 0.17, 0.2), [[0.9, 0], [0.1, 1]]],
    "clock": lambda: [_arc(0.5, 0.5, 0.5, 0.5), [[0.5, 0.15], [0.5, 0.5], [0.75, 0.6]]],
}

NUMBERS: dict[str, Callable[[np.random.Generator], tuple[float, float]]] = {
    "two digits, one below the other": lambda rng: (rng.normal(0, 0.05), rng.uniform(1.1, 1.3)),
    "two digits, one over the other": lambda rng: (rng.normal(0, 0.08), rng.normal(0, 0.08)),
}
