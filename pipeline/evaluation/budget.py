"""The papers' limit on detections: so many of each class over all images, before the last suppression.

The official codes reach it with a threshold that rises while the images go by (``rcnn_test.m``, ``spp_test.m``,
``lib/fast_rcnn/test.py``), and end with one threshold a class. A single image has no such budget: it gets the
thresholds that a whole split ended with.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

LeastScores = Mapping[int, float]
"""By label, the least score that is kept; a class that is not in it has no limit."""


def within_budget(
    labels: NDArray[np.int64], scores: NDArray[np.float32], most: int
) -> tuple[NDArray[np.bool_], LeastScores]:
    """Return which candidates ``(N,)`` are among the ``most`` best of their class, and where that leaves the limits.

    Of equal scores the first are kept. Only classes that had more than ``most`` candidates get a limit: halfway between
    the last that is kept and the first that is not, so that last bits do not decide.
    """
    keep = np.zeros(len(labels), np.bool_)
    least = {}
    for label in np.unique(labels).tolist():
        own = np.flatnonzero(labels == label)
        ranked = own[np.argsort(-scores[own], kind="stable")]
        keep[ranked[:most]] = True
        if len(own) > most:
            least[label] = (float(scores[ranked[most - 1]]) + float(scores[ranked[most]])) / 2
    return keep, least


def above_least(labels: NDArray[np.int64], scores: NDArray[np.float32], least: LeastScores) -> NDArray[np.bool_]:
    """Return which candidates ``(N,)`` reach the limit of their class."""
    limits = np.array([least.get(label, -np.inf) for label in labels.tolist()], np.float32)
    return scores >= limits
