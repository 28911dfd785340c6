"""Decodes an uploaded file within limits to an upright, opaque grey picture, and encodes the picture that is stored."""

import threading
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from recognizer.preprocessing.containers import JPEG, BlockFile, is_deep_png, without_metadata
from recognizer.preprocessing.geometry import GreyImage, NoInkError, PreprocessingError
from recognizer.preprocessing.ground import NEIGHBOURHOOD, deviation, thumbnail

# Limits of an upload. The web layer limits the size of the whole body before it reads it.
MAX_BYTES = 8 * 1024 * 1024
MAX_PIXELS = 12_000_000  # according to the header, checked before decoding
MAX_JPEG_PIXELS = 50_000_000  # JPEGs are decoded at reduced size; phones take 12 to 50 million
MAX_SCANS = 32  # in a JPEG; progressive ones have about ten
MAX_SCANNED = 600_000_000  # pixels × scans: each scan passes over all pixels; ten over 50 million take 0.4 s
MAX_EXIF = 64 * 1024  # bytes, the maximum in a JPEG; Pillow copies each entry, and thousands may share bytes
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
WORKING_SIDE = 1000  # longer side of the downscaled picture, pixels
INNER_CONTRAST = 64  # grey levels in the opaque part; with more, it has a background of its own
STORED_SIDE = 512  # longer side of the stored picture, pixels

_mutex = threading.Lock()
"""Decoding can briefly take a hundred megabytes: once per process, not once per thread."""

Samples = npt.NDArray[np.integer[Any]]
"""`(h, w, channels)`, up to 16 bits."""

Pixels = npt.NDArray[np.uint8]
"""`(h, w, channels)` or `(n, channels)`."""


def decode_picture(content: bytes) -> GreyImage:
    """Decode the first frame of an uploaded file to grey, upright and without transparency.

    Args:
        content: a PNG, JPEG, WebP, GIF or BMP file.

    Returns:
        `(h, w)` uint8, the longer side at most `WORKING_SIDE`.

    Raises:
        PreprocessingError: the file has another format, is damaged or truncated, or exceeds the limits.
    """
    if len(content) > MAX_BYTES:
        raise PreprocessingError(f"The picture is larger than {MAX_BYTES // 1024**2} MB.")
    scans = content.count(b"\xff\xda") if content.startswith(JPEG) else 1
    if scans > MAX_SCANS:
        raise PreprocessingError(f"The JPEG has more than {MAX_SCANS} scans.")
    try:
        content = without_metadata(content)
        with _mutex, Image.open(BlockFile(content), formats=FORMATS) as image:
            _check_size(image, scans)
            return _to_grey(_eight_bits(image, content))
    except PreprocessingError:
        raise
    except Exception as error:
        # Hostile files make the decoders raise many kinds of errors (OSError, SyntaxError, struct.error, zlib.error,
        # MemoryError, …), and all of them mean the same to the sender.
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
    """Convert 16-bit samples to 8 bits by the bits in use: cameras and scanners use 10 to 14, often the low ones."""
    if image.mode.startswith("I"):
        scaled = _by_bits_in_use(np.asarray(image)[..., None])[..., 0]
    elif is_deep_png(content):  # Pillow would take the upper eight bits, even if unused
        samples = np.asarray(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED))
        scaled = _by_bits_in_use(_reduced(samples)[..., (2, 1, 0, 3)[: samples.shape[2]]])
    else:
        return image
    shallow = Image.fromarray(scaled)
    shallow.info = image.info  # for the orientation
    return shallow


def _reduced(samples: Samples) -> Samples:
    scale = WORKING_SIDE / max(samples.shape)
    if scale >= 1:
        return samples
    size = (max(1, round(samples.shape[1] * scale)), max(1, round(samples.shape[0] * scale)))
    return np.asarray(cv2.resize(samples, size, interpolation=cv2.INTER_AREA))


def _by_bits_in_use(samples: Samples) -> Pixels:
    """Shift samples to eight bits: all colour channels by their bits in use, alpha by its own."""
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
    image.thumbnail((WORKING_SIDE, WORKING_SIDE), Image.Resampling.BOX, reducing_gap=1.0)  # decodes JPEGs smaller
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
    """Mix the channels to grey so that colour contrast becomes grey contrast, as of yellow on white or red on green.

    The weights are the first principal component of `differences`, `(n, 3)` float32: the colour differences to the
    surrounding background. Large differences get more weight, so that the ink's colour decides and not the light. Grey
    pictures stay exactly the same.
    """
    weight = np.einsum("ij,ij->i", differences, differences)
    _, axes = np.linalg.eigh((differences * weight[:, None]).T.astype(np.float64) @ differences)
    weights = axes[:, -1] / np.abs(axes[:, -1]).sum()
    if weights.sum() < 0:  # keep light colours light
        weights = -weights
    offset = -255 * weights[weights < 0].sum()
    mixed: GreyImage = cv2.transform(pixels, np.array([[*weights, offset]]))
    return mixed


def _without_alpha(pixels: Pixels) -> GreyImage:
    """Put a transparent picture on a background that contrasts with its ink: `(h, w, 4)` → `(h, w)`."""
    alpha = pixels[..., 3]
    seen = alpha > 127
    if not seen.any():
        raise NoInkError("The picture is fully transparent.")
    colours = pixels[seen][:, :3].astype(np.float32)
    grey = _mix_channels(pixels[..., :3], colours - colours.mean(axis=0))
    low, middle, high = np.percentile(grey[seen], (1, 50, 99))
    ground = 255.0 if middle < 128 else 0.0
    if high - low > INNER_CONTRAST and seen.mean() > 0.5:  # not only ink, but a picture with transparent corners
        ground = middle
    share = alpha.astype(np.float32) / 255
    return np.rint(grey * share + ground * (1 - share)).astype(np.uint8)


def storable_picture(grey: GreyImage) -> bytes:
    """Encode the picture that is stored for an upload: grey, small, without metadata.

    Args:
        grey: `(h, w)` uint8, from `decode_picture`.

    Returns:
        A PNG file, the longer side at most `STORED_SIDE`.
    """
    scale = min(1.0, STORED_SIDE / max(grey.shape))
    size = (max(1, round(grey.shape[1] * scale)), max(1, round(grey.shape[0] * scale)))
    _, content = cv2.imencode(".png", cv2.resize(grey, size, interpolation=cv2.INTER_AREA))
    return content.tobytes()
