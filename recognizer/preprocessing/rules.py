"""Ruled and squared paper: removes the printed lines and keeps the strokes that cross them."""

import cv2
import numpy as np
import numpy.typing as npt

from recognizer.preprocessing.geometry import GreyImage
from recognizer.preprocessing.ground import COARSE_SIDE

INK_THRESHOLD = 0.4  # of the contrast; more counts as ink

# Ruled and squared paper. Shares are of the picture's side along the rule, unless noted otherwise.
RULE_THRESHOLD = 0.2  # of full ink; rules are often fainter than strokes
RULE_EDGE = 0.03  # width of the zone at the picture's edges where a rule's ends are searched
RULE_TILT = 0.12  # maximum height difference from one edge to the other
RULE_PLAY = 0.006  # maximum bend of a rule
RULE_COVER = 0.9  # minimum visible share of a rule; light or an eraser may hide the rest
RULE_LENGTH = 0.1  # minimum length; shorter rules across a corner are kept
RULE_STEP = 4  # pixels between the samples along a rule
FEWEST_RULES, MOST_RULES = 2, 60  # in one direction
CLEAN_EDGES = 0.6  # maximum share of the ink at the picture's edges that remains without the rules

Rules = npt.NDArray[np.float64]
"""Ruled lines `(n, 3)`: height at the left edge, height at the right edge, thickness, pixels."""

Heights = npt.NDArray[np.float64]


def without_rules(ink: GreyImage) -> GreyImage:
    """Remove the lines of ruled or squared paper: straight, from edge to edge, and at least two in one direction.

    The bars of a digit that fills the picture look the same. The difference is the ink that remains at the picture's
    edges without them: little on ruled paper, otherwise the digit's other strokes.
    """
    if max(ink.shape) < COARSE_SIDE:  # too coarse to distinguish rules from strokes
        return ink
    across, down = _find_rules(ink), _find_rules(cv2.transpose(ink))
    across_many, down_many = len(across) >= FEWEST_RULES, len(down) >= FEWEST_RULES
    if not (across_many or down_many):
        return ink
    clean = cv2.transpose(_erase_rules(cv2.transpose(_erase_rules(ink, across)), down))
    before, after = above(ink, INK_THRESHOLD) > 0, above(clean, INK_THRESHOLD) > 0
    ends = np.zeros_like(before)
    ends[:, [0, -1]] = across_many
    ends[[0, -1]] |= down_many
    return clean if after[ends].sum() <= CLEAN_EDGES * before[ends].sum() else ink


def above(ink: GreyImage, share: float) -> GreyImage:
    """Return the mask, 0 or 255, of pixels with more than this share of full ink."""
    # Not `cv2.compare`, which treats an array of one or four numbers as a scalar.
    mask: GreyImage = cv2.threshold(ink, 255 * share, 255, cv2.THRESH_BINARY)[1]
    return mask


def _find_rules(ink: GreyImage) -> Rules:
    """Return nearly horizontal straight lines from edge to edge, as `Rules`."""
    mask = above(ink, RULE_THRESHOLD)
    height, width = mask.shape
    edge = max(1, round(RULE_EDGE * width))
    left, right = _rule_ends(mask[:, :edge]), _rule_ends(mask[:, -edge:])
    if not len(left) or not len(right) or max(len(left), len(right)) > MOST_RULES:  # no rules, or grain
        return np.empty((0, 3))
    start, end = (heights.ravel() for heights in np.meshgrid(left[:, 0], right[:, 0]))
    whole = (np.abs(start - end) <= RULE_TILT * width) & _is_covered(mask, start, end)
    if not whole.any():
        return np.empty((0, 3))
    # The ends of other rules are hidden by a crossing rule, or beyond a corner: search them at the same tilt.
    tilt = float(np.median((end - start)[whole]))
    margin = int(abs(tilt))
    heights = np.arange(-margin, height + margin, dtype=np.float64)
    found = np.concatenate([[False], _is_covered(mask, heights, heights + tilt), [False]])
    first, last = np.flatnonzero(found[1:] & ~found[:-1]), np.flatnonzero(found[:-1] & ~found[1:]) - 1
    start = heights[first] / 2 + heights[last] / 2
    thickness = np.full(len(start), np.median(left[:, 1]))
    return np.stack([start, start + tilt, thickness], axis=1)


def _is_covered(mask: GreyImage, start: Heights, end: Heights) -> npt.NDArray[np.bool_]:
    """Return for lines from the left to the right edge whether there is ink all along them, `(n,)`."""
    height, width = mask.shape
    # Paper is never quite flat, so a rule may bend a little.
    play = 2 * round(RULE_PLAY * width) + 3
    thick = cv2.dilate(mask, np.ones((play, 1), np.uint8))[:, ::RULE_STEP] > 0
    x = np.arange(thick.shape[1])
    y = np.rint(start[:, None] + (end - start)[:, None] * (x * RULE_STEP / width)).astype(np.intp)  # (n, columns)
    seen = (y >= 0) & (y < height)
    covered = (thick[y.clip(0, height - 1), x] & seen).sum(axis=1)
    answer: npt.NDArray[np.bool_] = covered >= RULE_COVER * np.maximum(seen.sum(axis=1), RULE_LENGTH * len(x))
    return answer


def _rule_ends(edge: GreyImage) -> npt.NDArray[np.float64]:
    """Return where lines cross an edge of the picture, `(n, 2)`: centre and thickness, pixels.

    Uses a typical column of `edge`, because some columns may have a line along the edge or dirt.
    """
    ink = np.pad(edge > 0, ((1, 1), (0, 0)))
    begins, ends = ink[1:] & ~ink[:-1], ink[:-1] & ~ink[1:]
    column = int(begins.sum(axis=0).argsort()[edge.shape[1] // 2])
    first, last = np.flatnonzero(begins[:, column]), np.flatnonzero(ends[:, column])
    return np.stack([(first + last - 1) / 2, last - first], axis=1)


def _erase_rules(ink: GreyImage, rules: Rules) -> GreyImage:
    """Remove rules: along each one, keep only the strokes that cross it, which are thicker across it."""
    if not len(rules):
        return ink
    width = ink.shape[1]
    thickness = round(float(np.median(rules[:, 2]))) + 1
    band = np.zeros_like(ink)
    for start, end in np.rint(rules[:, :2]).astype(int).tolist():
        cv2.line(band, (0, start), (width - 1, end), 255, thickness + 2 * (round(RULE_PLAY * width) + 2))
    kernel = np.ones((thickness + 1, 1), np.uint8)
    crossing = cv2.morphologyEx(ink, cv2.MORPH_OPEN, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    erased: GreyImage = np.where(band > 0, crossing, ink)
    return erased
