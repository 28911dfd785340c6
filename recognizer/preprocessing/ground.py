"""What ink stands on: which of the two is dark, and the ink without its ground, whatever the paper and the light."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from recognizer.preprocessing.geometry import GreyImage, NoInkError

COARSE_SIDE = 64  # pixels; only larger pictures have grain to smooth, or a scene to understand
THUMBNAIL_SIDE = 96  # pixels; what is large in a picture is seen on one this small
POLARITY_SIDE = 48  # pixels; the same for the polarity of a flat picture

# A picture of few levels was drawn, scanned or evenly lit: nearly all of it is near the lightest or the darkest level.
FLAT_BAND = 0.2  # of the contrast
FLAT_SHARE = 0.9  # of the picture

# Lines, pixels of the thumbnail.
WIDEST_LINE = 14
NEIGHBOURHOOD = 37  # a line is no median of what surrounds it so far

# Shares of the picture's longer side. Light and shadow vary slower than over these, ink does not.
FLAT_GROUND = 0.3  # wider than any pen
UNEVEN_GROUND = 0.2
GROUND_SIDE = 192  # pixels; the ground is found on a picture this small
SMALLEST_GROUND = 9  # pixels; for tiny pictures

# What ink must be to be told from paper.
SHORTEST_PATH = 0.2  # of the longer side: a digit has at least this many pixels of full ink
LOWEST_CONTRAST = 16  # grey levels between ink and paper
LOWEST_SIGNAL = 6.0  # contrast in standard deviations of the paper's own grain
STRONGEST_GAIN = 4.0  # by which ink in a shadow is raised


@dataclass(frozen=True, slots=True)
class Look:
    """How a picture is to be read."""

    dark: bool  # the ink is darker than its ground
    flat: bool  # drawn, scanned or evenly lit; else a photo with light and shadow in it


def thumbnail(picture: npt.NDArray[np.uint8], side: int = THUMBNAIL_SIDE) -> npt.NDArray[np.uint8]:
    """Scale `(h, w)` or `(h, w, channels)` until its longer side has so many pixels, be it up."""
    scale = side / max(picture.shape[:2])
    size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    small: npt.NDArray[np.uint8] = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return small


def deviation(small: npt.NDArray[np.uint8], window: int, margin: int) -> npt.NDArray[np.float32]:
    """Return by how much each pixel is lighter than the median of the window around it; `margin` repeats the edges."""
    padded = cv2.copyMakeBorder(small, margin, margin, margin, margin, cv2.BORDER_REPLICATE)
    ground = cv2.medianBlur(padded, window)[margin:-margin, margin:-margin]
    difference: npt.NDArray[np.float32] = small.astype(np.float32) - ground
    return difference


def look_at(grey: GreyImage) -> Look:
    """Tell whether the ink of a `(h, w)` uint8 picture is dark, and whether the picture is flat."""
    small = thumbnail(grey)
    if max(grey.shape) < COARSE_SIDE or is_flat(small):
        return Look(not _is_light_on_flat(grey), True)
    light, dark = (lines[2:-2, 2:-2] for lines in lines_of(small))  # without a thin frame
    # A few strong lines count for more than the grain of wood.
    return Look(bool((light**3).sum() <= (dark**3).sum()), False)


def is_flat(levels: npt.NDArray[np.uint8]) -> bool:
    low, high = np.percentile(levels, (1, 99))
    band = FLAT_BAND * (high - low)
    return float(((levels < low + band) | (levels > high - band)).mean()) > FLAT_SHARE


def _is_light_on_flat(grey: GreyImage) -> bool:
    """Ground is what most of a flat picture looks like, most of all along its edges."""
    small = thumbnail(grey, POLARITY_SIDE)
    if min(small.shape) > 8:  # without a thin frame
        small = small[1:-1, 1:-1]
    # Repeated outwards, the edges outvote a bold 1 that fills the picture.
    return float((deviation(small, POLARITY_SIDE - 1, POLARITY_SIDE // 4) ** 3).sum()) > 0


def lines_of(small: GreyImage) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Find narrow things, lighter and darker than what is around them: `(light, dark)` contrast, `(h, w)` float32."""
    difference = deviation(small, NEIGHBOURHOOD, NEIGHBOURHOOD // 2)
    kernel = np.ones((WIDEST_LINE, WIDEST_LINE), np.uint8)
    light = np.minimum(difference.clip(0), cv2.morphologyEx(small, cv2.MORPH_TOPHAT, kernel))
    dark = np.minimum((-difference).clip(0), cv2.morphologyEx(small, cv2.MORPH_BLACKHAT, kernel))
    return light, dark


def lift_ink(grey: GreyImage, look: Look, inside: GreyImage | None = None) -> GreyImage:
    """Take the ground away: `(h, w)` uint8, 0 where it shows and 255 at full ink, whatever the light was.

    Args:
        grey: `(h, w)` uint8.
        look: how it is to be read.
        inside: `(h, w)` uint8, 0 where no ink can be; it can be anywhere if None.

    Raises:
        NoInkError: the picture is blank, or has nothing but grain.
    """
    light = 255 - grey if look.dark else grey.copy()
    if max(light.shape) >= COARSE_SIDE:
        light = cv2.GaussianBlur(light, (3, 3), 0)
    if inside is not None:
        light[inside == 0] = 255  # nothing that the ground could be
    ground = _ground_of(light, FLAT_GROUND if look.flat else UNEVEN_GROUND)
    ink = cv2.subtract(light, ground)
    if look.dark and not look.flat:
        ink = _as_reflected(ink, 255 - ground)
    if inside is not None:
        ink[inside == 0] = 0
    return _levelled(ink)


def _ground_of(light: GreyImage, share: float) -> GreyImage:
    """What is left without all that is narrower than a share of the picture's longer side."""
    small = thumbnail(light, GROUND_SIDE) if max(light.shape) > GROUND_SIDE else light
    window = max(round(share * max(small.shape)), SMALLEST_GROUND)
    ground: GreyImage = cv2.morphologyEx(small, cv2.MORPH_OPEN, np.ones((window, window), np.uint8))
    if small is light:
        return ground
    ground = cv2.dilate(ground, np.ones((3, 3), np.uint8))  # the edges of steps are not ink
    return cv2.resize(ground, light.shape[::-1], interpolation=cv2.INTER_LINEAR)


def _as_reflected(ink: GreyImage, paper: GreyImage) -> GreyImage:
    """Raise dark ink's contrast where there is less light: it takes a share of the light, not so many levels.

    Args:
        ink: levels by which the picture is darker than its paper there.
        paper: the paper's levels.
    """
    brightest = float(np.percentile(paper[::4, ::4], 90))
    gain = np.clip(brightest / np.maximum(np.arange(256), 1), 1, STRONGEST_GAIN).astype(np.float32)
    raised: GreyImage = cv2.multiply(ink, cv2.LUT(paper, gain), dtype=cv2.CV_8U)
    return raised


def _levelled(ink: GreyImage) -> GreyImage:
    """Bring paper's grain to 0 and full ink to 255."""
    counts = np.cumsum(cv2.calcHist([ink], [0], None, [256], [0, 256]))
    # The lower quarter is paper even under a thick digit, so its spread is the paper's grain.
    ranks = (0.05 * ink.size, 0.25 * ink.size, ink.size - SHORTEST_PATH * max(ink.shape))
    lowest, paper, full = np.searchsorted(counts, ranks)
    if full - paper < max(LOWEST_CONTRAST, LOWEST_SIGNAL * (paper - lowest)):
        raise NoInkError("No ink was found.")
    levels = (np.arange(256) - paper) / (full - paper)  # 0 … 1
    levelled: GreyImage = cv2.LUT(ink, np.clip(levels * 255, 0, 255).astype(np.uint8))
    return levelled
