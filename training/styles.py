"""Ways of writing a digit that the writers of the strokes file hardly have, and much of the world does."""

from dataclasses import dataclass

import numpy as np

from recognizer.preprocessing import Stroke


@dataclass(frozen=True, slots=True)
class OneStyle:
    """A one with an upstroke, and perhaps a foot, as taught in most of Europe and the Maghreb."""

    share: float = 0.5  # of the plain ones that get it
    foot_share: float = 0.3  # of those, with a foot too
    angle: tuple[float, float] = (25.0, 55.0)  # degrees of the upstroke from upright; near 90 it would be a seven
    opening: float = 18.0  # degrees between stem and upstroke, at least
    foot_slant: float = 20.0  # degrees of the stem from upright, at most, to have a foot
    length: tuple[float, float] = (0.2, 0.55)  # of the stem
    foot: tuple[float, float] = (0.35, 0.75)  # of the stem
    straightness: float = 0.08  # of the stem: a path that leaves its chord further is no plain one


def restyle_one(strokes: list[Stroke], style: OneStyle, rng: np.random.Generator) -> list[Stroke]:
    """Give a plain one, a single straight stroke, an upstroke; anything else comes back as it is."""
    if len(strokes) != 1 or rng.random() >= style.share or not _is_plain(strokes[0], style.straightness):
        return strokes
    stem = strokes[0] if strokes[0][0, 1] <= strokes[0][-1, 1] else strokes[0][::-1]  # from its top
    along = stem[-1] - stem[0]  # y grows downwards
    height = float(np.hypot(*along))
    slant = float(np.rad2deg(np.arctan2(-along[0], along[1])))  # from upright, the foot to the left
    smallest = max(style.angle[0], slant + style.opening)
    if smallest > style.angle[1]:
        return strokes
    angle = np.deg2rad(rng.uniform(smallest, style.angle[1]))
    tip = stem[0] + rng.uniform(*style.length) * height * np.array([-np.sin(angle), np.cos(angle)])
    bow = rng.normal(0, 0.02) * along
    upstroke = np.array([tip, (tip + stem[0]) / 2 + bow, stem[0]])
    restyled = [np.concatenate([upstroke, stem])]
    if abs(slant) < style.foot_slant and rng.random() < style.foot_share:
        half = rng.uniform(*style.foot) / 2 * height
        restyled.append(stem[-1] + np.array([[-half, rng.normal(0, 0.05) * half], [half, 0.0]]))
    return restyled


def _is_plain(stroke: Stroke, straightness: float) -> bool:
    along = stroke[-1] - stroke[0]
    length = float(np.hypot(*along))
    if length == 0 or abs(along[1]) < 0.7 * length:
        return False
    from_chord = (stroke - stroke[0]) @ np.array([-along[1], along[0]]) / length
    return bool(np.abs(from_chord).max() < straightness * length and np.ptp(stroke[:, 1]) < 1.1 * length)
