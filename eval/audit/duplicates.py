"""Photos that are nearly the same, by a perceptual hash."""

import numpy as np
from PIL import Image

SIDE = 16
# Of SIDE x SIDE bits. Photos of different packages differ in half of them, the closest of 330,000
# pairs in 52; a photo and its copy at a third of the size and JPEG quality 40 in 11 at most.
NEAR = 40
BLOCK = 1024


def dhash(photo: Image.Image) -> np.ndarray:
    """The difference hash: whether each of 16 x 16 places is darker than the one to its right.

    N. Krawetz, "Kind of Like That", hackerfactor.com, 2013. (256,) booleans.
    """
    small = photo.convert("L").resize((SIDE + 1, SIDE), Image.Resampling.BOX)
    gray = np.asarray(small, dtype=int)
    return (gray[:, :-1] < gray[:, 1:]).ravel()


def near(hashes: np.ndarray) -> list[tuple[int, int, int]]:
    """Pairs of hashes (n, 256) that differ in NEAR bits at most: first, second, how many."""
    signs = np.where(hashes, 1, -1).astype(np.float32)
    pairs: list[tuple[int, int, int]] = []
    for start in range(0, len(signs), BLOCK):
        bits = (signs.shape[1] - signs[start : start + BLOCK] @ signs.T) / 2
        rows, columns = np.nonzero(bits <= NEAR)
        later = rows + start < columns
        for row, column in zip(rows[later], columns[later], strict=True):
            pairs.append((int(row) + start, int(column), int(bits[row, column])))
    return pairs
