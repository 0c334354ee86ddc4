"""Spatial pyramid matching of whole images (Lazebnik, Schmid and Ponce, CVPR 2006, section 3).

The kernel is a weighted sum of histogram intersections over the levels. As ``c min(a, b) = min(c a, c b)``, it is one
intersection of weighted histograms, one after the other. Every histogram is divided by the patches of the image, not of
the cell.
"""

import numpy as np
from numpy.typing import NDArray

from pipeline.linear.classification import train_image_svms, unit_norm
from pipeline.systems.bow.params import WholeImages
from pipeline.systems.bow.words import Grid

# Values of two images that are compared at a time: bounds the memory of a kernel.
_AT_ONCE = 1 << 22
# Order and period of the explicit map: three values for one are within 2 % of the exact kernel where it is large.
_MAP = (1, 0.65)


def level_weight(level: int, levels: int) -> float:
    """Return the weight of ``level`` among 0 to ``levels``: 1/2^L for level 0, 1/2^(L - l + 1) for the others."""
    return 0.5 ** (levels if level == 0 else levels - level + 1)


def pyramid_histogram(points: NDArray, words: NDArray, vocabulary: int, levels: int) -> NDArray[np.float32]:
    """Return the weighted histograms of all cells of the levels 0 to ``levels``, one after the other.

    Args:
        points: ``(N, 2)``, the middles of the patches as shares of the image's width and height.
        words: ``(N,)`` of the patches.
        vocabulary: number of words.
        levels: the finest level; it has ``4 ** levels`` cells.
    """
    parts = []
    for level in range(levels + 1):
        side = 2**level
        columns, rows = np.minimum((points * side).astype(np.int64), side - 1).T
        bins = (rows * side + columns) * vocabulary + words
        counts = np.bincount(bins, minlength=side * side * vocabulary)
        parts.append(counts * (level_weight(level, levels) / max(1, len(words))))
    return np.concatenate(parts).astype(np.float32)


def image_histogram(words: NDArray[np.uint16], grid: Grid, vocabulary: int, levels: int) -> NDArray[np.float32]:
    """Return the `pyramid_histogram` of an image from its words ``(rows, columns)``."""
    return pyramid_histogram(grid.points / grid.shrunk, words.ravel().astype(np.int64), vocabulary, levels)


def intersection(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the sums of the smaller values of each pair of rows of ``(N, width)`` and ``(M, width)``: ``(N, M)``."""
    kernel = np.empty((len(a), len(b)), np.float32)
    together = max(1, _AT_ONCE // max(1, b.size))
    for start in range(0, len(a), together):
        part = slice(start, start + together)
        kernel[part] = np.minimum(a[part, None], b).sum(axis=2)
    return kernel


def intersection_map(values: NDArray[np.float32], order: int, period: float) -> NDArray[np.float32]:
    """Return ``2 order + 1`` values for each one, ``(N, width)``, whose scalar products approximate the intersection.

    ``min(x, y) = sqrt(x y) exp(-|log x - log y| / 2)``, whose spectrum ``2 / (pi (1 + 4 f^2))`` is sampled at multiples
    of ``period``. Source: Vedaldi and Zisserman, Efficient additive kernels via explicit feature maps, section 3.
    """
    logs = np.log(np.maximum(values, np.finfo(np.float32).tiny))
    parts = [np.sqrt(values * period * 2 / np.pi)]
    for step in range(1, order + 1):
        frequency = step * period
        size = np.sqrt(values * 2 * period * 2 / (np.pi * (1 + 4 * frequency**2)))
        parts += [size * np.cos(frequency * logs), size * np.sin(frequency * logs)]
    return np.concatenate(parts, axis=1)


def image_scores(
    fitted: NDArray[np.float32],
    present: NDArray[np.int8],
    judged: NDArray[np.float32],
    settings: WholeImages,
    seed: int,
) -> NDArray[np.float32]:
    """Train one SVM a class on the histograms ``fitted`` and return the scores of ``judged``: ``(images, classes)``.

    Args:
        fitted: ``(N, width)``.
        present: ``(N, classes)``, see `pipeline.linear.classification.presence`.
        judged: ``(M, width)``.
        settings: choose the kernel, and between the exact intersection and its explicit map.
        seed: of the solver.

    A class that all or none of the images show gets a score of minus infinity.
    """
    from sklearn.svm import SVC

    if settings.kernel == "linear":
        return train_image_svms(unit_norm(fitted), present, settings.C, seed)(unit_norm(judged))
    if len(fitted) > settings.exact_up_to:
        model = train_image_svms(intersection_map(fitted, *_MAP), present, settings.C, seed)
        return model(intersection_map(judged, *_MAP))
    kernel, between = intersection(fitted, fitted), intersection(judged, fitted)
    scores = np.full((len(judged), present.shape[1]), -np.inf, np.float32)
    for label in range(present.shape[1]):
        clear = present[:, label] >= 0
        truth = present[clear, label] == 1
        if truth.any() and not truth.all():
            svm = SVC(C=settings.C, kernel="precomputed").fit(kernel[np.ix_(clear, clear)], truth)
            scores[:, label] = svm.decision_function(between[:, clear])
    return scores
