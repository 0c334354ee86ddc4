"""From scored regions to detections: the two published protocols, which give different ends of the curves."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.boxes import nms
from pipeline.detectors.fast_rcnn.score import ScoredRegions
from pipeline.evaluation.detections import Detections
from pipeline.params import RegionScoring


def postprocess(images: Iterable[tuple[int, ScoredRegions]], settings: RegionScoring) -> Detections:
    """Return the detections in ``images``: pairs of an image's id and its scored regions.

    ``budget`` (``lib/fast_rcnn/test.py`` of Fast R-CNN): the ``max_per_class`` best regions of each class and image,
    of those the ``per_class_budget`` times images best of each class, then suppression. ``threshold`` (the same file of
    py-faster-rcnn): regions above ``min_score``, suppression, then the ``max_per_image`` best of all classes. A class
    with a score of minus infinity is never detected.
    """
    by_budget = settings.protocol == "budget"
    found, ids = [], []
    for image_id, regions in images:
        own = _best(image_id, regions, settings) if by_budget else _above(image_id, regions, settings)
        found.append(own)
        ids.append(image_id)
    detections = _join(found)
    if not by_budget:
        return detections
    return _suppressed(_limit(detections, settings.per_class_budget * len(ids)), settings.nms)


def _best(image_id: int, regions: ScoredRegions, settings: RegionScoring) -> Detections:
    parts = []
    for column in range(regions.scores.shape[1]):
        rows = np.flatnonzero(np.isfinite(regions.scores[:, column]))
        best = rows[np.argsort(-regions.scores[rows, column], kind="stable")[: settings.max_per_class]]
        parts.append(_of_class(image_id, regions, column, best))
    return _join(parts)


def _above(image_id: int, regions: ScoredRegions, settings: RegionScoring) -> Detections:
    parts = []
    for column in range(regions.scores.shape[1]):
        rows = np.flatnonzero(regions.scores[:, column] > settings.min_score)
        kept = nms(regions.boxes[rows, column], regions.scores[rows, column], settings.nms)
        parts.append(_of_class(image_id, regions, column, rows[kept]))
    found = _join(parts)
    return found.take(np.argsort(-found.scores, kind="stable")[: settings.max_per_image])


def _of_class(image_id: int, regions: ScoredRegions, column: int, rows: NDArray[np.int64]) -> Detections:
    return Detections(
        np.full(len(rows), image_id, np.int64),
        np.full(len(rows), column + 1, np.int64),
        regions.boxes[rows, column],
        regions.scores[rows, column],
    )


def _limit(detections: Detections, most: int) -> Detections:
    """Keep the ``most`` best of each class over all images."""
    keep = np.zeros(len(detections), np.bool_)
    for label in np.unique(detections.labels):
        own = np.flatnonzero(detections.labels == label)
        keep[own[np.argsort(-detections.scores[own], kind="stable")[:most]]] = True
    return detections.take(keep)


def _suppressed(detections: Detections, threshold: float) -> Detections:
    """Suppress within each image and class; both stand together, as `_best` put them."""
    keys = np.stack([detections.image_ids, detections.labels], axis=1)
    edges = np.flatnonzero((np.diff(keys, axis=0) != 0).any(axis=1)) + 1
    kept = [
        own[nms(detections.boxes[own], detections.scores[own], threshold)]
        for own in np.split(np.arange(len(detections)), edges)
    ]
    return detections.take(np.concatenate(kept))


def _join(parts: Sequence[Detections]) -> Detections:
    return Detections(
        np.concatenate([np.zeros(0, np.int64), *(part.image_ids for part in parts)]),
        np.concatenate([np.zeros(0, np.int64), *(part.labels for part in parts)]),
        np.concatenate([np.zeros((0, 4), np.float32), *(part.boxes for part in parts)]),
        np.concatenate([np.zeros(0, np.float32), *(part.scores for part in parts)]),
    )
