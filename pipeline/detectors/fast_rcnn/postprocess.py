"""From scored regions to detections: the two published protocols, which give different ends of the curves."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from pipeline.boxes import nms
from pipeline.detectors.fast_rcnn.score import ScoredRegions
from pipeline.evaluation.budget import LeastScores, above_least, within_budget
from pipeline.evaluation.detections import Detections
from pipeline.params.fast_rcnn import RegionScoring


def postprocess(images: Iterable[tuple[int, ScoredRegions]], settings: RegionScoring) -> tuple[Detections, LeastScores]:
    """Return the detections in ``images``, pairs of an image's id and its scored regions, and the limits of the budget.

    ``budget`` (``lib/fast_rcnn/test.py`` of Fast R-CNN): the ``max_per_class`` best regions of each class and image,
    of those the ``per_class_budget`` times images best of each class, then suppression. ``threshold`` (the same file of
    py-faster-rcnn): regions above ``min_score``, suppression, then the ``max_per_image`` best of all classes. A class
    with a score of minus infinity is never detected.
    """
    found = [_of_image(image_id, regions, settings) for image_id, regions in images]
    detections = Detections.join(found)
    if settings.protocol == "threshold":
        return detections, {}
    kept, least = within_budget(detections.labels, detections.scores, settings.per_class_budget * len(found))
    return _suppressed(detections.take(kept), settings.nms), least


def postprocess_one(regions: ScoredRegions, settings: RegionScoring, least: LeastScores) -> Detections:
    """Return the detections in one image, whose id is given as 0; the limits ``least`` stand for the budget."""
    found = _of_image(0, regions, settings)
    if settings.protocol == "threshold":
        return found
    return _suppressed(found.take(above_least(found.labels, found.scores, least)), settings.nms)


def _of_image(image_id: int, regions: ScoredRegions, settings: RegionScoring) -> Detections:
    chosen = _best if settings.protocol == "budget" else _above
    return chosen(image_id, regions, settings)


def _best(image_id: int, regions: ScoredRegions, settings: RegionScoring) -> Detections:
    parts = []
    for column in range(regions.scores.shape[1]):
        rows = np.flatnonzero(np.isfinite(regions.scores[:, column]))
        best = rows[np.argsort(-regions.scores[rows, column], kind="stable")[: settings.max_per_class]]
        parts.append(_of_class(image_id, regions, column, best))
    return Detections.join(parts)


def _above(image_id: int, regions: ScoredRegions, settings: RegionScoring) -> Detections:
    parts = []
    for column in range(regions.scores.shape[1]):
        rows = np.flatnonzero(regions.scores[:, column] > settings.min_score)
        kept = nms(regions.boxes[rows, column], regions.scores[rows, column], settings.nms)
        parts.append(_of_class(image_id, regions, column, rows[kept]))
    found = Detections.join(parts)
    return found.take(np.argsort(-found.scores, kind="stable")[: settings.max_per_image])


def _of_class(image_id: int, regions: ScoredRegions, column: int, rows: NDArray[np.int64]) -> Detections:
    return Detections(
        np.full(len(rows), image_id, np.int64),
        np.full(len(rows), column + 1, np.int64),
        regions.boxes[rows, column],
        regions.scores[rows, column],
    )


def _suppressed(detections: Detections, threshold: float) -> Detections:
    """Suppress within each image and class; both stand together, as `_best` put them."""
    keys = np.stack([detections.image_ids, detections.labels], axis=1)
    edges = np.flatnonzero((np.diff(keys, axis=0) != 0).any(axis=1)) + 1
    kept = [
        own[nms(detections.boxes[own], detections.scores[own], threshold)]
        for own in np.split(np.arange(len(detections)), edges)
    ]
    return detections.take(np.concatenate(kept))
