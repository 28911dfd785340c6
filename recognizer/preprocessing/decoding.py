"""An uploaded file → a grey picture, decoded within limits, upright and opaque; and what is kept of it."""

import threading
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from recognizer.preprocessing.containers import JPEG, BlockFile, is_deep_png, without_notes
from recognizer.preprocessing.geometry import GreyImage, NoInkError, PreprocessingError
from recognizer.preprocessing.ground import NEIGHBOURHOOD, deviation, thumbnail

# What an upload may be. The web layer bounds the whole body, before it reads it.
MAX_BYTES = 8 * 1024 * 1024
MAX_PIXELS = 12_000_000  # of the header's size, checked before anything is decoded
MAX_JPEG_PIXELS = 50_000_000  # a JPEG is decoded at a reduced size; phones make 12 to 50 million
MAX_SCANS = 32  # of a JPEG; progressive ones have about ten
MAX_SCANNED = 600_000_000  # pixels × scans: each scan is a walk over all pixels; ten of 50 million cost 0.4 s
MAX_EXIF = 64 * 1024  # bytes, as many as a JPEG holds; Pillow keeps each entry, and thousands may share their bytes
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
WORKING_SIDE = 1000  # longer side that a picture is reduced to, pixels
INNER_CONTRAST = 64  # grey levels within the opaque part of a picture: more, and it has a ground of its own
STORED_SIDE = 512  # longer side of the picture that is kept, pixels

_one_at_a_time = threading.Lock()
"""Decoding may take a hundred megabytes for a moment: so much once per process, not once per thread."""

Samples = npt.NDArray[np.integer[Any]]
"""`(h, w, channels)`, of up to 16 bits."""

Pixels = npt.NDArray[np.uint8]
"""`(h, w, channels)` or `(n, channels)`."""


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
    scans = content.count(b"\xff\xda") if content.startswith(JPEG) else 1
    if scans > MAX_SCANS:
        raise PreprocessingError(f"The JPEG has more than {MAX_SCANS} scans.")
    try:
        content = without_notes(content)
        with _one_at_a_time, Image.open(BlockFile(content), formats=FORMATS) as image:
            _check_size(image, scans)
            return _to_grey(_eight_bits(image, content))
    except PreprocessingError:
        raise
    except Exception as error:
        # Decoders of hostile files raise whatever they trip over (OSError, SyntaxError, struct.error, zlib.error,
        # MemoryError, …), and each of these means the same to the sender.
        raise PreprocessingError(
            "The picture cannot be read: send a whole PNG, JPEG, WebP, GIF or BMP file."
        ) from error


def _check_size(image: Image.Image, scans: int) -> None:
    width, height = image.size
    most = MAX_JPEG_PIXELS if image.format == "JPEG" else MAX_PIXELS
    if width * height > most:
        raise PreprocessingError(f"The picture has more than {most // 10**6} million pixels.")
    if width * height * scans > MAX_SCANNED:
        raise PreprocessingError("The JPEG has more scans than its size allows.")
    if any(tile[0] == "bmp_rle" for tile in getattr(image, "tile", ())):  # Pillow unpacks it in Python, a run at a time
        raise PreprocessingError("Compressed BMP is not supported. Send an uncompressed BMP or a PNG.")


def _eight_bits(image: Image.Image, content: bytes) -> Image.Image:
    """Bring samples of 16 bits to 8, by the bits in use: cameras and scanners fill 10 to 14, often the low ones."""
    if image.mode.startswith("I"):
        scaled = _by_bits_in_use(np.asarray(image)[..., None])[..., 0]
    elif is_deep_png(content):  # Pillow takes the upper eight bits of a colour, whatever is in them
        samples = np.asarray(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED))
        scaled = _by_bits_in_use(_reduced(samples)[..., (2, 1, 0, 3)[: samples.shape[2]]])
    else:
        return image
    shallow = Image.fromarray(scaled)
    shallow.info = image.info  # which way is up
    return shallow


def _reduced(samples: Samples) -> Samples:
    scale = WORKING_SIDE / max(samples.shape)
    if scale >= 1:
        return samples
    size = (max(1, round(samples.shape[1] * scale)), max(1, round(samples.shape[0] * scale)))
    return np.asarray(cv2.resize(samples, size, interpolation=cv2.INTER_AREA))


def _by_bits_in_use(samples: Samples) -> Pixels:
    """Shift samples to eight bits: colours by what all of them use, alpha by what it uses."""
    scaled = np.empty(samples.shape, np.uint8)
    for channels in (slice(3), slice(3, None)):
        unused = int(samples[..., channels].max(initial=0)).bit_length() - 8
        scaled[..., channels] = samples[..., channels] >> max(unused, 0)
    return scaled


def _to_grey(image: Image.Image) -> GreyImage:
    if image.has_transparency_data and image.mode != "RGBA":
        image = image.convert("RGBA")
    elif image.mode in ("P", "1"):
        image = image.convert("RGB")
    image.thumbnail((WORKING_SIDE, WORKING_SIDE), Image.Resampling.BOX, reducing_gap=1.0)  # a JPEG is decoded smaller
    if len(image.info.get("exif", b"")) <= MAX_EXIF:
        image = ImageOps.exif_transpose(image)
    if image.mode == "L":
        return np.asarray(image)
    if image.mode == "RGBA":
        return _without_alpha(np.asarray(image))
    pixels = np.asarray(image.convert("RGB"))
    differences = deviation(thumbnail(pixels), NEIGHBOURHOOD, NEIGHBOURHOOD // 2)
    return _mix_channels(pixels, differences.reshape(-1, 3))


def _mix_channels(pixels: Pixels, differences: npt.NDArray[np.float32]) -> GreyImage:
    """Weigh the channels so that what differs in colour differs in grey, be it yellow on white or red on green.

    The weights are the first principal component of `differences`, `(n, 3)` float32: by how much colours differ from
    the ground around them. Large ones count most, so that the ink's colour decides and not the light's. Grey stays
    exactly grey.
    """
    weight = np.einsum("ij,ij->i", differences, differences)
    _, axes = np.linalg.eigh((differences * weight[:, None]).T.astype(np.float64) @ differences)
    weights = axes[:, -1] / np.abs(axes[:, -1]).sum()
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
        raise NoInkError("The picture is fully transparent.")
    colours = pixels[seen][:, :3].astype(np.float32)
    grey = _mix_channels(pixels[..., :3], colours - colours.mean(axis=0))
    low, middle, high = np.percentile(grey[seen], (1, 50, 99))
    ground = 255.0 if middle < 128 else 0.0
    if high - low > INNER_CONTRAST and seen.mean() > 0.5:  # not the ink alone, but a picture with see-through corners
        ground = middle
    share = alpha.astype(np.float32) / 255
    return np.rint(grey * share + ground * (1 - share)).astype(np.uint8)


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
