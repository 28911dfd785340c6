"""Synthetic drawings that are not digits: doodles, stray strokes, icons and numbers of several digits."""

from collections.abc import Sequence

import numpy as np

from recognizer.preprocessing.ink import Stroke

Strokes = list[Stroke]

Ink = tuple[int, Strokes]
"""A digit and its strokes."""


def scribble(rng: np.random.Generator, digits: Sequence[Ink]) -> Strokes:
    """Draw something that is not a digit.

    Args:
        digits: single digits, to combine into numbers or to turn on their side.
    """
    chance = rng.random()
    if chance < 0.2:
        return _number(rng, digits)
    if chance < 0.27:
        return _lying(rng, digits)
    return _KINDS[int(rng.integers(len(_KINDS)))](rng)


def _number(rng: np.random.Generator, digits: Sequence[Ink]) -> Strokes:
    """Draw two or three digits in a row, some of them touching."""
    number: Strokes = []
    left = 0.0
    for _ in range(rng.integers(2, 4)):
        _, ink = digits[int(rng.integers(len(digits)))]
        points = np.concatenate(ink)
        low = points.min(axis=0)
        height = max(float(np.ptp(points[:, 1])), float(np.ptp(points[:, 0])) / 1.5, 1e-6)
        number += [(stroke - low) / height + (left, rng.normal(0, 0.05)) for stroke in ink]
        left += float(np.ptp(points[:, 0])) / height + rng.uniform(-0.05, 0.5)
    return number


def _lying(rng: np.random.Generator, digits: Sequence[Ink]) -> Strokes:
    """Draw a digit on its side. A zero on its side is still a zero, so it is replaced by an icon."""
    digit, ink = digits[int(rng.integers(len(digits)))]
    if digit == 0:
        return _icon(rng)
    turn = _rotation(np.deg2rad(rng.choice([-1, 1]) * rng.uniform(75, 105)))
    return [stroke @ turn for stroke in ink]


def _knot(rng: np.random.Generator) -> Strokes:
    """Draw a random walk that goes round and round."""
    steps = int(rng.integers(40, 160))
    heading = np.cumsum(rng.normal(rng.normal(0, 0.25), 0.45, steps))
    path = np.cumsum(np.stack([np.cos(heading), np.sin(heading)], axis=1), axis=0)
    pull = rng.uniform(0.9, 1.0)
    for index in range(1, steps):  # keep it near its start
        path[index:] -= (1 - pull) * (path[index] - path[0])
    return [path]


def _zigzag(rng: np.random.Generator) -> Strokes:
    turns = int(rng.integers(5, 14))
    along = np.linspace(0, rng.uniform(0.6, 1.6), turns) + rng.normal(0, 0.03, turns)
    across = np.where(np.arange(turns) % 2, 1.0, 0.0) * rng.uniform(0.3, 1) + rng.normal(0, 0.08, turns)
    return [_turned(np.stack([along, across], axis=1), rng)]


def _hatching(rng: np.random.Generator) -> Strokes:
    """Draw a grid or fence: at least two lines in each direction."""
    lines: Strokes = []
    for way in (0, 1):
        for place in np.linspace(0, 1, int(rng.integers(2, 5))):
            line = np.array([[place, -0.1], [place, 1.1]]) + rng.normal(0, 0.04, (2, 2))
            lines.append(line[:, ::-1] if way else line)
    angle = rng.uniform(0, np.pi)
    return [line @ _rotation(angle) for line in lines]


def _polygon(rng: np.random.Generator) -> Strokes:
    """Draw a closed outline with corners: a triangle, a box, a kite."""
    corners = int(rng.integers(3, 5))  # more would look like a zero
    angles = np.sort(
        rng.uniform(0, 2 * np.pi) + np.arange(corners) * 2 * np.pi / corners + rng.normal(0, 0.15, corners)
    )
    outline = np.stack([np.cos(angles), np.sin(angles)], axis=1) * rng.uniform(0.7, 1.2, (corners, 1))
    strokes = [np.vstack([outline, outline[:1]])]
    if rng.random() < 0.6:  # a diagonal
        strokes.append(outline[[0, corners // 2]])
    return strokes


def _dots(rng: np.random.Generator) -> Strokes:
    count = int(rng.choice([1, 1, 2, 3, 5]))
    if count == 1:
        return [rng.uniform(0, 0.02, (1, 2))]
    return [place + rng.normal(0, 0.01, (2, 2)) for place in rng.uniform(0, 1, (count, 2))]


def _spiral(rng: np.random.Generator) -> Strokes:
    turns = rng.uniform(2.2, 5)
    angle = np.linspace(0, 2 * np.pi * turns, int(20 * turns))
    radius = np.linspace(rng.uniform(0, 0.2), 1, len(angle)) + rng.normal(0, 0.02, len(angle))
    spin = rng.choice([-1.0, 1.0])
    return [np.stack([radius * np.cos(spin * angle), radius * np.sin(spin * angle)], axis=1)]


def _parallels(rng: np.random.Generator) -> Strokes:
    """Draw two to five strokes that do not touch: equals signs, tally marks, rain."""
    count = int(rng.integers(2, 6))
    angle = rng.uniform(0, np.pi)
    return [
        (np.array([[place, 0.0], [place, 1.0]]) * (1, rng.uniform(0.5, 1.2)) + rng.normal(0, 0.05, (2, 2)))
        @ _rotation(angle)
        for place in np.linspace(0, rng.uniform(0.4, 1.2), count)
    ]


def _blob(rng: np.random.Generator) -> Strokes:
    """Draw a closed outline with bulges or with dents between them."""
    angle = np.linspace(0, 2 * np.pi, 60)
    bulges = int(rng.integers(3, 8))
    wave = np.cos(bulges * angle / 2 + rng.uniform(0, np.pi))
    radius = 1 + rng.uniform(0.25, 0.7) * (np.abs(wave) if rng.random() < 0.5 else wave**2)
    radius += rng.normal(0, 0.1) * np.cos(angle + rng.uniform(0, np.pi))
    outline = np.stack([radius * np.cos(angle), radius * np.sin(angle) * rng.uniform(0.6, 1.2)], axis=1)
    return [outline]


def _dented(rng: np.random.Generator) -> Strokes:
    """Draw a closed outline with one to three deep dents, like a bean or a bone."""
    angle = np.linspace(0, 2 * np.pi, 80)
    radius = np.ones_like(angle)
    for place in np.cumsum(rng.uniform(1.5, 2.6, rng.integers(1, 4))):
        away = np.abs((angle - place + np.pi) % (2 * np.pi) - np.pi)
        radius = radius - rng.uniform(0.55, 0.85) * np.exp(-((away / rng.uniform(0.25, 0.6)) ** 2))
    outline = np.stack([radius * np.cos(angle) * rng.uniform(0.7, 1.3), radius * np.sin(angle)], axis=1)
    return [_turned(outline, rng)]


def _ring(rng: np.random.Generator) -> Strokes:
    """Draw a ring with two to five marks in it, like a face or a dial; a single mark would be a zero's slash or dot."""
    angle = np.linspace(0, 2 * np.pi, 40)
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1) * (rng.uniform(0.7, 1.1), 1)
    marks = [_part(rng) * rng.uniform(0.15, 0.4) for _ in range(rng.integers(2, 6))]
    return [ring, *(mark + rng.uniform(-0.5, 0.5, 2) for mark in marks)]


def _icon(rng: np.random.Generator) -> Strokes:
    """Draw three to six lines, arcs and rings at random places: plans, tools, flags, faces."""
    return [_part(rng) * rng.uniform(0.3, 0.8) + rng.uniform(-0.8, 0.8, 2) for _ in range(rng.integers(3, 7))]


def _part(rng: np.random.Generator) -> Stroke:
    """Draw a line, an arc, a ring or a corner around (0, 0), of size 2."""
    kind = rng.integers(4)
    if kind == 3:
        return _turned(np.array([[-1, rng.uniform(-1, 1)], [0, 0], [rng.uniform(-1, 1), 1.0]]), rng)
    bend = (0.0, rng.uniform(0.5, 1.5), 2.0)[int(kind)] * np.pi
    if bend == 0:
        return _turned(np.array([[-1.0, 0], [1, 0]]), rng)
    angle = np.linspace(0, bend, 24)
    return _turned(np.stack([np.cos(angle), np.sin(angle) * rng.uniform(0.5, 1)], axis=1), rng)


def _turned(path: Stroke, rng: np.random.Generator) -> Stroke:
    turned: Stroke = path @ _rotation(rng.uniform(0, 2 * np.pi))
    return turned


def _rotation(angle: float) -> np.ndarray:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


_KINDS = (_knot, _zigzag, _hatching, _polygon, _dots, _spiral, _parallels, _blob, _dented, _ring, _ring, _icon, _icon)
