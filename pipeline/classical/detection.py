"""From region features to detections: scores, limits, regression, suppression (``rcnn_test.m``, ``spp_test.m``)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pipeline.boxes import Boxes, clip, nms
from pipeline.classical.box_regression import BoxRegressor
from pipeline.classical.linear import LinearModel
from pipeline.evaluation.detections import Detections
from pipeline.features.region_features import RegionFeatures
from pipeline.params import Detection
from pipeline.runtime import progress


def detect(
    cache: RegionFeatures,
    sizes: Sequence[tuple[int, int]],
    svm: LinearModel,
    regressor: BoxRegressor | None,
    settings: Detection,
) -> Detections:
    """Detect in all images of a split.

    Scores come first, then suppression where ``nms_before`` asks for it (SPP-net), then the limits on the number of
    boxes, then box regression on what is left, clipping, and suppression class by class (``rcnn_test.m``,
    ``spp_test.m`` and ``imdb_eval_voc.m``). Ground-truth rows are left out.

    Args:
        cache: features of the images' regions, with the layers of ``svm`` and ``regressor``.
        sizes: ``(width, height)`` of each image.
        svm: region scores, one output a class.
        regressor: None detects with the proposals themselves.
        settings: limits and thresholds.
    """
    candidates = _limit(_candidates(cache, svm, settings), len(cache) * settings.per_class_budget)
    boxes = cache.table("boxes")
    boxes_of = boxes[candidates.rows] if regressor is None else _regressed(cache, candidates, boxes, regressor)
    found = []
    for start, stop in candidates.groups():
        image, label = int(candidates.images[start]), int(candidates.labels[start])
        own, scores = clip(boxes_of[start:stop], *sizes[image]), candidates.scores[start:stop]
        kept = nms(own, scores, settings.nms)
        found.append((int(cache.image_ids[image]), label, own[kept], scores[kept]))
    return _gather(found)


@dataclass(frozen=True)
class _Candidates:
    """Scored regions sorted by image, then class: position of the image, cache row, label and score, each ``(N,)``."""

    images: NDArray[np.int64]
    rows: NDArray[np.int64]
    labels: NDArray[np.int64]
    scores: NDArray[np.float32]

    def groups(self) -> Iterator[tuple[int, int]]:
        """Yield the stretch of each image and class."""
        change = np.flatnonzero(np.diff(self.images) | np.diff(self.labels)) + 1
        edges = [0, *change.tolist(), len(self.rows)]
        return ((a, b) for a, b in pairwise(edges) if b > a)


def _candidates(cache: RegionFeatures, svm: LinearModel, settings: Detection) -> _Candidates:
    """Return the best regions of each image and class, without ground truth and classes that have no SVM."""
    ground_truth, boxes = cache.table("is_ground_truth"), cache.table("boxes")
    parts: list[tuple[NDArray, ...]] = []
    for image, features in progress(cache.images(svm.layer), "scoring regions", total=len(cache)):
        rows = np.flatnonzero(~ground_truth[cache.offsets[image] : cache.offsets[image + 1]])
        scores = svm(features[rows])
        own = boxes[rows + cache.offsets[image]]
        for label in np.flatnonzero(np.isfinite(svm.bias)).tolist():
            best = _best(own, scores[:, label], settings)
            parts.append(
                (
                    np.full(len(best), image, np.int64),
                    rows[best] + cache.offsets[image],
                    np.full(len(best), label + 1, np.int64),
                    scores[best, label],
                )
            )
    columns = zip(*parts, strict=True) if parts else ([np.zeros(0, np.int64)] for _ in range(4))
    images, regions, labels, scores = (np.concatenate(list(column)) for column in columns)
    return _Candidates(images, regions, labels, scores.astype(np.float32))


def _best(boxes: Boxes, scores: NDArray[np.float32], settings: Detection) -> NDArray[np.int64]:
    """Return the positions of one class's best boxes in one image, best first."""
    order = np.argsort(-scores, kind="stable")
    if settings.min_score is not None:
        order = order[scores[order] > settings.min_score]
    if settings.nms_before:
        order = order[nms(boxes[order], scores[order], settings.nms)]
    return order[: settings.max_per_class]


def _limit(candidates: _Candidates, most: int) -> _Candidates:
    """Keep the ``most`` best of each class over all images.

    The official code reaches the same set with a threshold that rises while the images go by.
    """
    keep = np.zeros(len(candidates.rows), np.bool_)
    for label in np.unique(candidates.labels):
        own = np.flatnonzero(candidates.labels == label)
        keep[own[np.argsort(-candidates.scores[own], kind="stable")[:most]]] = True
    return _Candidates(candidates.images[keep], candidates.rows[keep], candidates.labels[keep], candidates.scores[keep])


def _regressed(cache: RegionFeatures, candidates: _Candidates, boxes: Boxes, regressor: BoxRegressor) -> Boxes:
    """Return the candidates' boxes, moved by the regressor of their class."""
    moved = boxes[candidates.rows]
    images = cache.images(regressor.model.layer)
    for image, features in progress(images, "regressing boxes", total=len(cache)):
        start, stop = np.searchsorted(candidates.images, [image, image + 1])
        if stop > start:
            own = features[candidates.rows[start:stop] - cache.offsets[image]]
            moved[start:stop] = regressor(own, moved[start:stop], candidates.labels[start:stop])
    return moved


def _gather(found: Sequence[tuple[int, int, Boxes, NDArray[np.float32]]]) -> Detections:
    counts = [len(scores) for *_, scores in found]
    return Detections(
        np.repeat(np.array([image for image, *_ in found], np.int64), counts),
        np.repeat(np.array([label for _, label, *_ in found], np.int64), counts),
        np.concatenate([np.zeros((0, 4), np.float32), *(boxes for *_, boxes, _ in found)]),
        np.concatenate([np.zeros(0, np.float32), *(scores for *_, scores in found)]),
    )
