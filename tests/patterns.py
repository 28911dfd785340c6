"""Pictures with as many parts, edges and nested shapes as possible.

Reading them must not take much longer than a photo of their size: `benchmarks/load/worst_pictures.py` measures it.
"""

from collections.abc import Callable
from functools import partial

import cv2
import numpy as np
import numpy.typing as npt

Grey = npt.NDArray[np.uint8]

PITCHES = (2, 3, 4, 5, 6, 8, 12, 20, 50)  # pixels
GRAINS = (1, 2, 3, 4, 6, 16)  # pixels
SHARES = (0.02, 0.1, 0.3, 0.5)  # of the picture that is ink


def _paper(side: int) -> Grey:
    return np.full((side, side), 255, np.uint8)


def dots(side: int, pitch: int, size: int = 1) -> Grey:
    """Black squares of `size` pixels, `pitch` apart."""
    along = np.arange(side) % pitch >= size
    return np.where(along[:, None] | along, 255, 0).astype(np.uint8)


def stripes(side: int, pitch: int) -> Grey:
    return np.where(np.arange(side)[:, None] % pitch, _paper(side), 0).astype(np.uint8)


def grid(side: int, pitch: int) -> Grey:
    return np.minimum(stripes(side, pitch), stripes(side, pitch).T)


def checkerboard(side: int, pitch: int) -> Grey:
    along = np.arange(side) // pitch
    return np.where((along[:, None] + along) % 2, 0, 255).astype(np.uint8)


def comb(side: int, pitch: int) -> Grey:
    """A comb, with a small margin to the picture's border."""
    picture = stripes(side, pitch).T.copy()
    picture[: side // 50 + 3] = 0
    return np.pad(picture[3:-3, 3:-3], 3, constant_values=255)


def diagonals(side: int, pitch: int) -> Grey:
    """Long parts with overlapping bounding boxes."""
    along = np.arange(side)
    return np.where((along[:, None] + along) % pitch, 255, 0).astype(np.uint8)


def nested(side: int, pitch: int, gap: bool = False) -> Grey:
    """Nested frames, or nested brackets with `gap`."""
    picture = _paper(side)
    for near in range(2, side // 2, pitch):
        cv2.rectangle(picture, (near, near), (side - 1 - near, side - 1 - near), 0, max(1, pitch // 4))
    if gap:
        picture[side // 2 - 3 : side // 2 + 3, : side // 2] = 255
    return picture


def boxes(side: int, pitch: int) -> Grey:
    """Boxes with a dot in each."""
    picture = np.minimum(dots(side, pitch, max(1, pitch // 5)), _paper(side))
    for y in range(-pitch // 2, side, pitch):
        for x in range(-pitch // 2, side, pitch):
            cv2.rectangle(picture, (x + 2, y + 2), (x + pitch, y + pitch), 0, 1)
    return picture


def spiral(side: int, pitch: int) -> Grey:
    picture = _paper(side)
    turn = np.linspace(0, np.pi * side / pitch, 50 * side)
    path = side / 2 + pitch * (turn / (2 * np.pi)) * np.stack([np.cos(turn), np.sin(turn)])
    cv2.polylines(picture, [np.rint(path.T).astype(np.int32)], False, 0, max(1, pitch // 4))
    return picture


def labyrinth(side: int, pitch: int) -> Grey:
    """Diagonal walls in random directions."""
    cells = np.random.default_rng(0).integers(0, 2, (side // pitch + 1,) * 2)
    falling = np.eye(pitch, dtype=bool)
    walls = np.block([[falling if cell else falling[::-1] for cell in row] for row in cells])
    labyrinth: Grey = np.where(walls[:side, :side], 0, 255).astype(np.uint8)
    return labyrinth


def steps(side: int, pitch: int) -> Grey:
    """Stacked sheets, each a little lighter, with a line on the top one."""
    near = np.minimum(np.arange(side), np.arange(side)[::-1])
    level = np.minimum(near[:, None], near) // pitch
    picture: Grey = (level * 255 // max(level.max(), 1)).astype(np.uint8)
    cv2.line(picture, (side // 2, side * 2 // 5), (side // 2, side * 3 // 5), 0, max(1, side // 100))
    return picture


def sheets(side: int, pitch: int) -> Grey:
    """Light sheets on a dark table, with a line on each."""
    picture = np.where(dots(side, pitch, pitch * 3 // 4), np.uint8(60), np.uint8(230))
    lines = dots(side, pitch, max(1, pitch // 8))
    return np.where(np.roll(lines, pitch // 4, (0, 1)), picture, np.uint8(20))


def noise(side: int, grain: int, share: float | None = None) -> Grey:
    """Grain of all grey levels, or black grain with this share of ink."""
    levels = np.random.default_rng(0).random((side // grain + 1,) * 2)
    grains = 255 * levels if share is None else np.where(levels < share, 0, 255)
    return np.kron(grains, np.ones((grain, grain)))[:side, :side].astype(np.uint8)


PATTERNS: dict[str, Callable[[int], Grey]] = {
    f"{pattern.__name__}, every {pitch} pixels": partial(pattern, pitch=pitch)
    for pattern in (dots, stripes, grid, checkerboard, comb, diagonals, nested, spiral, labyrinth)
    for pitch in PITCHES
}
PATTERNS |= {
    f"{pattern.__name__}, every {pitch} pixels": partial(pattern, pitch=pitch)
    for pattern in (boxes, steps, sheets)
    for pitch in (7, 8, 10, 16, 25, 50, 100, 300)
}
PATTERNS |= {f"double dots, every {pitch} pixels": partial(dots, pitch=pitch, size=2) for pitch in PITCHES[2:]}
PATTERNS |= {f"brackets, every {pitch} pixels": partial(nested, pitch=pitch, gap=True) for pitch in PITCHES[1:]}
PATTERNS |= {f"noise, grain of {grain} pixels": partial(noise, grain=grain) for grain in GRAINS}
PATTERNS |= {
    f"black noise of {share:.0%}, grain of {grain} pixels": partial(noise, grain=grain, share=share)
    for grain in GRAINS
    for share in SHARES
}
"""Functions that make a `(side, side)` picture, by its name."""
