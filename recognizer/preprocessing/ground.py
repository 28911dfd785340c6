"""Background removal: detects whether the ink is dark, and subtracts the background under uneven light."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from recognizer.preprocessing.geometry import GreyImage, NoInkError

COARSE_SIDE = 64  # pixels; smaller pictures have no grain to smooth and no scene around the sheet
THUMBNAIL_SIDE = 96  # pixels; large structures are visible at this size
POLARITY_SIDE = 48  # pixels; enough for the polarity of a flat picture

# A flat picture was drawn, scanned or evenly lit: nearly all pixels are near the lightest or the darkest level.
FLAT_BAND = 0.2  # width of "near", share of the contrast
FLAT_SHARE = 0.9  # minimum share of such pixels

# Lines, pixels of the thumbnail.
WIDEST_LINE = 14
NEIGHBOURHOOD = 37  # window of the median; large enough that a line does not dominate it

# Shares of the picture's longer side. Light and shadow vary on a larger scale than these, ink on a smaller one.
FLAT_GROUND = 0.3  # wider than any pen
UNEVEN_GROUND = 0.2
GROUND_SIDE = 192  # pixels; the background is estimated at this size
SMALLEST_GROUND = 9  # pixels, minimum window; for tiny pictures

# Minimum contrast that distinguishes ink from paper.
SHORTEST_PATH = 0.2  # of the longer side: minimum number of pixels with full ink in a digit
LOWEST_CONTRAST = 16  # grey levels between ink and paper
LOWEST_SIGNAL = 6.0  # contrast relative to the spread of the paper's grain
STRONGEST_GAIN = 4.0  # maximum gain of ink in a shadow


@dataclass(frozen=True, slots=True)
class Look:
    """Polarity and kind of a picture."""

    dark: bool  # the ink is darker than its background
    flat: bool  # drawn, scanned or evenly lit; otherwise a photo with uneven light


def thumbnail(picture: npt.NDArray[np.uint8], side: int = THUMBNAIL_SIDE) -> npt.NDArray[np.uint8]:
    """Scale `(h, w)` or `(h, w, channels)` down or up so that its longer side has `side` pixels."""
    scale = side / max(picture.shape[:2])
    size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    small: npt.NDArray[np.uint8] = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return small


def deviation(small: npt.NDArray[np.uint8], window: int, margin: int) -> npt.NDArray[np.float32]:
    """Return the difference of each pixel to the median of the window around it; the edges are extended by `margin`."""
    padded = cv2.copyMakeBorder(small, margin, margin, margin, margin, cv2.BORDER_REPLICATE)
    ground = cv2.medianBlur(padded, window)[margin:-margin, margin:-margin]
    difference: npt.NDArray[np.float32] = small.astype(np.float32) - ground
    return difference


def look_at(grey: GreyImage) -> Look:
    """Detect polarity and kind of a `(h, w)` uint8 picture."""
    small = thumbnail(grey)
    if max(grey.shape) < COARSE_SIDE or is_flat(small):
        return Look(not _is_light_on_flat(grey), True)
    light, dark = (lines[2:-2, 2:-2] for lines in lines_of(small))  # without a thin frame
    # Cubed, so that a few strong lines outweigh the grain of wood.
    return Look(bool((light**3).sum() <= (dark**3).sum()), False)


def is_flat(levels: npt.NDArray[np.uint8]) -> bool:
    low, high = np.percentile(levels, (1, 99))
    band = FLAT_BAND * (high - low)
    return float(((levels < low + band) | (levels > high - band)).mean()) > FLAT_SHARE


def _is_light_on_flat(grey: GreyImage) -> bool:
    """Return whether a flat picture has light ink: the background covers most of it, mainly its edges."""
    small = thumbnail(grey, POLARITY_SIDE)
    if min(small.shape) > 8:  # without a thin frame
        small = small[1:-1, 1:-1]
    # The extended edges outweigh a bold 1 that fills the picture.
    return float((deviation(small, POLARITY_SIDE - 1, POLARITY_SIDE // 4) ** 3).sum()) > 0


def lines_of(small: GreyImage) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return the contrast of narrow structures to their surroundings: `(light, dark)`, `(h, w)` float32 each."""
    difference = deviation(small, NEIGHBOURHOOD, NEIGHBOURHOOD // 2)
    kernel = np.ones((WIDEST_LINE, WIDEST_LINE), np.uint8)
    light = np.minimum(difference.clip(0), cv2.morphologyEx(small, cv2.MORPH_TOPHAT, kernel))
    dark = np.minimum((-difference).clip(0), cv2.morphologyEx(small, cv2.MORPH_BLACKHAT, kernel))
    return light, dark


def lift_ink(grey: GreyImage, look: Look, inside: GreyImage | None = None) -> GreyImage:
    """Remove the background: return `(h, w)` uint8, 0 for background and 255 for full ink, independent of the light.

    Args:
        grey: `(h, w)` uint8.
        look: its polarity and kind.
        inside: `(h, w)` uint8, 0 where no ink can be; None if it can be anywhere.

    Raises:
        NoInkError: the picture is blank or has only grain.
    """
    light = 255 - grey if look.dark else grey.copy()
    if max(light.shape) >= COARSE_SIDE:
        light = cv2.GaussianBlur(light, (3, 3), 0)
    if inside is not None:
        light[inside == 0] = 255  # excluded from the background estimate
    ground = _ground_of(light, FLAT_GROUND if look.flat else UNEVEN_GROUND)
    ink = cv2.subtract(light, ground)
    if look.dark and not look.flat:
        ink = _as_reflected(ink, 255 - ground)
    if inside is not None:
        ink[inside == 0] = 0
    return _levelled(ink)


def _ground_of(light: GreyImage, share: float) -> GreyImage:
    """Estimate the background by removing everything narrower than a share of the picture's longer side."""
    small = thumbnail(light, GROUND_SIDE) if max(light.shape) > GROUND_SIDE else light
    window = max(round(share * max(small.shape)), SMALLEST_GROUND)
    ground: GreyImage = cv2.morphologyEx(small, cv2.MORPH_OPEN, np.ones((window, window), np.uint8))
    if small is light:
        return ground
    ground = cv2.dilate(ground, np.ones((3, 3), np.uint8))  # so that edges of steps do not count as ink
    return cv2.resize(ground, light.shape[::-1], interpolation=cv2.INTER_LINEAR)


def _as_reflected(ink: GreyImage, paper: GreyImage) -> GreyImage:
    """Raise the contrast of dark ink where there is less light: ink absorbs a share of the light, not fixed levels.

    Args:
        ink: levels by which the picture is darker than its paper.
        paper: levels of the paper.
    """
    brightest = float(np.percentile(paper[::4, ::4], 90))
    gain = np.clip(brightest / np.maximum(np.arange(256), 1), 1, STRONGEST_GAIN).astype(np.float32)
    raised: GreyImage = cv2.multiply(ink, cv2.LUT(paper, gain), dtype=cv2.CV_8U)
    return raised


def _levelled(ink: GreyImage) -> GreyImage:
    """Scale levels so that the paper's grain becomes 0 and full ink 255."""
    counts = np.cumsum(cv2.calcHist([ink], [0], None, [256], [0, 256]))
    # Even with a thick digit, the lower quarter is paper, so its spread is the paper's grain.
    ranks = (0.05 * ink.size, 0.25 * ink.size, ink.size - SHORTEST_PATH * max(ink.shape))
    lowest, paper, full = np.searchsorted(counts, ranks)
    if full - paper < max(LOWEST_CONTRAST, LOWEST_SIGNAL * (paper - lowest)):
        raise NoInkError("No ink was found.")
    levels = (np.arange(256) - paper) / (full - paper)  # 0 … 1
    levelled: GreyImage = cv2.LUT(ink, np.clip(levels * 255, 0, 255).astype(np.uint8))
    return levelled
