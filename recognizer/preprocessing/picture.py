"""Picture → model input: an upload of one digit is decoded, its ink found and brought into MNIST's geometry.

`decode_picture` makes bytes grey, `picture_to_input` makes grey the 28×28 input, `storable_picture` what is kept of it.
A picture that already is in MNIST's geometry goes through unchanged.
"""

import io
import threading

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from recognizer.preprocessing.geometry import (
    BOX_SIDE,
    FIELD_SIDE,
    INPUT_SIDE,
    OVERSAMPLING,
    GreyImage,
    ModelInput,
    NoInkError,
    PreprocessingError,
    centre_window,
)

# What an upload may be. The web layer bounds the whole body, before it reads it.
MAX_BYTES = 8 * 1024 * 1024
MAX_PIXELS = 12_000_000  # of the header's size, checked before anything is decoded
MAX_JPEG_PIXELS = 50_000_000  # a JPEG is decoded at a reduced size; phones make 12 to 50 million
MAX_SCANS = 32  # of a JPEG: each costs a walk over all of its pixels; progressive ones have about ten
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
WORKING_SIDE = 1000  # longer side that a picture is reduced to, pixels
INNER_CONTRAST = 64  # grey levels within the opaque part of a picture: more, and it has a ground of its own
STORED_SIDE = 512  # longer side of the picture that is kept, pixels

# How ink is told from paper. Shares are of the picture's longer side unless they say otherwise.
GROUND_WINDOW = 0.3  # wider than any pen: light and shadow vary slower than this, ink does not
SMALLEST_GROUND_WINDOW = 9  # pixels; the same for tiny pictures
SHORTEST_PATH = 0.2  # a digit has at least this many pixels of full ink
LOWEST_CONTRAST = 16  # grey levels between ink and paper
LOWEST_SIGNAL = 6.0  # contrast in standard deviations of the paper's own grain
INK_THRESHOLD = 0.4  # of the contrast: more is ink
THUMBNAIL_SIDE = 48  # pixels; whether ink is dark or light is seen on a picture this small
COARSE_SIDE = 64  # pixels; only larger pictures have grain to smooth, or rules
SMALLEST_DIGIT = 0.03  # a figure below this is a dot or dirt: it is not blown up to a digit's size

# Ruled and squared paper. Shares are of the picture's side along the line unless they say otherwise.
RULE_THRESHOLD = 0.2  # of full ink: rules are often fainter
RULE_EDGE = 0.03  # a rule's ends are looked for so near to the picture's edges
RULE_TILT = 0.12  # from one edge to the other
RULE_PLAY = 0.006  # how far a rule may bend
RULE_COVER = 0.9  # of a rule is there; light or an eraser may have hidden the rest
RULE_LENGTH = 0.1  # shorter ones, across a corner, are left
RULE_STEP = 4  # pixels between the places where a rule is looked at
FEWEST_RULES, MOST_RULES = 2, 60  # in one direction
CLEAN_EDGES = 0.6  # of the ink at the picture's edges may be left without the rules

# Which parts are the digit's. Shares are of the largest part's longer side or ink.
MOST_PARTS = 500
JOINING_DISTANCE = 0.1
SPECK = 0.05  # smaller parts are dirt
LARGE_PART = 0.2  # a part with this share of the ink belongs to the digit wherever it is
EDGE = 0.015  # of the picture: this near to an edge is at the edge
FRAME_COVER = 0.9  # a part that runs along so much of one edge is a frame or what lies beside the paper
SMALLEST_FRAMED = 0.1  # of the largest part's longer side: something at least so large is inside the frame

# Line widths that are left as they are, pixels of the model input; MNIST's lie between them.
THINNEST_LINE = 1.9
THICKEST_LINE = 3.6
SMALLEST_GROWTH = 0.05  # on either side


_one_at_a_time = threading.Lock()
"""Decoding may take a hundred megabytes for a moment: so much once per process, not once per thread."""

Pixels = npt.NDArray[np.uint8]
"""`(h, w, channels)` or `(n, channels)`."""

Rules = npt.NDArray[np.float64]
"""Ruled lines: `(n, 3)` height at the left edge, at the right edge, thickness, in pixels."""

Heights = npt.NDArray[np.float64]


def decode_picture(content: bytes) -> GreyImage:
    """Decode an uploaded file's first frame to grey, upright and without transparency.

    Args:
        content: a PNG, JPEG, WebP, GIF or BMP file.

    Returns:
        `(h, w)` uint8, the longer side at most `WORKING_SIDE`.

    Raises:
        PreprocessingError: it is none of these, damaged, cut short, or larger than the limits.
    """
    if len(content) > MAX_BYTES:
        raise PreprocessingError(f"The picture is larger than {MAX_BYTES // 1024**2} MB.")
    if content.startswith(b"\xff\xd8") and content.count(b"\xff\xda") > MAX_SCANS:
        raise PreprocessingError(f"The JPEG has more than {MAX_SCANS} scans.")
    try:
        with _one_at_a_time, Image.open(io.BytesIO(content), formats=FORMATS) as image:
            return _to_grey(image)
    except PreprocessingError:
        raise
    except Exception as error:
        # Decoders of hostile files raise whatever they trip over (OSError, SyntaxError, struct.error, zlib.error,
        # MemoryError, …), and each of these means the same to the sender.
        raise PreprocessingError(
            "The picture cannot be read: send a whole PNG, JPEG, WebP, GIF or BMP file."
        ) from error


def _to_grey(image: Image.Image) -> GreyImage:
    width, height = image.size
    most = MAX_JPEG_PIXELS if image.format == "JPEG" else MAX_PIXELS
    if width * height > most:
        raise PreprocessingError(f"The picture has more than {most // 10**6} million pixels.")
    if any(tile[0] == "bmp_rle" for tile in getattr(image, "tile", ())):  # Pillow unpacks it in Python, a run at a time
        raise PreprocessingError("The BMP is packed: send it unpacked, or as PNG.")
    if image.mode.startswith("I"):  # 16 bits; Pillow's own conversion would clip
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.has_transparency_data:
        image = image.convert("RGBA")
    elif image.mode in ("P", "1"):
        image = image.convert("RGB")
    image.thumbnail((WORKING_SIDE, WORKING_SIDE), Image.Resampling.BOX, reducing_gap=1.0)  # a JPEG is decoded smaller
    image = ImageOps.exif_transpose(image)
    if image.mode == "L":
        return np.asarray(image)
    if image.mode == "RGBA":
        return _without_alpha(np.asarray(image))
    pixels = np.asarray(image.convert("RGB"))
    return _mix_channels(pixels, pixels.reshape(-1, 3))


def _mix_channels(pixels: Pixels, sample: Pixels) -> GreyImage:
    """Weigh the channels so that what differs in colour differs in grey, be it yellow on white or red on green.

    The weights are the first principal component of the colours in `sample`, `(n, 3)`; grey stays exactly grey.
    """
    step = 1 + len(sample) // 10_000
    colours = sample[::step].astype(np.float32)
    _, axes = cv2.PCACompute(colours, mean=None, maxComponents=1)
    weights = axes[0] / np.abs(axes[0]).sum()
    if weights.sum() < 0:  # light stays light
        weights = -weights
    offset = -255 * weights[weights < 0].sum()
    mixed: GreyImage = cv2.transform(pixels, np.array([[*weights, offset]]))
    return mixed


def _without_alpha(pixels: Pixels) -> GreyImage:
    """Lay a picture with transparency on the ground that shows its ink: `(h, w, 4)` → `(h, w)`."""
    alpha = pixels[..., 3]
    seen = alpha > 127
    if not seen.any():
        raise NoInkError("The picture is transparent all over.")
    grey = _mix_channels(pixels[..., :3], pixels[seen][:, :3])
    low, middle, high = np.percentile(grey[seen], (1, 50, 99))
    ground = 255.0 if middle < 128 else 0.0
    if high - low > INNER_CONTRAST and seen.mean() > 0.5:  # not the ink alone, but a picture with see-through corners
        ground = middle
    share = alpha.astype(np.float32) / 255
    return np.rint(grey * share + ground * (1 - share)).astype(np.uint8)


def picture_to_input(grey: GreyImage) -> ModelInput:
    """Find the digit in a picture and bring it into MNIST's geometry.

    Light or dark ink, shadows, ruled paper, frames and specks are dealt with; grey levels are kept, and a line is
    widened or thinned only where it is far from any pen in MNIST.

    Args:
        grey: `(h, w)` uint8 of any size, one digit anywhere in it.

    Returns:
        `(28, 28)` uint8, light on dark. A picture that already is in MNIST's geometry comes back as it is,
        inverted if it is dark on light.

    Raises:
        NoInkError: it is blank, noise, or shows nothing that could be ink.
    """
    light = _light_on_dark(grey)
    if _is_in_geometry(light):
        return light.copy()
    digit = _cut_digit(_without_rules(_lift_ink(light)))
    return _place(digit, SMALLEST_DIGIT * max(grey.shape))


def _light_on_dark(grey: GreyImage) -> GreyImage:
    """Invert a picture whose ink is dark; ground is what most of it looks like, most of all along its edges."""
    scale = THUMBNAIL_SIDE / max(grey.shape)
    size = (max(1, round(grey.shape[1] * scale)), max(1, round(grey.shape[0] * scale)))
    small = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    if min(size) > 8:  # without a thin frame
        small = small[1:-1, 1:-1]
    # Repeated outwards, the edges outvote a bold 1 that fills the picture.
    margin = THUMBNAIL_SIDE // 4
    padded = cv2.copyMakeBorder(small, margin, margin, margin, margin, cv2.BORDER_REPLICATE)
    ground = cv2.medianBlur(padded, THUMBNAIL_SIDE - 1)[margin:-margin, margin:-margin]
    deviation = small.astype(np.float32) - ground
    return grey if float((deviation**3).sum()) > 0 else 255 - grey


def _is_in_geometry(light: GreyImage) -> bool:
    """Tell whether a picture is 28×28 on clean ground with its box and centre of mass where MNIST has them."""
    if light.shape != (INPUT_SIDE, INPUT_SIDE):
        return False
    _, _, width, height = cv2.boundingRect(light)
    if max(width, height) not in (BOX_SIDE - 1, BOX_SIDE):  # 19: a handful of MNIST's 70,000
        return False
    moments = cv2.moments(light)
    # MNIST's centres of mass lie within half a pixel of index 14.
    return all(abs(moments[axis] / moments["m00"] - INPUT_SIDE / 2) < 0.55 for axis in ("m10", "m01"))


def _lift_ink(light: GreyImage) -> GreyImage:
    """Take the paper away: `(h, w)` uint8, 0 where it shows and 255 at full ink, whatever the light was."""
    side = max(light.shape)
    if side >= COARSE_SIDE:
        light = cv2.GaussianBlur(light, (3, 3), 0)
    window = max(round(GROUND_WINDOW * side), SMALLEST_GROUND_WINDOW)
    ink = cv2.morphologyEx(light, cv2.MORPH_TOPHAT, np.ones((window, window), np.uint8))
    counts = np.cumsum(cv2.calcHist([ink], [0], None, [256], [0, 256]))
    # The lower quarter is paper even under a thick digit, so its spread is the paper's grain.
    lowest, paper, full = np.searchsorted(counts, (0.05 * ink.size, 0.25 * ink.size, ink.size - SHORTEST_PATH * side))
    if full - paper < max(LOWEST_CONTRAST, LOWEST_SIGNAL * (paper - lowest)):
        raise NoInkError("There is no ink in it.")
    levels = (np.arange(256) - paper) / (full - paper)  # 0 … 1
    lifted: GreyImage = cv2.LUT(ink, np.clip(levels * 255, 0, 255).astype(np.uint8))
    return lifted


def _without_rules(ink: GreyImage) -> GreyImage:
    """Take the lines of ruled or squared paper out: straight, from edge to edge, and never alone.

    The bars of a digit that fills the picture are such lines too. They are told from rules by what is left at the
    picture's edges without them: nothing on ruled paper, the digit's other strokes else.
    """
    if max(ink.shape) < COARSE_SIDE:  # too coarse to tell one from the other
        return ink
    across, down = _find_rules(ink), _find_rules(cv2.transpose(ink))
    across_many, down_many = len(across) >= FEWEST_RULES, len(down) >= FEWEST_RULES
    if not (across_many or down_many):
        return ink
    clean = cv2.transpose(_erase_rules(cv2.transpose(_erase_rules(ink, across)), down))
    before, after = _above(ink, INK_THRESHOLD) > 0, _above(clean, INK_THRESHOLD) > 0
    ends = np.zeros_like(before)
    ends[:, [0, -1]] = across_many
    ends[[0, -1]] |= down_many
    return clean if after[ends].sum() <= CLEAN_EDGES * before[ends].sum() else ink


def _above(ink: GreyImage, share: float) -> GreyImage:
    """Return the mask of what has more than a share of full ink, 0 or 255."""
    # Not `cv2.compare`: it takes an array of one or four numbers for a scalar.
    mask: GreyImage = cv2.threshold(ink, 255 * share, 255, cv2.THRESH_BINARY)[1]
    return mask


def _find_rules(ink: GreyImage) -> Rules:
    """Find straight lines that run level from edge to edge: `(n, 3)` height at either end and thickness, pixels."""
    mask = _above(ink, RULE_THRESHOLD)
    height, width = mask.shape
    edge = max(1, round(RULE_EDGE * width))
    left, right = _rule_ends(mask[:, :edge]), _rule_ends(mask[:, -edge:])
    if not len(left) or not len(right) or max(len(left), len(right)) > MOST_RULES:  # none, or grain
        return np.empty((0, 3))
    start, end = (heights.ravel() for heights in np.meshgrid(left[:, 0], right[:, 0]))
    whole = (np.abs(start - end) <= RULE_TILT * width) & _is_covered(mask, start, end)
    if not whole.any():
        return np.empty((0, 3))
    # Other rules have an end hidden by a crossing rule, or beyond a corner: they are looked for at the same tilt.
    tilt = float(np.median((end - start)[whole]))
    margin = int(abs(tilt))
    heights = np.arange(-margin, height + margin, dtype=np.float64)
    found = np.concatenate([[False], _is_covered(mask, heights, heights + tilt), [False]])
    first, last = np.flatnonzero(found[1:] & ~found[:-1]), np.flatnonzero(found[:-1] & ~found[1:]) - 1
    start = heights[first] / 2 + heights[last] / 2
    thickness = np.full(len(start), np.median(left[:, 1]))
    return np.stack([start, start + tilt, thickness], axis=1)


def _is_covered(mask: GreyImage, start: Heights, end: Heights) -> npt.NDArray[np.bool_]:
    """Tell of lines from the left edge to the right one whether there is ink all along them, `(n,)`."""
    height, width = mask.shape
    # Paper is never quite flat: a rule may bend by a little.
    play = 2 * round(RULE_PLAY * width) + 3
    thick = cv2.dilate(mask, np.ones((play, 1), np.uint8))[:, ::RULE_STEP] > 0
    x = np.arange(thick.shape[1])
    y = np.rint(start[:, None] + (end - start)[:, None] * (x * RULE_STEP / width)).astype(np.intp)  # (n, columns)
    seen = (y >= 0) & (y < height)
    covered = (thick[y.clip(0, height - 1), x] & seen).sum(axis=1)
    answer: npt.NDArray[np.bool_] = covered >= RULE_COVER * np.maximum(seen.sum(axis=1), RULE_LENGTH * len(x))
    return answer


def _rule_ends(edge: GreyImage) -> npt.NDArray[np.float64]:
    """Return where lines cross an edge of the picture: `(n, 2)` centre and thickness, pixels.

    Looks at a typical column of `edge`: in some a line along the edge may hide them, in others there is dirt.
    """
    ink = np.pad(edge > 0, ((1, 1), (0, 0)))
    begins, ends = ink[1:] & ~ink[:-1], ink[:-1] & ~ink[1:]
    column = int(begins.sum(axis=0).argsort()[edge.shape[1] // 2])
    first, last = np.flatnonzero(begins[:, column]), np.flatnonzero(ends[:, column])
    return np.stack([(first + last - 1) / 2, last - first], axis=1)


def _erase_rules(ink: GreyImage, rules: Rules) -> GreyImage:
    """Along each rule, keep only what is thicker than the rule across it: the strokes that cross it."""
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


def _cut_digit(ink: GreyImage) -> GreyImage:
    """Cut the digit's box out, with nothing in it but the digit's parts: `(h, w)` uint8."""
    mask = _above(ink, INK_THRESHOLD)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    if count == 1:
        raise NoInkError("There is no ink in it.")
    parts = _digit_parts(labels, stats)
    left, top = stats[parts, :2].min(axis=0)
    right, bottom = (stats[parts, :2] + stats[parts, 2:4]).max(axis=0)
    chosen = np.zeros(count, np.uint8)  # a look-up table: part → mask
    chosen[parts] = 255
    box = slice(top, bottom), slice(left, right)
    # The soft edge of a line lies just outside its part.
    near = cv2.dilate(chosen[labels[box]], np.ones((3, 3), np.uint8))
    digit: GreyImage = cv2.bitwise_and(ink[box], near)
    return digit


def _digit_parts(labels: npt.NDArray[np.int32], stats: npt.NDArray[np.int32]) -> npt.NDArray[np.intp]:
    """Say which connected parts are the digit: the largest, its neighbours, and others nearly as large.

    Args:
        labels, stats: from `cv2.connectedComponentsWithStats`; part 0 is the ground.
    """
    area = stats[:, cv2.CC_STAT_AREA].copy()
    longest = stats[:, cv2.CC_STAT_WIDTH : cv2.CC_STAT_HEIGHT + 1].max(axis=1)
    area[0] = longest[0] = 0
    frames = _frames(labels)
    framed = longest >= SMALLEST_FRAMED * longest.max()
    framed[frames] = False
    if framed.any():
        area[frames] = 0
    main = int(area.argmax())
    kept = (area > 0) & (longest >= SPECK * longest[main])
    parts = np.flatnonzero(kept)
    if len(parts) > MOST_PARTS:  # the largest of them: each round below walks over all
        parts = parts[np.argpartition(area[parts], -MOST_PARTS)[-MOST_PARTS:]]
    digit = area[parts] >= LARGE_PART * area[main]
    low, high = stats[parts, :2], stats[parts, :2] + stats[parts, 2:4]
    while True:
        box_low, box_high = low[digit].min(axis=0), high[digit].max(axis=0)
        gap = np.maximum(low - box_high, box_low - high).max(axis=1)
        grown = digit | (gap <= JOINING_DISTANCE * longest[main])
        if (grown == digit).all():
            return parts[digit]
        digit = grown


def _frames(labels: npt.NDArray[np.int32]) -> list[int]:
    """Return the parts that run along a whole edge of the picture: frames, scan edges, the table beside the paper."""
    edge = max(1, round(EDGE * max(labels.shape)))
    sides = labels[:edge], labels[-edge:], labels[:, :edge].T, labels[:, -edge:].T  # (edge, length)
    return [
        part
        for side in sides
        if side.any()
        for part in np.unique(side).tolist()
        if part and (side == part).any(axis=0).mean() >= FRAME_COVER
    ]


def _place(digit: GreyImage, smallest: float) -> ModelInput:
    """Scale a digit's box to MNIST's, with a line as wide as pens make it there, and centre it.

    Args:
        digit: `(h, w)` uint8, the digit's box, light on dark.
        smallest: the longer side in pixels below which it is not blown up.
    """
    longest = max(*digit.shape, smallest)
    if longest < BOX_SIDE * OVERSAMPLING:
        zoom = BOX_SIDE * OVERSAMPLING / longest
        digit = cv2.resize(digit, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC)
        longest = BOX_SIDE * OVERSAMPLING
    mask = _above(digit, INK_THRESHOLD)
    line = _line_width(mask)
    width = min(max(line * BOX_SIDE / longest, THINNEST_LINE), THICKEST_LINE)
    # As with ink, the box holds the line's middle and half a line's width on either side.
    scale = (BOX_SIDE - width) / max(longest - line, longest / 2)
    grow = (width / scale - line) / 2
    if abs(grow * scale) > SMALLEST_GROWTH:
        digit = _grown(mask, grow)
    return _resample(digit, scale * OVERSAMPLING)


def _line_width(mask: GreyImage) -> float:
    """Measure the mean width of lines, pixels: inside one, the distance to its edge averages a quarter of it."""
    inside = cv2.distanceTransform(np.pad(mask, 1), cv2.DIST_L2, 3)
    return max(4 * (float(inside[inside > 0].mean()) - 0.5), 1.0)


def _grown(mask: GreyImage, grow: float) -> GreyImage:
    """Widen (or, negative, thin) lines by `grow` pixels on either side; edges stay soft, the array becomes larger."""
    margin = int(np.ceil(max(grow, 0))) + 1
    mask = np.pad(mask, margin)
    inside = cv2.distanceTransform(mask, cv2.DIST_L2, 3)
    outside = cv2.distanceTransform(cv2.bitwise_not(mask), cv2.DIST_L2, 3)
    return np.clip((inside - outside + grow) * 255, 0, 255).astype(np.uint8)


def _resample(digit: GreyImage, scale: float) -> ModelInput:
    """Lay a digit, scaled, into the oversampled field and cut the input out."""
    size = (max(1, round(digit.shape[1] * scale)), max(1, round(digit.shape[0] * scale)))
    small = cv2.resize(digit, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    field = np.zeros((FIELD_SIDE * OVERSAMPLING,) * 2, np.uint8)
    middle = FIELD_SIDE * OVERSAMPLING // 2
    y, x = middle - size[1] // 2, middle - size[0] // 2
    field[y : y + size[1], x : x + size[0]] = small
    return centre_window(field)


def storable_picture(grey: GreyImage) -> bytes:
    """Encode what the site keeps of an upload: grey, small, nothing but pixels.

    Args:
        grey: as `decode_picture` returned it.

    Returns:
        a PNG file, the longer side at most `STORED_SIDE`.
    """
    scale = min(1.0, STORED_SIDE / max(grey.shape))
    size = (max(1, round(grey.shape[1] * scale)), max(1, round(grey.shape[0] * scale)))
    _, content = cv2.imencode(".png", cv2.resize(grey, size, interpolation=cv2.INTER_AREA))
    return content.tobytes()
