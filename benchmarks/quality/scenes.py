"""Pictures of one digit, made from ink in many ways: pens, paper, light, surroundings, camera.

A variant is a few lines of small building blocks. All its random numbers come from the generator that it is given.
"""

import io
from collections.abc import Callable
from functools import partial

import cv2
import numpy as np
from PIL import Image

from training.strokes import PenDrawing

CANVAS = 280  # pixels
PHOTO = 480, 640  # height and width, pixels

Rng = np.random.Generator
Shape = tuple[int, int]
Span = tuple[float, float]
Colour = tuple[float, float, float]
Cover = np.ndarray
"""`(h, w)` float32 0…1: how much of each pixel is covered."""
Scene = np.ndarray
"""`(h, w, 3)` float32 0…1: red, green and blue."""
Make = Callable[[PenDrawing, Rng], bytes]

VARIANTS: dict[str, Make] = {}
"""Pictures of one digit, in the table's order. All are compared with the first."""
NO_DIGIT: dict[str, Make] = {}
"""Pictures of anything but one digit. The right answer is 'not a digit' or a refusal."""


def variant(name: str, into: dict[str, Make] = VARIANTS) -> Callable[[Make], Make]:
    """Register a function as a variant."""

    def register(make: Make) -> Make:
        into[name] = make
        return make

    return register


# --- Ink --------------------------------------------------------------------------------------------------------------


def trace(drawing: PenDrawing, shape: Shape, size: float, left: float, top: float, pen: float) -> np.ndarray:
    """Draw ink as a paint program does: `(h, w)` uint8, 255 where the pen was. Lengths are in pixels."""
    points = np.concatenate(drawing.strokes)
    scale = size / max(float(np.ptp(points, axis=0).max()), 1e-6)
    cover = np.zeros(shape, np.uint8)
    for stroke in drawing.strokes:
        placed = np.rint(((stroke - points.min(axis=0)) * scale + (left, top)) * 16).astype(np.int32)
        path = placed if len(placed) > 1 else np.repeat(placed, 2, axis=0)
        cv2.polylines(cover, [path], False, 255, max(1, round(pen)), cv2.LINE_AA, 4)
    return cover


def canvas(drawing: PenDrawing, size: float = 200, left: float = 40, top: float = 40, pen: float = 18) -> np.ndarray:
    """Draw black ink on a white canvas: `(280, 280)` uint8."""
    return 255 - trace(drawing, (CANVAS, CANVAS), size, left, top, pen)


def tight(drawing: PenDrawing, pen: float, margin: float = 2) -> np.ndarray:
    """Draw black ink on white, cropped to its box and a margin."""
    wide = 255 - trace(drawing, (CANVAS + 100, CANVAS + 100), 200, 60, 60, pen)
    ys, xs = np.nonzero(wide < 128)
    edge = round(margin)
    return wide[ys.min() - edge : ys.max() + edge + 1, xs.min() - edge : xs.max() + edge + 1]


def written(
    drawing: PenDrawing, rng: Rng, shape: Shape = PHOTO, share: Span = (0.35, 0.6), pen: Span = (0.035, 0.075)
) -> Cover:
    """Write a digit anywhere on a page: `share` is its size relative to the page, `pen` the pen's relative to it."""
    size = rng.uniform(*share) * min(shape)
    width = rng.uniform(*pen) * size
    extent = np.ptp(np.concatenate(drawing.strokes), axis=0)
    extent = extent * size / max(extent.max(), 1e-6)
    edge = 0.05 * min(shape) + width
    left, top = (rng.uniform(edge, side - edge - long) for side, long in zip(shape[::-1], extent, strict=True))
    return trace(drawing, shape, size, left, top, width).astype(np.float32) / 255


def inked(paper: Scene, cover: Cover, colour: Colour) -> Scene:
    share = cover[..., None]
    return np.asarray(paper * (1 - share) + np.array(colour) * share, np.float32)


BLACK, DARK, BLUE, RED = (0.05, 0.05, 0.05), (0.15, 0.15, 0.18), (0.12, 0.2, 0.55), (0.7, 0.12, 0.15)
PENS = BLACK, DARK, BLUE, (0.25, 0.3, 0.6), RED, (0.1, 0.4, 0.2)


def any_pen(rng: Rng) -> Colour:
    return PENS[rng.integers(len(PENS))]


# --- Paper and its surroundings ---------------------------------------------------------------------------------------


def clouds(rng: Rng, shape: Shape, across: float, down: float) -> np.ndarray:
    """Make smooth noise with standard deviation 1, in blobs of `across` × `down` pixels: `(h, w)` float32."""
    cells = max(2, round(shape[0] / down)), max(2, round(shape[1] / across))
    noise = rng.normal(0, 1, cells).astype(np.float32)
    return np.asarray(cv2.resize(noise, shape[::-1], interpolation=cv2.INTER_CUBIC), np.float32)


def plain_paper(rng: Rng, shape: Shape = PHOTO, colour: Colour | None = None) -> Scene:
    tint = np.array(colour if colour else rng.uniform(0.82, 0.97) - np.array([0, 0.01, 0.05]) * rng.uniform(0, 1))
    grain = 1 + 0.01 * clouds(rng, shape, 2, 2) + 0.01 * clouds(rng, shape, 40, 40)
    return np.asarray(tint * grain[..., None], np.float32)


def rules(rng: Rng, shape: Shape, squared: bool = False, spacing: Span = (0.06, 0.12), width: int = 1) -> Cover:
    """Print lines at regular spacing, slightly rotated."""
    cover = np.zeros(shape, np.uint8)
    step = rng.uniform(*spacing) * max(shape)
    tilt = rng.uniform(-0.02, 0.02)
    for down in [False, True] if squared else [False]:
        for at in np.arange(-max(shape), 2 * max(shape), step):
            ends = np.array([(-9, at + 9 * tilt), (max(shape) + 9, at - (max(shape) + 9) * tilt)])
            start, end = np.rint((ends[:, ::-1] if down else ends) * 16).astype(int).tolist()
            cv2.line(cover, start, end, 255, width, cv2.LINE_AA, 4)
    return cover.astype(np.float32) / 255


def wood(rng: Rng, shape: Shape, colour: Colour = (0.45, 0.3, 0.18)) -> Scene:
    """Make a table top: boards with fibres, and dark gaps between them."""
    fibres = 1 + 0.12 * clouds(rng, shape, 200, 3) + 0.1 * clouds(rng, shape, 300, 40)
    board = rng.uniform(0.15, 0.5) * shape[0]
    gaps = (np.arange(shape[0]) + rng.uniform(0, board)) % board < 3
    fibres[gaps] *= 0.5
    return np.asarray(np.array(colour) * fibres[..., None], np.float32).clip(0, 1)


def cloth(rng: Rng, shape: Shape) -> Scene:
    """Make a checked tablecloth."""
    ys, xs = np.indices(shape)
    step = rng.uniform(0.05, 0.12) * max(shape)
    checks = ((ys // step).astype(int) % 2 + (xs // step).astype(int) % 2) / 2
    return np.asarray(inked(plain_paper(rng, shape), 0.8 * checks.astype(np.float32), any_pen(rng)), np.float32)


def laid(sheet: Scene, rng: Rng, table: Scene, share: Span = (0.55, 0.8), tilt: float = 0.08) -> Scene:
    """Lay a sheet on a table, seen at a slight angle. It covers a share of the table and is fully in view."""
    height, width = table.shape[:2]
    scale = rng.uniform(*share) * min(height / sheet.shape[0], width / sheet.shape[1])
    half = np.array([sheet.shape[1], sheet.shape[0]]) * scale / 2
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half
    corners *= 1 + rng.uniform(-tilt, tilt, (4, 2))
    turn = rng.uniform(-tilt, tilt) * 1.5
    corners = corners @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    room = np.array([width, height]) / 2 - np.abs(corners).max(axis=0) - 4
    corners += np.array([width, height]) / 2 + rng.uniform(-1, 1, 2) * room.clip(0)
    return warped(sheet, table, corners)


def warped(sheet: Scene, table: Scene, corners: np.ndarray) -> Scene:
    """Place a sheet by its four corners, with the shadow of its edge."""
    height, width = sheet.shape[:2]
    flat = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    matrix = cv2.getPerspectiveTransform(flat, corners.astype(np.float32))
    size = table.shape[1::-1]
    share = cv2.warpPerspective(np.ones((height, width), np.float32), matrix, size, flags=cv2.INTER_LINEAR)
    shade = 1 - 0.4 * np.roll(cv2.GaussianBlur(share, (0, 0), 4), (3, 3), (0, 1))[..., None]
    placed = cv2.warpPerspective(sheet, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(table * shade * (1 - share[..., None]) + placed * share[..., None], np.float32)


def page(drawing: PenDrawing, rng: Rng, shape: Shape = PHOTO, share: Span = (0.35, 0.6)) -> Scene:
    """Write a digit with any pen on white paper."""
    return inked(plain_paper(rng, shape), written(drawing, rng, shape, share), any_pen(rng))


# --- Light ------------------------------------------------------------------------------------------------------------


def slope(rng: Rng, shape: Shape = PHOTO) -> np.ndarray:
    """Make a ramp in a random direction: `(h, w)` float32 from 0 on one side to 1 on the other."""
    angle = rng.uniform(0, 2 * np.pi)
    ys, xs = np.indices(shape, np.float32)
    along = xs * np.cos(angle) + ys * np.sin(angle)
    return np.asarray((along - along.min()) / np.ptp(along), np.float32)


def lit(scene: Scene, light: np.ndarray) -> Scene:
    return np.asarray(scene * light[..., None], np.float32)


def edge_of_shade(rng: Rng, shape: Shape, blur: float, dark: Span = (0.45, 0.75)) -> np.ndarray:
    """Put half of the picture, or a corner, into a shadow with straight edges."""
    halves = [slope(rng, shape) < rng.uniform(0.3, 0.7) for _ in range(rng.integers(1, 3))]
    shade = np.logical_and.reduce(halves).astype(np.float32)
    return np.asarray(1 - (1 - rng.uniform(*dark)) * cv2.GaussianBlur(shade, (0, 0), blur), np.float32)


def spot(rng: Rng, shape: Shape, radius: Span, blur: float) -> np.ndarray:
    """Make a round blot anywhere: `(h, w)` float32 0…1."""
    ys, xs = np.indices(shape, np.float32)
    y, x = rng.uniform(0.1, 0.9, 2) * shape
    size = rng.uniform(*radius) * max(shape)
    squash = rng.uniform(0.6, 1.6)
    distance = np.hypot((ys - y) * squash, xs - x) / size
    return np.asarray(1 / (1 + np.exp((distance - 1) / blur)), np.float32)


def finger(rng: Rng, shape: Shape, width: Span, blur: float) -> np.ndarray:
    """Make a bar with a round end that comes in from an edge: `(h, w)` float32 0…1."""
    cover = np.zeros(shape, np.uint8)
    start = rng.uniform(0, 1, 2) * shape[::-1]
    start[rng.integers(2)] *= 0
    end = start + (np.array(shape[::-1]) / 2 - start) * rng.uniform(0.5, 0.9)
    ends = [tuple(np.rint(point).astype(int).tolist()) for point in (start, end)]
    cv2.line(cover, ends[0], ends[1], 255, round(rng.uniform(*width) * max(shape)), cv2.LINE_AA)
    return np.asarray(cv2.GaussianBlur(cover.astype(np.float32) / 255, (0, 0), blur), np.float32)


# --- Camera and files -------------------------------------------------------------------------------------------------


def smeared(scene: Scene, rng: Rng, length: float) -> Scene:
    """Blur as if the camera had moved."""
    side = 2 * round(length) + 1
    kernel = np.zeros((side, side), np.float32)
    angle = rng.uniform(0, np.pi)
    reach = np.array([np.cos(angle), np.sin(angle)]) * length / 2
    middle = side // 2
    start, end = ((middle + sign * reach).round().astype(int).tolist() for sign in (-1, 1))
    cv2.line(kernel, start, end, 1.0)
    return np.asarray(cv2.filter2D(scene, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE), np.float32)


def noisy(scene: Scene, rng: Rng, spread: float) -> Scene:
    """Add grain: coarse in colour, fine in brightness."""
    height, width = scene.shape[:2]
    colour = rng.normal(0, spread, (height // 2 + 1, width // 2 + 1, 3)).astype(np.float32)
    grain = np.repeat(np.repeat(colour, 2, 0), 2, 1)[:height, :width]
    return np.asarray(scene + grain + rng.normal(0, spread, (height, width, 1)), np.float32)


def pixels(scene: Scene) -> np.ndarray:
    return np.asarray(np.rint(scene.clip(0, 1) * 255), np.uint8)


def file(picture: np.ndarray | Image.Image, form: str = "PNG", **options: object) -> bytes:
    """Encode `(h, w)` or `(h, w, 3)` uint8, or an image."""
    buffer = io.BytesIO()
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    if form == "PNG":
        options = {"compress_level": 1} | options
    image.save(buffer, form, **options)
    return buffer.getvalue()


def photo(scene: Scene, rng: Rng, blur: float = 0.7, noise: float = 0.01, quality: int = 85) -> bytes:
    """Take a photo: slight blur and grain, saved as JPEG."""
    taken = noisy(cv2.GaussianBlur(scene, (0, 0), blur), rng, noise)
    return file(pixels(taken), "JPEG", quality=quality)


# --- Drawn in a program -----------------------------------------------------------------------------------------------


@variant("plain")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    return file(canvas(drawing))


@variant("corner")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    return file(canvas(drawing, size=90, left=178, top=178, pen=8))


@variant("a third of the size")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    return file(canvas(drawing, size=67, left=106, top=106, pen=6))


@variant("thin pen")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    return file(canvas(drawing, pen=3))


@variant("hairline")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    return file(canvas(drawing, pen=1))


@variant("thick pen")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    return file(canvas(drawing, pen=30))


@variant("tight crop")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    return file(tight(drawing, pen=18, margin=int(rng.integers(0, 5))))


@variant("tight crop, very thick pen")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    return file(tight(drawing, pen=36))


@variant("slanted")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    shear = np.array([[1, -0.2, 28.0], [0, 1, 0]])
    return file(cv2.warpAffine(canvas(drawing), shear, (CANVAS, CANVAS), borderValue=255))


@variant("light on dark")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    return file(255 - canvas(drawing))


@variant("grey on grey")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    return file((70 + canvas(drawing) * (110 / 255)).astype(np.uint8))


@variant("very low contrast")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    ground = rng.uniform(60, 230)
    return file(np.rint(ground - (255 - canvas(drawing)) * (22 / 255)).astype(np.uint8))


@variant("any colours")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    paper, ink = rng.uniform(0, 1, (2, 3))
    while np.abs(paper - ink).max() < 0.35:
        paper, ink = rng.uniform(0, 1, (2, 3))
    flat = np.full((CANVAS, CANVAS, 3), paper, np.float32)
    return file(pixels(inked(flat, 1 - canvas(drawing).astype(np.float32) / 255, tuple(ink))))


@variant("colours of equal brightness")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    paper, ink = ((0.82, 0.35, 0.35), (0.2, 0.6, 0.3)) if rng.random() < 0.5 else ((0.55, 0.7, 0.95), (0.95, 0.6, 0.6))
    flat = np.full((CANVAS, CANVAS, 3), paper, np.float32)
    return file(pixels(inked(flat, 1 - canvas(drawing).astype(np.float32) / 255, ink)))


@variant("double lines")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    shift = rng.uniform(3, 5, 2)
    once, again = canvas(drawing, pen=7), canvas(drawing, left=40 + shift[0], top=40 - shift[1], pen=7)
    return file(np.minimum(once, again))


@variant("outlined")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    return file(np.maximum(canvas(drawing, pen=25), 255 - canvas(drawing, pen=18)))


@variant("wide strip")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    return file(255 - trace(drawing, (120, 1200), 90, rng.uniform(20, 1080), 15, 8))


@variant("tall strip")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    return file(255 - trace(drawing, (1400, 130), 90, 20, rng.uniform(20, 1280), 8))


@variant("huge")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    return file(255 - trace(drawing, (2800, 2800), 1200, 400 + rng.uniform(0, 1000), 800, 90), "JPEG")


@variant("small in a huge one")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    left, top = rng.uniform(100, 2500, 2)
    return file(255 - trace(drawing, (2800, 2800), 160, left, top, 12), "JPEG")


def tiny(drawing: PenDrawing, rng: Rng, side: int) -> bytes:
    white = canvas(drawing, size=220, left=30 + rng.uniform(-9, 9), top=30 + rng.uniform(-9, 9), pen=24)
    return file(cv2.resize(white, (side, side), interpolation=cv2.INTER_AREA))


@variant("20×20 pixels")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    return tiny(drawing, rng, 20)


@variant("16×16 pixels")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    return tiny(drawing, rng, 16)


@variant("12×12 pixels")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    return tiny(drawing, rng, 12)


@variant("8×8 pixels")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    return tiny(drawing, rng, 8)


@variant("pixel art")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    white = cv2.resize(canvas(drawing, size=220, left=30, top=30, pen=24), (16, 16), interpolation=cv2.INTER_AREA)
    return file(np.repeat(np.repeat(np.where(white < 150, 0, 255).astype(np.uint8), 20, 0), 20, 1))


@variant("1 bit")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    return file(Image.fromarray(canvas(drawing)).convert("1", dither=Image.Dither.NONE))


@variant("dithered")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    return file(Image.fromarray((100 + canvas(drawing) * 0.5).astype(np.uint8)).convert("1"))


@variant("GIF with 8 colours")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    return file(Image.fromarray(pixels(page(drawing, rng, (CANVAS, CANVAS)))).quantize(8), "GIF")


@variant("transparent ground")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    colour = np.full((CANVAS, CANVAS, 4), rng.integers(0, 256), np.uint8)
    colour[..., 3] = 255 - canvas(drawing)
    return file(colour)


@variant("JPEG of quality 10")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    return file(pixels(page(drawing, rng, (CANVAS, CANVAS))), "JPEG", quality=10)


@variant("salt and pepper")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    hit, level = rng.random((CANVAS, CANVAS)), rng.integers(0, 2, (CANVAS, CANVAS)) * 255
    return file(np.where(hit < 0.03, level, canvas(drawing)).astype(np.uint8))


@variant("screenshot with a program around")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    screen = np.full((500, 640, 3), 240, np.uint8)
    screen[:34], screen[34:70] = (60, 90, 140), (225, 225, 228)
    for left in range(12, 300, 40):  # buttons
        cv2.rectangle(screen, (left, 42), (left + 26, 62), (120, 120, 130), 1)
        cv2.circle(screen, (left + 13, 52), 5, rng.integers(0, 200, 3).tolist(), -1)
    cv2.putText(screen, "Untitled - Paint", (10, 23), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1, cv2.LINE_AA)
    cv2.putText(screen, "280 x 280 px   100 %", (10, 490), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (80, 80, 80), 1, cv2.LINE_AA)
    screen[84:470, 30:610] = (255 - trace(drawing, (386, 580), 240, rng.uniform(30, 300), 70, 12))[..., None]
    return file(screen)


# --- Paper ------------------------------------------------------------------------------------------------------------


@variant("photo of white paper")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    return photo(page(drawing, rng), rng)


@variant("photo turned by EXIF")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    exif = Image.Exif()
    exif[274] = 6
    turned = Image.fromarray(pixels(page(drawing, rng))).transpose(Image.Transpose.ROTATE_90)
    return file(turned, "JPEG", exif=exif)


@variant("photo, the digit a tenth of the page")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    return photo(page(drawing, rng, (900, 1200), share=(0.09, 0.12)), rng)


@variant("coloured pen on coloured paper")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    papers = (0.95, 0.9, 0.45), (0.95, 0.7, 0.75), (0.65, 0.85, 0.65), (0.6, 0.8, 0.95), (0.75, 0.6, 0.45)
    paper = plain_paper(rng, PHOTO, papers[rng.integers(len(papers))])
    return photo(inked(paper, 0.9 * written(drawing, rng), any_pen(rng)), rng)


def ruled_page(drawing: PenDrawing, rng: Rng, squared: bool, dark: Span = (0.2, 0.6)) -> Scene:
    lines = rules(rng, PHOTO, squared, width=int(rng.integers(1, 3))) * rng.uniform(*dark)
    return inked(inked(plain_paper(rng), lines, (0.35, 0.45, 0.65)), written(drawing, rng), any_pen(rng))


@variant("ruled, drawn")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    sheet = canvas(drawing, pen=10).astype(int)
    sheet[20::32] -= 60
    sheet[21::32] -= 60
    return file(sheet.clip(0, 255).astype(np.uint8))


@variant("ruled")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    return photo(ruled_page(drawing, rng, squared=False), rng)


@variant("squared")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    return photo(ruled_page(drawing, rng, squared=True), rng)


@variant("ruled with a margin line")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    scene = ruled_page(drawing, rng, squared=False)
    at = round(rng.uniform(0.05, 0.3) * PHOTO[1])
    line = np.zeros(PHOTO, np.uint8)
    cv2.line(line, (at, -5), (at + round(rng.uniform(-8, 8)), PHOTO[0] + 5), 255, 2, cv2.LINE_AA)
    return photo(inked(scene, 0.7 * line.astype(np.float32) / 255, (0.8, 0.25, 0.3)), rng)


@variant("dotted")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    step = round(rng.uniform(16, 30))
    dots = np.zeros(PHOTO, np.float32)
    dots[step // 2 :: step, step // 2 :: step] = 1
    dots = cv2.dilate(dots, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3)))
    return photo(inked(inked(plain_paper(rng), 0.6 * dots, DARK), written(drawing, rng), any_pen(rng)), rng)


@variant("spiral holes")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    scene = ruled_page(drawing, rng, squared=bool(rng.random() < 0.5))
    step, inset, size = rng.uniform(26, 44), round(rng.uniform(10, 18)), round(rng.uniform(4, 7))
    for at in np.arange(step / 2, PHOTO[1], step):
        cv2.circle(scene, (round(at), inset), size, rng.uniform(0.05, 0.3, 3).tolist(), -1, cv2.LINE_AA)
    return photo(scene, rng)


@variant("show-through from the other side")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    back = written(drawing, rng, share=(0.4, 0.7))[:, ::-1]
    scene = inked(plain_paper(rng), cv2.GaussianBlur(back, (0, 0), 2) * rng.uniform(0.1, 0.2), DARK)
    return photo(inked(scene, written(drawing, rng), any_pen(rng)), rng)


@variant("crumpled")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    folds = np.ones(PHOTO, np.float32)
    for _ in range(rng.integers(6, 14)):
        ramp = slope(rng) - rng.uniform(0.2, 0.8)
        folds += rng.uniform(-0.08, 0.08) * np.sign(ramp) * np.exp(-np.abs(ramp) / rng.uniform(0.03, 0.3))
    return photo(lit(page(drawing, rng), folds), rng)


@variant("kraft paper")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    paper = plain_paper(rng, PHOTO, (0.68, 0.52, 0.36)) * (1 + 0.05 * clouds(rng, PHOTO, 12, 2))[..., None]
    return photo(inked(paper, 0.9 * written(drawing, rng), BLACK if rng.random() < 0.5 else (0.97, 0.97, 0.95)), rng)


@variant("in a printed box")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    side = round(rng.uniform(230, 330))
    sheet = page(drawing, rng, (side, side), share=(0.5, 0.7))
    cv2.rectangle(sheet, (0, 0), (side - 1, side - 1), DARK, round(rng.uniform(3, 8)))
    return photo(np.pad(sheet, ((60, 60), (40, 90), (0, 0)), constant_values=0.9), rng)


@variant("in one of a row of boxes")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    sheet = page(drawing, rng, (150, 150), share=(0.5, 0.65))
    scene = np.full((240, 700, 3), 0.93, np.float32)
    place = 20 + 150 * rng.integers(0, 4)
    scene[45:195, place : place + 150] = sheet
    for left in range(20, 620, 150):
        cv2.rectangle(scene, (left, 45), (left + 150, 195), DARK, 2, cv2.LINE_AA)
    return photo(scene, rng)


@variant("box of a form, cut along it")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    side = round(rng.uniform(90, 160))
    sheet = page(drawing, rng, (side, side), share=(0.5, 0.65))
    for edge in range(4):  # remains of the box
        view = np.rot90(sheet, edge)
        view[: rng.integers(0, 4)] = DARK
    return photo(sheet, rng)


def others_at_the_edge(drawing: PenDrawing, rng: Rng, shape: Shape) -> Cover:
    """Draw the remains of the digits to the left and right, as a crop leaves them."""
    cover = np.zeros(shape, np.uint8)
    size = 0.5 * shape[0]
    width = np.ptp(np.concatenate(drawing.strokes)[:, 0]) * size / max(drawing.size, 1e-6)
    seen = rng.uniform(0.1, 0.35) * width
    cover |= trace(drawing, shape, size, seen - width, rng.uniform(0.2, 0.3) * shape[0], 0.05 * size)
    cover |= trace(drawing, shape, size, shape[1] - seen, rng.uniform(0.2, 0.3) * shape[0], 0.05 * size)
    return cover.astype(np.float32) / 255


@variant("neighbours cut off at the edge")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    shape = 300, 360
    size = rng.uniform(130, 170)
    extent = np.ptp(np.concatenate(drawing.strokes), axis=0) * size / max(drawing.size, 1e-6)
    middle = trace(drawing, shape, size, 180 - extent[0] / 2, 150 - extent[1] / 2, 0.05 * size)
    cover = np.maximum(middle.astype(np.float32) / 255, others_at_the_edge(drawing, rng, shape))
    return photo(inked(plain_paper(rng, shape), cover, any_pen(rng)), rng)


# --- Pens -------------------------------------------------------------------------------------------------------------


@variant("pencil")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    tooth = (0.55 + 0.35 * clouds(rng, PHOTO, 2, 2)).clip(0, 1)
    cover = written(drawing, rng, pen=(0.02, 0.04)) * tooth
    return photo(inked(plain_paper(rng), cover, (0.35, 0.35, 0.37)), rng)


@variant("faint pencil")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    tooth = (0.4 + 0.3 * clouds(rng, PHOTO, 2, 2)).clip(0, 1)
    cover = written(drawing, rng, pen=(0.02, 0.035)) * tooth
    return photo(inked(plain_paper(rng), cover, (0.55, 0.55, 0.57)), rng)


@variant("ballpoint with gaps")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    flow = (1.5 + 2 * clouds(rng, PHOTO, 9, 9)).clip(0, 1)
    return photo(inked(plain_paper(rng), written(drawing, rng, pen=(0.02, 0.04)) * flow, BLUE), rng)


@variant("broken strokes")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    white = canvas(drawing, pen=12)
    for _ in range(6):
        at = rng.uniform(50, 230, 2).astype(int).tolist()
        cv2.line(white, at, (at[0] + int(rng.integers(-20, 20)), at[1] + 25), 255, 5)
    return file(white)


@variant("felt pen")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    cover = written(drawing, rng, pen=(0.1, 0.16)) * (0.85 + 0.08 * clouds(rng, PHOTO, 6, 6))
    return photo(inked(plain_paper(rng), cover, any_pen(rng)), rng)


@variant("highlighter")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    colours = (0.97, 0.95, 0.2), (0.5, 0.95, 0.4), (1.0, 0.55, 0.75), (1.0, 0.75, 0.3)
    cover = written(drawing, rng, pen=(0.1, 0.14)) * 0.85
    return photo(inked(plain_paper(rng), cover, colours[rng.integers(4)]), rng)


@variant("brush, thick and thin")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    strokes = cv2.erode(255 - canvas(drawing, pen=20), np.eye(11, dtype=np.uint8)[:, ::-1])
    return file(255 - np.maximum(strokes, 255 - canvas(drawing, pen=5)))


@variant("chalk")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    board = plain_paper(rng, PHOTO, (0.16, 0.26, 0.21)) + 0.03 * clouds(rng, PHOTO, 90, 50)[..., None]
    tooth = (0.6 + 0.35 * clouds(rng, PHOTO, 2, 2)).clip(0, 1)
    return photo(inked(board, written(drawing, rng, pen=(0.05, 0.09)) * tooth, (0.92, 0.92, 0.88)), rng)


# --- Light ------------------------------------------------------------------------------------------------------------


@variant("in a gradient of light")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    light = np.linspace(0.35, 1, CANVAS)[:, None] * np.linspace(0.6, 1, CANVAS)[None]
    noise = rng.normal(0, 4, (CANVAS, CANVAS))
    return file(((60 + canvas(drawing, pen=10) * (170 / 255)) * light + noise).clip(0, 255).astype(np.uint8))


@variant("soft shadow")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    return photo(lit(page(drawing, rng), edge_of_shade(rng, PHOTO, 30)), rng)


@variant("hard shadow")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    return photo(lit(page(drawing, rng), edge_of_shade(rng, PHOTO, 1)), rng)


@variant("shadow of a finger")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    shade = finger(rng, PHOTO, (0.08, 0.2), rng.uniform(2, 12))
    return photo(lit(page(drawing, rng), 1 - rng.uniform(0.25, 0.5) * shade), rng)


@variant("blinds")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    stripes = np.sin(slope(rng) * rng.uniform(20, 40))
    light = 1 - rng.uniform(0.15, 0.35) / (1 + np.exp(-stripes * 6))
    return photo(lit(page(drawing, rng), light.astype(np.float32)), rng)


@variant("vignette")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    ys, xs = np.indices(PHOTO, np.float32)
    light = 1 - rng.uniform(0.4, 0.7) * (((ys / PHOTO[0] - 0.5) ** 2 + (xs / PHOTO[1] - 0.5) ** 2) * 2)
    return photo(lit(page(drawing, rng), light), rng)


@variant("flash")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    return photo(lit(page(drawing, rng), 0.35 + 0.75 * spot(rng, PHOTO, (0.2, 0.4), 0.35)), rng)


@variant("dark room")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    return photo(page(drawing, rng) * rng.uniform(0.12, 0.25), rng, noise=0.02)


# --- Camera -----------------------------------------------------------------------------------------------------------


@variant("out of focus")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    return photo(page(drawing, rng), rng, blur=rng.uniform(4, 7))


@variant("camera moved")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    return photo(smeared(page(drawing, rng), rng, rng.uniform(10, 18)), rng)


@variant("high ISO")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    return photo(page(drawing, rng) * 0.7, rng, noise=0.09)


@variant("photo of a screen")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    ys, xs = np.indices(PHOTO, np.float32)
    moire = 0.06 * np.sin(xs * rng.uniform(0.3, 2) + ys * rng.uniform(0.1, 1))
    bands = 0.12 * np.sin(ys * rng.uniform(0.02, 0.06) + rng.uniform(0, 6))
    grid = 0.05 * ((xs.astype(int) % 3 == 0) | (ys.astype(int) % 3 == 0))
    return photo(lit(page(drawing, rng), (0.85 + moire + bands - grid).astype(np.float32)), rng)


@variant("aslant")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    frame = np.array([[0, 0], [639, 0], [639, 479], [0, 479]], np.float32)
    corners = frame + rng.uniform(-0.3, 0.0, (4, 2)) * (640, 480)
    corners[:, 0] += (0, 160, 160, 0)
    corners[:, 1] += (0, 0, 120, 120)
    matrix = cv2.getPerspectiveTransform(frame, corners.astype(np.float32))
    scene = page(drawing, rng)
    return photo(
        cv2.warpPerspective(
            scene, matrix, (640, 480), borderMode=cv2.BORDER_CONSTANT, borderValue=scene[0, 0].tolist()
        ),
        rng,
    )


# --- More than the paper in view --------------------------------------------------------------------------------------

TABLE = 600, 800
SHEET = 420, 560
DARK_TABLES = (0.08, 0.07, 0.07), (0.2, 0.13, 0.09), (0.15, 0.17, 0.2), (0.3, 0.2, 0.14)


def dark_table(rng: Rng) -> Scene:
    return plain_paper(rng, TABLE, DARK_TABLES[rng.integers(len(DARK_TABLES))])


@variant("sheet on a dark table")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    return photo(laid(page(drawing, rng, SHEET), rng, dark_table(rng)), rng)


@variant("sheet on wood")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    table = wood(rng, TABLE, (rng.uniform(0.35, 0.7), rng.uniform(0.25, 0.42), 0.2))
    return photo(laid(page(drawing, rng, SHEET), rng, table), rng)


@variant("sheet on a tablecloth")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    return photo(laid(page(drawing, rng, SHEET), rng, cloth(rng, TABLE)), rng)


@variant("white sheet on a light table")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    return photo(laid(page(drawing, rng, SHEET), rng, plain_paper(rng, TABLE, (0.72, 0.68, 0.6))), rng)


@variant("dark sheet on a light table")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    sheet = inked(plain_paper(rng, SHEET, (0.12, 0.13, 0.16)), written(drawing, rng, SHEET), (0.95, 0.95, 0.9))
    return photo(laid(sheet, rng, plain_paper(rng, TABLE)), rng)


@variant("far sheet on a dark table")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    return photo(laid(page(drawing, rng, SHEET), rng, dark_table(rng), share=(0.3, 0.45)), rng)


@variant("edge of the sheet in view")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    table = slope(rng, PHOTO) < rng.uniform(0.08, 0.22)
    ground = wood(rng, PHOTO) if rng.random() < 0.5 else plain_paper(rng, PHOTO, DARK_TABLES[rng.integers(4)])
    sheet = inked(plain_paper(rng), clear_of(drawing, rng, table), any_pen(rng))
    share = cv2.GaussianBlur(table.astype(np.float32), (0, 0), 1)[..., None]
    return photo(sheet * (1 - share) + ground * share, rng)


def clear_of(drawing: PenDrawing, rng: Rng, taken: np.ndarray) -> Cover:
    """Write a digit where nothing else is."""
    cover = written(drawing, rng, share=(0.3, 0.45))
    while (cover * cv2.dilate(taken.astype(np.uint8), np.ones((25, 25), np.uint8))).any():
        cover = written(drawing, rng, share=(0.3, 0.45))
    return cover


@variant("corner of the sheet in view")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    table = (slope(rng, PHOTO) < rng.uniform(0.1, 0.2)) | (slope(rng, PHOTO) < rng.uniform(0.1, 0.2))
    sheet = inked(plain_paper(rng), clear_of(drawing, rng, table), any_pen(rng))
    share = cv2.GaussianBlur(table.astype(np.float32), (0, 0), 1)[..., None]
    return photo(sheet * (1 - share) + plain_paper(rng, PHOTO, DARK_TABLES[rng.integers(4)]) * share, rng)


@variant("sticky note")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    note = inked(plain_paper(rng, (300, 300), (0.96, 0.89, 0.4)), written(drawing, rng, (300, 300)), any_pen(rng))
    table = plain_paper(rng, TABLE) if rng.random() < 0.5 else wood(rng, TABLE, (0.6, 0.45, 0.3))
    return photo(laid(note, rng, table, share=(0.4, 0.8)), rng)


@variant("ruled sheet on a table")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    return photo(laid(ruled_page(drawing, rng, bool(rng.random() < 0.5)), rng, dark_table(rng)), rng)


@variant("sheet in a shadow on a table")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    return photo(lit(laid(page(drawing, rng, SHEET), rng, dark_table(rng)), edge_of_shade(rng, TABLE, 4)), rng)


@variant("sheet under a finger")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    sheet, cover = plain_paper(rng), finger(rng, PHOTO, (0.08, 0.12), 1)
    sheet = inked(sheet, clear_of(drawing, rng, cover > 0.01), any_pen(rng))
    return photo(inked(sheet, cover, (0.8, 0.58, 0.47)), rng)


@variant("pen beside the digit")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    cover = np.zeros(PHOTO, np.uint8)
    start = rng.uniform(0, 1, 2) * (640, 480)
    start[rng.integers(2)] *= 0
    end = start + (np.array([320, 240]) - start) * rng.uniform(0.3, 0.5)
    cv2.line(cover, start.astype(int).tolist(), end.astype(int).tolist(), 255, round(rng.uniform(12, 22)), cv2.LINE_AA)
    sheet = inked(plain_paper(rng), clear_of(drawing, rng, cover > 0), any_pen(rng))
    return photo(inked(sheet, cover.astype(np.float32) / 255, tuple(rng.uniform(0.05, 0.6, 3))), rng)


@variant("whiteboard with glare")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    board = plain_paper(rng, PHOTO, (0.72, 0.74, 0.76)) + 0.01 * clouds(rng, PHOTO, 120, 30)[..., None]
    scene = inked(board, 0.9 * written(drawing, rng, pen=(0.05, 0.09)), any_pen(rng))
    return photo(scene + 0.4 * spot(rng, PHOTO, (0.06, 0.15), 0.2)[..., None], rng)


@variant("whiteboard with its frame")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    scene = inked(plain_paper(rng, PHOTO, (0.85, 0.86, 0.88)), written(drawing, rng), any_pen(rng))
    framed = np.pad(scene, ((16, 16), (16, 16), (0, 0)), constant_values=0.45)
    return photo(laid(framed, rng, plain_paper(rng, TABLE, (0.75, 0.72, 0.62)), share=(0.75, 0.9)), rng)


@variant("chalkboard on a wall")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    board = plain_paper(rng, SHEET, (0.14, 0.22, 0.18)) + 0.03 * clouds(rng, SHEET, 90, 50)[..., None]
    scene = inked(board, 0.8 * written(drawing, rng, SHEET), (0.92, 0.92, 0.88))
    framed = np.pad(scene, ((14, 14), (14, 14), (0, 0)), constant_values=0.5)
    return photo(laid(framed, rng, plain_paper(rng, TABLE, (0.85, 0.82, 0.72)), share=(0.7, 0.9)), rng)


@variant("tablet on a table")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    screen = np.pad(page(drawing, rng, SHEET), ((30, 30), (30, 30), (0, 0)), constant_values=0.03)
    return photo(laid(screen, rng, wood(rng, TABLE), share=(0.6, 0.9)), rng)


@variant("anything together")
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    scene = ruled_page(drawing, rng, bool(rng.random() < 0.5)) if rng.random() < 0.4 else page(drawing, rng)
    if rng.random() < 0.6:
        table = (dark_table, partial(wood, shape=TABLE), partial(cloth, shape=TABLE))[rng.integers(3)](rng)
        scene = laid(scene, rng, table, share=(0.45, 0.95), tilt=0.12)
    if rng.random() < 0.6:
        scene = lit(scene, edge_of_shade(rng, scene.shape[:2], rng.uniform(1, 30)))
    return photo(scene, rng, blur=rng.uniform(0.5, 2), noise=rng.uniform(0, 0.04), quality=int(rng.integers(30, 90)))


# --- No digit, or more than one ---------------------------------------------------------------------------------------


@variant("two digits", NO_DIGIT)
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    cover = trace(drawing, (280, 480), 160, 40, 60, 12) | trace(drawing, (280, 480), 160, 270, 60, 12)
    return file(255 - cover)


@variant("five digits", NO_DIGIT)
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    covers = [trace(drawing, (200, 640), 90, left, 50 + rng.uniform(-9, 9), 7) for left in range(20, 600, 125)]
    return file(255 - np.maximum.reduce(covers))


@variant("bare sheet on a table", NO_DIGIT)
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    return photo(laid(plain_paper(rng, SHEET), rng, dark_table(rng)), rng)


@variant("bare ruled paper", NO_DIGIT)
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    return photo(inked(plain_paper(rng), 0.5 * rules(rng, PHOTO, bool(rng.random() < 0.5)), (0.35, 0.45, 0.65)), rng)


@variant("bare wood", NO_DIGIT)
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    return photo(wood(rng, PHOTO), rng)


@variant("shadows alone", NO_DIGIT)
def _(drawing: PenDrawing, rng: Rng) -> bytes:
    return photo(lit(plain_paper(rng), edge_of_shade(rng, PHOTO, rng.uniform(1, 20))), rng)
