"""Average precision as the PASCAL VOC challenge computes it, from recall and precision along a ranking.

Defaults follow the Matlab devkit (``VOCevaldet.m``), the source of the papers' figures. py-faster-rcnn's
``voc_eval.py`` differs in two details, which `rank(strict=True)` and `RECALLS_PY_FASTER_RCNN` reproduce.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Tenths that equal the nearest double of k/10, so that a recall of 3/5 reaches 0.6: Matlab's 0:.1:1.
RECALLS_DEVKIT = np.arange(11) / 10
# Three of these lie a hair above their tenth (0.3, 0.6, 0.7), so that a recall of 3/5 misses the seventh.
RECALLS_PY_FASTER_RCNN = np.arange(0.0, 1.1, 0.1)


def eleven_point_ap(recall: ArrayLike, precision: ArrayLike, grid: NDArray[np.float64] = RECALLS_DEVKIT) -> float:
    """Return the AP of VOC2007: the mean over ``grid`` of the greatest precision at that recall or more.

    Args:
        recall: ``(K,)``, ascending along the ranking.
        precision: ``(K,)``.
        grid: recall levels.
    """
    return float(ap_on_grid(recall, precision, grid))


def area_ap(recall: ArrayLike, precision: ArrayLike) -> float:
    """Return the AP of VOC2010 and later: the area under the monotone envelope of the curve.

    Args:
        recall: ``(K,)``, ascending along the ranking.
        precision: ``(K,)``.
    """
    return float(ap_under_curve(recall, precision))


def ap_on_grid(recall: ArrayLike, precision: ArrayLike, grid: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean over ``grid`` of the greatest precision at that recall or more, for any number of curves.

    Args:
        recall: ``(..., K)``, ascending along the last axis.
        precision: ``(..., K)``.
        grid: recall levels, ascending from 0.

    Returns:
        ``(...)``.
    """
    reached = np.searchsorted(grid, np.asarray(recall, np.float64), "right")
    return (np.diff(reached, prepend=0) * _envelope(precision)).sum(axis=-1) / len(grid)


def ap_under_curve(recall: ArrayLike, precision: ArrayLike) -> NDArray[np.float64]:
    """Return the area under the monotone envelope of any number of curves: ``(..., K)`` to ``(...)``."""
    steps = np.diff(np.asarray(recall, np.float64), prepend=0.0)
    return (steps * _envelope(precision)).sum(axis=-1)


def precision_at(recall: ArrayLike, precision: ArrayLike, grid: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the greatest precision at each recall of ``grid`` or more, 0 where it is not reached: ``(len(grid),)``."""
    first = np.searchsorted(np.asarray(recall, np.float64), grid, "left")
    return np.append(_envelope(precision), 0.0)[first]


def _envelope(precision: ArrayLike) -> NDArray[np.float64]:
    """Return for each position of the last axis the greatest precision from there on."""
    return np.maximum.accumulate(np.asarray(precision, np.float64)[..., ::-1], axis=-1)[..., ::-1]
