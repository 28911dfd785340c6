"""How alike two drawings are, from their 28×28 inputs: near-duplicates, and groups of them.

A signature is the input blurred and shrunk to 14×14, as a unit vector, so that a dot product is the similarity, 0…1.
Blurring lets two copies of one drawing differ by less than a pixel. The thresholds are measured on pen digits of 92
writers that no test uses: see docs/triage.md.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from recognizer.preprocessing import INPUT_SIDE

Signatures = npt.NDArray[np.float32]  # (n, SIGNATURE_SIDE²), unit vectors

SIGNATURE_SIDE = 14
BLUR = 1.0  # standard deviation, pixels of the input

NEAR_DUPLICATE = 0.96  # practically the same drawing: traced again, resampled, another pen, half a pixel off
SAME_DRAWING = 0.995  # the very same one sent again: recompressed, resampled, nudged; hardly anybody draws so twice
SAME_MANNER = 0.8  # one person's variations of one drawing; two near-duplicates of a third are at least 0.84 alike

BLOCK = 8_000_000  # similarities in memory at once: 32 MB
SIGNED_AT_ONCE = 4096  # inputs, so that their float copies stay at about 13 MB


def _shrinking() -> npt.NDArray[np.float32]:
    """One axis of blurring and shrinking, as a matrix `(SIGNATURE_SIDE, INPUT_SIDE)`; both are linear."""
    pixels = np.arange(INPUT_SIDE)
    blur = np.exp(-((pixels[:, None] - pixels[None]) ** 2) / (2 * BLUR**2))
    blur /= blur[INPUT_SIDE // 2].sum()
    matrix: npt.NDArray[np.float32] = blur.reshape(SIGNATURE_SIDE, -1, INPUT_SIDE).mean(axis=1).astype(np.float32)
    return matrix


_SHRINKING = _shrinking()


def signatures(inputs: npt.NDArray[np.uint8]) -> Signatures:
    """Sign inputs: `(n, 28, 28)` uint8 → `(n, 196)` float32 unit vectors; an empty input's is zero."""
    signed = np.empty((len(inputs), SIGNATURE_SIDE**2), np.float32)
    for start in range(0, len(inputs), SIGNED_AT_ONCE):
        part = inputs[start : start + SIGNED_AT_ONCE].astype(np.float32)
        signed[start : start + len(part)] = (_SHRINKING @ part @ _SHRINKING.T).reshape(len(part), -1)
    signed /= np.maximum(np.linalg.norm(signed, axis=1, keepdims=True), 1e-6)
    return signed


def similarities(a: Signatures, b: Signatures) -> Iterator[tuple[slice, npt.NDArray[np.float32]]]:
    """Compare all rows of `a` with all rows of `b`, a block of `a`'s rows at a time: `(rows, (len(rows), len(b)))`."""
    step = max(1, BLOCK // max(1, len(b)))
    for start in range(0, len(a), step):
        rows = slice(start, min(start + step, len(a)))
        yield rows, a[rows] @ b.T


def has_neighbour(a: Signatures, b: Signatures, threshold: float = NEAR_DUPLICATE) -> npt.NDArray[np.bool_]:
    """Say for each row of `a` whether any row of `b` is at least so similar: `(len(a),)`."""
    found = np.zeros(len(a), np.bool_)
    if len(b):
        for rows, block in similarities(a, b):
            found[rows] = block.max(axis=1) >= threshold
    return found


def groups(signed: Signatures, threshold: float = NEAR_DUPLICATE) -> npt.NDArray[np.intp]:
    """Number the groups of drawings that chains of near-duplicates join: `(n,)`, a group is its first row's number.

    Plain drawings chain: at `NEAR_DUPLICATE` a third of 5,135 pen digits fell into four groups, at `SAME_DRAWING` 3 %
    into one, of straight ones.
    """
    parent = np.arange(len(signed))  # a forest of union-find; a root is the smallest row of its tree
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
