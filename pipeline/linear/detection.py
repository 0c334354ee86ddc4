"""From region features to detections: scores, limits, regression, suppression (``rcnn_test.m``, ``spp_test.m``).

`detect` goes over the cached features of a split, `detect_one` over those of one image that were just computed; both do
the same with an image's regions.

How R-CNN and SPP-net end: SVMs on one layer of a region's features, box regression on another.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.core.boxes import Boxes, clip, nms
from pipeline.core.clock import NULL_CLOCK, Clock
from pipeline.core.runtime import progress
from pipeline.core.sections import Detection
from pipeline.detector import Description, Found
from pipeline.evaluation.detections import Detections, LeastScores, above_least, within_budget
from pipeline.features.cache import saturate
from pipeline.features.regions import RegionFeatures
from pipeline.linear.model import LinearModel
from pipeline.linear.ridge import BoxRegressor


def detect(
    cache: RegionFeatures,
    sizes: Sequence[tuple[int, int]],
    svm: LinearModel,
    regressor: BoxRegressor | None,
    settings: Detection,
) -> tuple[Detections, LeastScores]:
    """Detect in all images of a split; return too the least scores that the budget over its images left.

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
    candidates = _candidates(cache, svm, settings)
    kept, least = within_budget(candidates.labels, candidates.scores, len(cache) * settings.per_class_budget)
    candidates = candidates.take(kept)
    boxes = cache.table("boxes")
    boxes_of = boxes[candidates.rows] if regressor is None else _regressed(cache, candidates, boxes, regressor)
    images = [
        _suppressed(int(cache.image_ids[image]), boxes_of[a:b], candidates.part(a, b), sizes[image], settings.nms)
        for image, a, b in candidates.by_image()
    ]
    return Detections.join(images), least


def detect_one(
    boxes: Boxes,
    features: Callable[[str, NDArray[np.int64]], NDArray],
    size: tuple[int, int],
    svm: LinearModel,
    regressor: BoxRegressor | None,
    settings: Detection,
    least: LeastScores,
    clock: Clock = NULL_CLOCK,
) -> Detections:
    """Detect in one image among the proposals ``boxes`` (N, 4); its id is given as 0.

    Args:
        boxes: of the image, which has ``size`` ``(width, height)``.
        features: returns the values of a layer, ``(len(rows), width)``, for some rows of ``boxes``.
        size: see ``boxes``.
        svm: as for `detect`.
        regressor: as for `detect`.
        settings: as for `detect`; instead of its budget, ``least`` limits the number of boxes.
        least: what `detect` left.
        clock: times ``svm``, ``suppression`` and ``box_regression``.
    """
    with clock.phase("svm"):
        scores = svm(features(svm.layer, np.arange(len(boxes))))
    with clock.phase("suppression"):
        candidates = _best_regions(boxes, scores, svm.known, settings)
        candidates = candidates.take(above_least(candidates.labels, candidates.scores, least))
    moved = boxes[candidates.rows]
    if regressor is not None:
        with clock.phase("box_regression"):
            moved = regressor(features(regressor.model.layer, candidates.rows), moved, candidates.labels)
    with clock.phase("suppression"):
        return _suppressed(0, moved, candidates, size, settings.nms)


@dataclass(frozen=True)
class _Candidates:
    """Scored regions sorted by image, then class: position of the image, row, label and score, each ``(N,)``.

    Rows count within the cache, or within the one image.
    """

    images: NDArray[np.int64]
    rows: NDArray[np.int64]
    labels: NDArray[np.int64]
    scores: NDArray[np.float32]

    def take(self, which: NDArray[np.bool_] | slice) -> "_Candidates":
        return _Candidates(self.images[which], self.rows[which], self.labels[which], self.scores[which])

    def part(self, start: int, stop: int) -> "_Candidates":
        return self.take(slice(start, stop))

    def by_image(self) -> Iterator[tuple[int, int, int]]:
        """Yield each image that has any, and its stretch."""
        return ((int(self.images[a]), a, b) for a, b in _stretches(self.images))


def _stretches(values: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Yield the stretches of equal values."""
    edges = [0, *(np.flatnonzero(np.diff(values)) + 1).tolist(), len(values)]
    return ((a, b) for a, b in pairwise(edges) if b > a)


def _candidates(cache: RegionFeatures, svm: LinearModel, settings: Detection) -> _Candidates:
    """Return the best regions of each image and class, without ground truth and classes that have no SVM."""
    ground_truth, boxes = cache.table("is_ground_truth"), cache.table("boxes")
    parts = [_none()]
    for image, features in progress(cache.images(svm.layer), "scoring regions", total=len(cache)):
        first = cache.offsets[image]
        rows = np.flatnonzero(~ground_truth[first : cache.offsets[image + 1]])
        found = _best_regions(boxes[first + rows], svm(features[rows]), svm.known, settings)
        parts.append(_Candidates(np.full(len(found.rows), image), first + rows[found.rows], found.labels, found.scores))
    return _joined(parts)


def _best_regions(
    boxes: Boxes, scores: NDArray[np.float32], labels: NDArray[np.int64], settings: Detection
) -> _Candidates:
    """Return the best of one image's ``boxes`` for each of ``labels``, given ``scores`` ``(N, classes)``."""
    parts = [_none()]
    for label in labels.tolist():
        best = _best(boxes, scores[:, label - 1], settings)
        here = np.zeros(len(best), np.int64)
        parts.append(_Candidates(here, best, here + label, scores[best, label - 1]))
    return _joined(parts)


def _best(boxes: Boxes, scores: NDArray[np.float32], settings: Detection) -> NDArray[np.int64]:
    """Return the positions of one class's best boxes in one image, best first."""
    order = np.argsort(-scores, kind="stable")
    if settings.min_score is not None:
        order = order[scores[order] > settings.min_score]
    if settings.nms_before:
        order = order[nms(boxes[order], scores[order], settings.nms)]
    return order[: settings.max_per_class]


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


def _suppressed(
    image_id: int, boxes: Boxes, candidates: _Candidates, size: tuple[int, int], threshold: float
) -> Detections:
    """Clip the ``boxes`` of one image's candidates and suppress class by class."""
    clipped, scores = clip(boxes, *size), candidates.scores
    kept = [a + nms(clipped[a:b], scores[a:b], threshold) for a, b in _stretches(candidates.labels)]
    rows = np.concatenate([np.zeros(0, np.int64), *kept])
    return Detections(np.full(len(rows), image_id, np.int64), candidates.labels[rows], clipped[rows], scores[rows])


def _none() -> _Candidates:
    empty = np.zeros(0, np.int64)
    return _Candidates(empty, empty, empty, np.zeros(0, np.float32))


def _joined(parts: Sequence[_Candidates]) -> _Candidates:
    return _Candidates(
        np.concatenate([part.images for part in parts]),
        np.concatenate([part.rows for part in parts]),
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.scores for part in parts]),
    )


@dataclass(frozen=True)
class RegionClassifier:
    """The linear models of one system.

    Attributes:
        svm: of the classes.
        regressor: None where the settings want none.
        settings: of the test.
        least: see `pipeline.evaluation.detections`.
        dtype: of the cache that the models were fitted on; features are rounded to it.
    """

    svm: LinearModel
    regressor: BoxRegressor | None
    settings: Detection
    least: LeastScores
    dtype: np.dtype

    @classmethod
    def load(cls, folder: Path, description: Description, dtype: str) -> "RegionClassifier":
        """Read the models that the system's stages left in ``folder``."""
        settings = description.section("detect", Detection)
        svm = LinearModel.load(folder / "svm.safetensors", f"{description.system}_svm")
        regressor = BoxRegressor.load(folder / "bbox.safetensors", f"{description.system}_bbox")
        return cls(svm, regressor if settings.box_regression else None, settings, description.least, np.dtype(dtype))

    @property
    def layers(self) -> tuple[str, ...]:
        """Return the names of the layers that are needed."""
        return tuple(sorted({self.svm.layer, *([self.regressor.model.layer] if self.regressor else [])}))

    def __call__(self, boxes: Boxes, taps: Mapping[str, torch.Tensor], size: tuple[int, int], clock: Clock) -> Found:
        """Detect among ``boxes`` (N, 4) of an image of ``size``, given the `layers` ``(N, width)`` of each.

        A layer leaves the device for the rows that are asked for, and no others.
        """

        def features(layer: str, rows: NDArray) -> NDArray:
            values = taps[layer]
            return saturate(values[torch.from_numpy(rows).to(values.device)], self.dtype).cpu().numpy()

        return Found.of(detect_one(boxes, features, size, self.svm, self.regressor, self.settings, self.least, clock))
