"""Styles of writing digits that are rare in the strokes file but common in much of the world."""

from dataclasses import dataclass, field

import numpy as np

from recognizer.preprocessing import Stroke


@dataclass(frozen=True, slots=True)
class OneStyle:
    """A one with an upstroke and sometimes a foot, as taught in most of Europe and the Maghreb."""

    share: float = 0.5  # of plain ones
    foot_share: float = 0.3  # of those, that also get a foot
    angle: tuple[float, float] = (25.0, 55.0)  # of the upstroke from vertical, degrees; near 90 it would be a seven
    opening: float = 18.0  # minimum angle between stem and upstroke, degrees
    length: tuple[float, float] = (0.12, 0.55)  # of the upstroke, share of the stem
    short: float = 0.28  # share of the stem: a shorter upstroke may be nearly level, as no seven's bar is that short
    short_angle: float = 80.0  # maximum angle of a short upstroke from vertical, degrees
    foot_slant: float = 20.0  # maximum slant of a stem with a foot, degrees
    foot: tuple[float, float] = (0.35, 0.75)  # width, share of the stem
    straightness: float = 0.08  # share of the stem: a path that deviates further from its chord is not a plain one


@dataclass(frozen=True, slots=True)
class SevenStyle:
    """A seven with a bar through its stem, which distinguishes it from a one."""

    share: float = 0.3  # of sevens drawn in one stroke
    place: tuple[float, float] = (0.38, 0.65)  # of the bar, share of the height from the top
    half_length: tuple[float, float] = (0.12, 0.3)  # share of the height
    tilt: float = 10.0  # degrees, standard deviation
    shift: float = 0.05  # share of the height, standard deviation


@dataclass(frozen=True, slots=True)
class ZeroStyle:
    """A zero with a slash, which distinguishes it from an O."""

    share: float = 0.15  # of zeros drawn in one stroke
    rising: float = 0.75  # share of slashes from the lower left to the upper right; the others fall
    angle: tuple[float, float] = (35.0, 75.0)  # degrees from horizontal
    reach: tuple[float, float] = (0.7, 1.3)  # of each end, share of the distance from the centre to the outline


@dataclass(frozen=True, slots=True)
class SquareStyle:
    """Digits of straight lines and right angles, as drawn with a mouse or copied from digital displays."""

    share: float = 0.06  # of all drawings of these digits
    width: tuple[float, float] = (0.4, 0.75)  # share of the height
    middle: tuple[float, float] = (0.4, 0.6)  # of the bar, share of the height
    waver: float = 0.03  # of the corners, share of the height, standard deviation


@dataclass(frozen=True, slots=True)
class Styles:
    """Options of all styles."""

    zeros: ZeroStyle = field(default_factory=ZeroStyle)
    ones: OneStyle = field(default_factory=OneStyle)
    sevens: SevenStyle = field(default_factory=SevenStyle)
    squares: SquareStyle = field(default_factory=SquareStyle)


def restyle(digit: int | None, strokes: list[Stroke], styles: Styles, rng: np.random.Generator) -> list[Stroke]:
    """Apply another style to a digit at random, if there is one for it; else return it unchanged."""
    if digit in SQUARES and rng.random() < styles.squares.share:
        return draw_square(digit, styles.squares, rng)
    if digit == 0:
        return slash_zero(strokes, styles.zeros, rng)
    if digit == 1:
        return restyle_one(strokes, styles.ones, rng)
    return cross_seven(strokes, styles.sevens, rng) if digit == 7 else strokes


def restyle_one(strokes: list[Stroke], style: OneStyle, rng: np.random.Generator) -> list[Stroke]:
    """Add an upstroke to a plain one (a single straight stroke) at random; return anything else unchanged."""
    if len(strokes) != 1 or rng.random() >= style.share or not _is_plain(strokes[0], style.straightness):
        return strokes
    stem = strokes[0] if strokes[0][0, 1] <= strokes[0][-1, 1] else strokes[0][::-1]  # from its top
    along = stem[-1] - stem[0]  # y grows downwards
    height = float(np.hypot(*along))
    slant = float(np.rad2deg(np.arctan2(-along[0], along[1])))  # from vertical; positive: the lower end is to the left
    length = rng.uniform(*style.length)
    smallest = max(style.angle[0], slant + style.opening)
    largest = style.short_angle if length < style.short else style.angle[1]
    if smallest > largest:
        return strokes
    angle = np.deg2rad(rng.uniform(smallest, largest))
    tip = stem[0] + length * height * np.array([-np.sin(angle), np.cos(angle)])
    bow = rng.normal(0, 0.02) * along
    upstroke = np.array([tip, (tip + stem[0]) / 2 + bow, stem[0]])
    restyled = [np.concatenate([upstroke, stem])]
    if abs(slant) < style.foot_slant and rng.random() < style.foot_share:
        half = rng.uniform(*style.foot) / 2 * height
        restyled.append(stem[-1] + np.array([[-half, rng.normal(0, 0.05) * half], [half, 0.0]]))
    return restyled


def slash_zero(strokes: list[Stroke], style: ZeroStyle, rng: np.random.Generator) -> list[Stroke]:
    """Add a slash to a zero drawn in one stroke at random; return anything else unchanged."""
    if len(strokes) != 1 or rng.random() >= style.share:
        return strokes
    low, high = strokes[0].min(axis=0), strokes[0].max(axis=0)
    angle = np.deg2rad(rng.uniform(*style.angle))
    direction = np.array([np.cos(angle), np.sin(angle) * (-1 if rng.random() < style.rising else 1)])
    radius = 1 / max(float(np.hypot(*(direction / np.maximum((high - low) / 2, 1e-6)))), 1e-6)  # of the ellipse
    start, end = rng.uniform(*style.reach, 2) * radius
    middle = (low + high) / 2
    return [strokes[0], np.array([middle - start * direction, middle + end * direction])]


SQUARES = {  # corners as (right, down): right 0 or 1; down 0 the top, 1 the middle bar, 2 the bottom
    0: [[(0, 0), (1, 0), (1, 2), (0, 2), (0, 0)]],
    2: [[(0, 0), (1, 0), (1, 1), (0, 1), (0, 2), (1, 2)]],
    3: [[(0, 0), (1, 0), (1, 2), (0, 2)], [(0, 1), (1, 1)]],
    4: [[(0, 0), (0, 1), (1, 1)], [(1, 0), (1, 2)]],
    5: [[(1, 0), (0, 0), (0, 1), (1, 1), (1, 2), (0, 2)]],
    6: [[(1, 0), (0, 0), (0, 2), (1, 2), (1, 1), (0, 1)]],
    7: [[(0, 0), (1, 0), (1, 2)]],
    8: [[(0, 0), (1, 0), (1, 2), (0, 2), (0, 0)], [(0, 1), (1, 1)]],
    9: [[(1, 1), (0, 1), (0, 0), (1, 0), (1, 2), (0, 2)]],
}


def draw_square(digit: int, style: SquareStyle, rng: np.random.Generator) -> list[Stroke]:
    """Draw a digit of height 1 in straight lines."""
    width, heights = rng.uniform(*style.width), (0.0, rng.uniform(*style.middle), 1.0)
    paths = [np.array([(right * width, heights[down]) for right, down in path]) for path in SQUARES[digit]]
    return [path + rng.normal(0, style.waver, path.shape) for path in paths]


def cross_seven(strokes: list[Stroke], style: SevenStyle, rng: np.random.Generator) -> list[Stroke]:
    """Add a bar through the stem of a seven drawn in one stroke at random; return anything else unchanged."""
    if len(strokes) != 1 or rng.random() >= style.share:
        return strokes
    path = strokes[0]
    top, height = path[:, 1].min(), np.ptp(path[:, 1])
    level = top + rng.uniform(*style.place) * height
    crossings = np.flatnonzero((path[:-1, 1] < level) & (path[1:, 1] >= level))
    if not len(crossings):
        return strokes
    before, after = path[crossings[-1]], path[crossings[-1] + 1]
    on_stem = before + (after - before) * (level - before[1]) / (after[1] - before[1])
    angle, half = np.deg2rad(rng.normal(0, style.tilt)), rng.uniform(*style.half_length) * height
    middle = on_stem + np.array([rng.normal(0, style.shift) * height, 0.0])
    arm = half * np.array([np.cos(angle), np.sin(angle)])
    return [path, np.array([middle - arm, middle + arm])]


def _is_plain(stroke: Stroke, straightness: float) -> bool:
    along = stroke[-1] - stroke[0]
    length = float(np.hypot(*along))
    if length == 0 or abs(along[1]) < 0.7 * length:
        return False
    from_chord = (stroke - stroke[0]) @ np.array([-along[1], along[0]]) / length
    return bool(np.abs(from_chord).max() < straightness * length and np.ptp(stroke[:, 1]) < 1.1 * length)
