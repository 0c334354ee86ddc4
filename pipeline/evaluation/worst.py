"""Where to look first: the images with the most errors, and the errors that a detector is surest of.

Scores of two classes, or of two systems, share no scale. How sure a detector is of a false positive is told by what it
outranks: the share of the correct detections of its class that have a lower score. One that outranks none costs no AP;
one that outranks all stands at the head of the ranking.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from pipeline.data.index import Index
from pipeline.evaluation.detections import Detections
from pipeline.evaluation.voc import Ranking, positions


def outranked(detections: Detections, ranked: Mapping[str, Ranking]) -> NDArray[np.float64]:
    """Return which share of the correct detections of its class each detection outranks: ``(N,)``, 0 to 1.

    1 in a class without a correct detection. ``ranked`` has a ranking for each class, category id 1 first.
    """
    shares = np.ones(len(detections))
    for label, ranking in enumerate(ranked.values(), 1):
        rising = np.sort(ranking.scores[ranking.correct])
        rows = detections.labels == label
        if len(rising):
            shares[rows] = np.searchsorted(rising, detections.scores[rows], "left") / len(rising)
    return shares


def worst_images(
    index: Index, detections: Detections, correct: NDArray[np.bool_], weights: NDArray[np.float64], most: int
) -> list[tuple[int, float]]:
    """Return the ids of the images whose errors weigh most, and the sum of their weights, at most ``most`` of them.

    An object that is missed weighs 1, a false positive what it has `outranked`. Equal sums keep the images' order;
    images whose errors weigh nothing are left out.

    Args:
        index: the ground truth.
        detections: those that count, N.
        correct: ``(N,)``, each finds one object that is not to be ignored.
        weights: ``(N,)``, 0 where a detection is no false positive.
        most: see above.
    """
    sums = np.array([(~image.ignore).sum() for image in index.images], np.float64)
    np.add.at(sums, positions(index, detections), weights - correct)
    worst = np.argsort(-sums, kind="stable")[:most]
    return [(index.images[place].id, round(float(sums[place]), 3)) for place in worst if sums[place] > 0]


def surest_errors(
    detections: Detections, false: NDArray[np.bool_], weights: NDArray[np.float64], most: int
) -> NDArray[np.int64]:
    """Return the positions of the false positives that outrank most, of equal ones the best score first.

    Args:
        detections: N.
        false: ``(N,)``, which are false positives.
        weights: ``(N,)``, what they have `outranked`.
        most: how many to return at most.
    """
    order = np.lexsort((-detections.scores, -weights))
    return order[false[order]][:most]
