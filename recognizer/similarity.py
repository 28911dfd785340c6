"""Similarity of drawings by their 28×28 inputs: near-duplicates, and groups of them.

A signature is the input blurred and downscaled to 14×14, as a unit vector; the dot product of two signatures is their
similarity, 0…1. The blur tolerates shifts of less than a pixel. The thresholds were measured on pen digits of 92
writers that no test uses: see docs/triage.md.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from recognizer.preprocessing import INPUT_SIDE

Signatures = npt.NDArray[np.float32]  # (n, SIGNATURE_SIDE²), unit vectors

SIGNATURE_SIDE = 14
BLUR = 1.0  # standard deviation, pixels of the input

NEAR_DUPLICATE = 0.96  # practically the same drawing: traced, resampled, with another pen, or shifted by half a pixel
SAME_DRAWING = 0.995  # the same drawing sent again (recompressed, resampled, nudged); hardly ever drawn again
SAME_MANNER = 0.8  # variations of a drawing by one person; two near-duplicates of a third have at least 0.84

BLOCK = 8_000_000  # similarities per block: 32 MB
SIGNED_AT_ONCE = 4096  # inputs per batch: their float copies take about 13 MB


def _shrinking() -> npt.NDArray[np.float32]:
    """Return the matrix of blur and downscaling along one axis, `(SIGNATURE_SIDE, INPUT_SIDE)`; both are linear."""
    pixels = np.arange(INPUT_SIDE)
    blur = np.exp(-((pixels[:, None] - pixels[None]) ** 2) / (2 * BLUR**2))
    blur /= blur[INPUT_SIDE // 2].sum()
    matrix: npt.NDArray[np.float32] = blur.reshape(SIGNATURE_SIDE, -1, INPUT_SIDE).mean(axis=1).astype(np.float32)
    return matrix


_SHRINKING = _shrinking()


def signatures(inputs: npt.NDArray[np.uint8]) -> Signatures:
    """Return the signatures of inputs: `(n, 28, 28)` uint8 → `(n, 196)` float32 unit vectors; 0 for an empty input."""
    signed = np.empty((len(inputs), SIGNATURE_SIDE**2), np.float32)
    for start in range(0, len(inputs), SIGNED_AT_ONCE):
        part = inputs[start : start + SIGNED_AT_ONCE].astype(np.float32)
        signed[start : start + len(part)] = (_SHRINKING @ part @ _SHRINKING.T).reshape(len(part), -1)
    signed /= np.maximum(np.linalg.norm(signed, axis=1, keepdims=True), 1e-6)
    return signed


def similarities(a: Signatures, b: Signatures) -> Iterator[tuple[slice, npt.NDArray[np.float32]]]:
    """Yield the similarities of all rows of `a` and `b`, in blocks of `a`'s rows: `(rows, (len(rows), len(b)))`."""
    step = max(1, BLOCK // max(1, len(b)))
    for start in range(0, len(a), step):
        rows = slice(start, min(start + step, len(a)))
        yield rows, a[rows] @ b.T


def has_neighbour(a: Signatures, b: Signatures, threshold: float = NEAR_DUPLICATE) -> npt.NDArray[np.bool_]:
    """Return for each row of `a` whether a row of `b` has at least this similarity: `(len(a),)`."""
    found = np.zeros(len(a), np.bool_)
    if len(b):
        for rows, block in similarities(a, b):
            found[rows] = block.max(axis=1) >= threshold
    return found


def groups(signed: Signatures, threshold: float = NEAR_DUPLICATE) -> npt.NDArray[np.intp]:
    """Return the group of each drawing, `(n,)`: the index of the group's first row. Chains of neighbours are one group.

    Plain drawings form chains: at `NEAR_DUPLICATE` a third of 5,135 pen digits fell into four groups, at `SAME_DRAWING`
    3 % into one group of straight ones.
    """
    parent = np.arange(len(signed))  # union-find forest; the root of a tree is its smallest row
    for rows, block in similarities(signed, signed):
        for row, alike in enumerate(block >= threshold, rows.start):
            members = np.flatnonzero(alike[:row])
            if len(members):
                roots = np.append(_roots(parent, members), _roots(parent, np.array([row])))
                parent[roots] = parent[members] = roots.min()
    return _roots(parent, np.arange(len(signed)))


def _roots(parent: npt.NDArray[np.intp], rows: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    while not np.array_equal(above := parent[rows], rows):
        rows = above
    return rows
