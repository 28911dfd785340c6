"""The MNIST database: find, download, check against the published SHA-256 digests, and load."""

import gzip
import hashlib
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from django.conf import settings


class MnistError(RuntimeError):
    """MNIST is missing or differs from the published files; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Digits:
    """Labelled images: `images` `(n, 28, 28)` uint8, light on dark, and `labels` `(n,)` uint8, 0–9."""

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.uint8]


def load_mnist(folder: Path) -> tuple[Digits, Digits]:
    """Load the 60,000 training and 10,000 test digits from a folder with the four official files.

    Raises:
        MnistError: a file is missing or its digest is not the published one.
    """
    return _load_part(folder, "train"), load_test_digits(folder)


def load_test_digits(folder: Path) -> Digits:
    """Load the 10,000 test digits only: 8 MB.

    Raises:
        MnistError: a file is missing or its digest is not the published one.
    """
    return _load_part(folder, "t10k")


def _load_part(folder: Path, part: str) -> Digits:
    files = (folder / f"{part}-{kind}-ubyte.gz" for kind in ("images-idx3", "labels-idx1"))
    images, labels = (_idx(_read_checked(file)) for file in files)
    return Digits(images, labels)


def find_mnist() -> Path | None:
    """Return a folder with all four files, HDR_MNIST_DIR first, then the data directory; or None."""
    folders = [Path(settings.MNIST_DIR)] if settings.MNIST_DIR else []
    return next((folder for folder in [*folders, download_folder()] if _is_complete(folder)), None)


def download_folder() -> Path:
    """Return the folder for MNIST in the data directory."""
    folder: Path = settings.DATA_DIR / "mnist"
    return folder


def ensure_mnist() -> Path:
    """Return a folder with MNIST; download it if there is none.

    Raises:
        MnistError: the download failed; the message says what to do.
    """
    found = find_mnist()
    if found is None:
        fetch_mnist(found := download_folder())
    return found


def _is_complete(folder: Path) -> bool:
    return all((folder / name).is_file() for name in settings.MNIST_FILES)


def fetch_mnist(folder: Path) -> list[str]:
    """Download the files that are missing in a folder, check each before keeping it, and return their names.

    Raises:
        MnistError: a download failed or has another digest than the published one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = [name for name in settings.MNIST_FILES if not (folder / name).is_file()]
    for name in missing:
        partial = folder / f"{name}.partial"
        try:
            with urllib.request.urlopen(settings.MNIST_URL + name, timeout=60) as response:  # noqa: S310 - https, of our own settings
                partial.write_bytes(response.read(64 * 1024 * 1024))
        except OSError as error:
            raise MnistError(
                f"{settings.MNIST_URL + name} could not be downloaded ({error}). "
                f"Put the four files into a folder by hand and name it in HDR_MNIST_DIR."
            ) from error
        _check(partial, name)
        partial.rename(folder / name)
    return missing


def _check(path: Path, name: str) -> bytes:
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest != settings.MNIST_FILES[name]:
        raise MnistError(
            f"{path} is not the published file: expected sha256 {settings.MNIST_FILES[name]}, got {digest}. Delete it."
        )
    return content


def _read_checked(path: Path) -> bytes:
    if not path.is_file():
        raise MnistError(f"{path} is missing. Run `manage.py fetch_mnist` or name a folder in HDR_MNIST_DIR.")
    return gzip.decompress(_check(path, path.name))


def _idx(content: bytes) -> npt.NDArray[np.uint8]:
    """Parse the IDX format: two zero bytes, 0x08 for uint8, the number of axes, big-endian sizes, data."""
    axes = content[3]
    shape = np.frombuffer(content, ">u4", axes, 4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)
