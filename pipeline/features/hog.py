"""Histograms of oriented gradients: the descriptor of Dalal and Triggs (2005), and DPM's 31 dimensions.

Both map an image to a grid of vectors, so that a window is a slice of the grid and a linear classifier a correlation.
"""

from collections.abc import Sequence
from functools import cache

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

CELL = 8  # pixels along a side of a cell
BLOCK = 2  # the paper's cells along a side of a block
BINS = 9  # of the unsigned orientations, over 180 degrees; in both papers

_CLIP = 0.2
_TEXTURE = 0.2357  # 1 / sqrt(18), rounded as in features.cc


def dalal_triggs(pixels: NDArray[np.uint8], bins: int = BINS, block: int = BLOCK) -> NDArray[np.float32]:
    """Return the normalised blocks of an image, ``(rows - 1, columns - 1, 36)`` for its whole cells of 8 pixels.

    OpenCV's descriptor with the paper's choices (sections 6.2 to 6.4): no gamma, votes interpolated in orientation and
    position, a Gaussian of 8 pixels over each block, L2-Hys. scikit-image's interpolates neither. A vector is laid out
    as cells column by column, 9 orientations each.

    Args:
        pixels: ``(height, width, 3)``; the strongest channel counts. Pixels after the last whole cell are left out.
            An image of fewer than two cells along a side has no block.
        bins: orientations of a cell, over 180 degrees.
        block: cells along a side of a block. Of another number than 2 there are ``(rows - block + 1, columns - block +
            1, block * block * bins)`` values, and the Gaussian is half as wide as the block.
    """
    rows, columns = pixels.shape[0] // CELL, pixels.shape[1] // CELL
    down, across = max(rows - block + 1, 0), max(columns - block + 1, 0)
    if not down * across:
        return np.zeros((down, across, block**2 * bins), np.float32)
    size, side, cell = (columns * CELL, rows * CELL), block * CELL, (CELL, CELL)
    descriptor = cv2.HOGDescriptor(size, (side, side), cell, cell, bins, 1, side / 2, 0, _CLIP, False, 64, False)
    values = np.asarray(descriptor.compute(np.ascontiguousarray(pixels[: size[1], : size[0]])), np.float32)
    return np.ascontiguousarray(values.reshape(across, down, -1).transpose(1, 0, 2))


def felzenszwalb(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the cells of an image, ``(rows - 2, columns - 2, 32)``, as the released DPM does (``features.cc``).

    ``rows`` and ``columns`` are the sides in cells of 8 pixels, rounded; the outermost cells only normalise. A vector
    has 18 signed orientations, 9 unsigned, 4 texture energies and a zero, in which DPM marks its padding.

    Args:
        pixels: ``(height, width, 3)``, 3 or more along each side; the strongest channel counts.
    """
    rows, columns = (int(side / CELL + 0.5) for side in pixels.shape[:2])
    if min(rows, columns) <= 2:
        return np.zeros((max(rows - 2, 0), max(columns - 2, 0), 32), np.float32)
    signed = _signed_histograms(pixels, rows, columns)
    unsigned = signed[..., :BINS] + signed[..., BINS:]
    energy = np.square(unsigned).sum(axis=2)
    groups = energy[:-1, :-1] + energy[1:, :-1] + energy[:-1, 1:] + energy[1:, 1:]
    norms = 1 / np.sqrt(groups + 1e-4)
    around = norms[1:, 1:], norms[:-1, 1:], norms[1:, :-1], norms[:-1, :-1]  # south-east, north-east, south-west, ...
    inner = np.s_[1:-1, 1:-1]
    clipped = [np.minimum(signed[inner] * norm[..., None], _CLIP) for norm in around]
    features = np.zeros((rows - 2, columns - 2, 32), np.float32)
    features[..., : 2 * BINS] = sum(clipped) / 2
    features[..., 2 * BINS : 3 * BINS] = (
        sum(np.minimum(unsigned[inner] * norm[..., None], _CLIP) for norm in around) / 2
    )
    features[..., 3 * BINS : 31] = _TEXTURE * np.stack([values.sum(axis=2) for values in clipped], axis=2)
    return features


def _signed_histograms(pixels: NDArray[np.uint8], rows: int, columns: int) -> NDArray[np.float64]:
    """Return the votes of each cell for 18 orientations over 360 degrees, ``(rows, columns, 18)``."""
    y, x = np.arange(1, rows * CELL - 1), np.arange(1, columns * CELL - 1)
    gradient = _strongest_gradient(pixels)
    gradient = gradient[np.minimum(y, pixels.shape[0] - 2) - 1][:, np.minimum(x, pixels.shape[1] - 2) - 1]
    magnitudes, orientations = _gradients()
    votes, orientation = magnitudes[gradient], orientations[gradient]
    sums = np.zeros(rows * columns * 2 * BINS)
    for row, share_y in _shares(y, rows):
        for column, share_x in _shares(x, columns):
            places = orientation + (row * columns * 2 * BINS)[:, None]
            places += column * 2 * BINS
            sums += np.bincount(places.ravel(), (votes * share_y[:, None] * share_x).ravel(), len(sums))
    return sums.reshape(rows, columns, 2 * BINS)


def _strongest_gradient(pixels: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Return the gradient of each pixel within the rim, of the channel where it is greatest, as `_gradients` counts."""
    chosen, most = np.zeros((pixels.shape[0] - 2, pixels.shape[1] - 2), np.int32), np.int32(-1)
    for values in pixels.astype(np.int32).transpose(2, 0, 1):
        dx, dy = values[1:-1, 2:] - values[1:-1, :-2], values[2:, 1:-1] - values[:-2, 1:-1]
        strength = dx * dx + dy * dy
        chosen = np.where(strength > most, (dy + 255) * 511 + dx + 255, chosen)
        most = np.maximum(strength, most)
    return chosen


@cache
def _gradients() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return size and orientation, 0 to 17, of all gradients ``dy, dx`` of 8 bits from -255 on, ``(511 * 511,)``."""
    dy, dx = np.mgrid[-255:256, -255:256].reshape(2, -1)
    angles = np.arange(BINS) * np.pi / BINS
    along = dx[:, None] * np.cos(angles) + dy[:, None] * np.sin(angles)
    return np.hypot(dx, dy).astype(np.float32), np.concatenate([along, -along], axis=1).argmax(axis=1)


def _shares(places: NDArray[np.int64], cells: int) -> list[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Return the two cells that each of the pixels ``places`` ``(N,)`` votes for, with its shares, ``(N,)`` each."""
    middle = (places + 0.5) / CELL - 0.5
    before = np.floor(middle).astype(np.int64)
    pairs = [(before, before + 1 - middle), (before + 1, middle - before)]
    return [(np.clip(cell, 0, cells - 1), share * ((cell >= 0) & (cell < cells))) for cell, share in pairs]


def correlate(grid: NDArray[np.float32], filters: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    """Return the score of each filter at every window of ``grid``, without a bias; see `Correlator`."""
    return Correlator(filters)(grid)


class Correlator:
    """Filters made ready for many grids.

    Args:
        filters: ``(h, w, channels)`` each.
    """

    def __init__(self, filters: Sequence[NDArray[np.float32]]) -> None:
        self._count = len(filters)
        by_shape: dict[tuple[int, ...], list[int]] = {}
        for position, weights in enumerate(filters):
            by_shape.setdefault(weights.shape, []).append(position)
        # Of one shape ten together take a tenth of the time.
        self._alike = [
            (positions, torch.from_numpy(np.stack([filters[position] for position in positions])).permute(0, 3, 1, 2))
            for positions in by_shape.values()
        ]

    def __call__(self, grid: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Return for each filter ``(rows - h + 1, columns - w + 1)``.

        At ``y, x`` is the sum of ``grid[y : y + h, x : x + w]``, of a grid ``(rows, columns, channels)``, times the
        filter. A filter larger than the grid has no window.
        """
        scores: list[NDArray[np.float32]] = [np.zeros((0, 0), np.float32)] * self._count
        image = torch.from_numpy(grid).permute(2, 0, 1)[None]
        for positions, weights in self._alike:
            for position, found in zip(positions, _responses(image, weights), strict=True):
                scores[position] = found
        return scores


def _responses(image: torch.Tensor, weights: torch.Tensor) -> NDArray[np.float32]:
    """Return the scores of filters ``(F, channels, h, w)``, ``(F, rows, columns)``."""
    down, across = (max(image.shape[axis] - weights.shape[axis] + 1, 0) for axis in (2, 3))
    if not down * across:
        return np.zeros((len(weights), down, across), np.float32)
    packed = weights.contiguous(memory_format=torch.channels_last)
    return torch.nn.functional.conv2d(image, packed)[0].numpy()
