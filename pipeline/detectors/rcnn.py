"""R-CNN: fine-tuning on warped regions, and detections from region scores (R-CNN, sections 2.2 to 2.4)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pipeline.boxes import Boxes, best_match, clip, nms
from pipeline.classical.box_regression import BoxRegressor
from pipeline.classical.linear import LinearModel
from pipeline.data.image_cache import ImageCache
from pipeline.data.index import ImageRecord
from pipeline.errors import InputError
from pipeline.evaluation.detections import Detections
from pipeline.features.cache import FeatureCache
from pipeline.features.window_batches import WindowBatch, Windows, collect
from pipeline.params import Detection, Finetune
from pipeline.runtime import item_rng, progress


def label_windows(
    images: Sequence[ImageRecord], proposals: Sequence[Boxes], settings: Finetune
) -> tuple[Windows, Windows]:
    """Return the foreground and the background windows of all images.

    Candidates are the proposals and the ground truth, difficult objects included. Foreground overlaps an object by
    ``foreground_iou`` or more and has the label of the one it overlaps most; background has its best overlap in
    ``background_iou``, upper end excluded. Source: R-CNN, appendix B; the window files of the official code.
    """
    low, high = settings.background_iou
    parts = []
    for position, (image, boxes) in enumerate(zip(images, proposals, strict=True)):
        candidates = np.concatenate([image.boxes, boxes])
        best, overlap = best_match(candidates, image.boxes)
        labels = image.labels[best] if len(image.labels) else np.zeros(len(candidates), np.int64)
        parts.append((np.full(len(candidates), position, np.int64), candidates, labels, overlap))
    where, boxes, labels, overlap = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    foreground = overlap >= settings.foreground_iou
    background = ~foreground & (overlap >= low) & (overlap < high)
    still = np.zeros(len(where), np.bool_)
    return (
        Windows(where[foreground], boxes[foreground], labels[foreground], still[foreground]),
        Windows(where[background], boxes[background], np.zeros(background.sum(), np.int64), still[background]),
    )


class FinetuneBatches:
    """Makes the batch of a step: windows drawn evenly from all foreground and from all background windows.

    Images with many windows thus weigh more, as in the official code. A kind that does not exist is left out.

    Raises:
        InputError: there is no foreground window.
    """

    def __init__(
        self, foreground: Windows, background: Windows, images: ImageCache, settings: Finetune, size: int, seed: int
    ) -> None:
        if not len(foreground):
            raise InputError("rcnn_finetune: no window overlaps an object; the training splits need annotated objects.")
        self._kinds = ((foreground, settings.foreground), (background, settings.background))
        self._images, self._flip, self._size, self._seed = images, settings.flip, size, seed

    def __call__(self, step: int) -> WindowBatch:
        """Return the batch of ``step``."""
        rng = item_rng(self._seed, "windows", step)
        drawn = []
        for windows, count in self._kinds:
            if len(windows):
                rows = rng.integers(len(windows), size=count)
                mirrored = (rng.random(count) < 0.5) & self._flip
                drawn.append(windows.take(rows, mirrored))
        both = Windows(
            np.concatenate([w.images for w in drawn]),
            np.concatenate([w.boxes for w in drawn]),
            np.concatenate([w.labels for w in drawn]),
            np.concatenate([w.mirrored for w in drawn]),
        )
        return collect(both, self._images, self._size)


def detect(
    cache: FeatureCache,
    sizes: Sequence[tuple[int, int]],
    svm: LinearModel,
    regressor: BoxRegressor | None,
    settings: Detection,
) -> Detections:
    """Detect in all images of a cache.

    Scores come first, then the limits on the number of boxes, then box regression on what is left, clipping, and
    suppression class by class (``rcnn_test.m`` and ``imdb_eval_voc.m``). Ground-truth rows of the cache are left out.

    Args:
        cache: of the images' regions, with the layers of ``svm`` and ``regressor``.
        sizes: ``(width, height)`` of each image.
        svm: region scores, one output a class.
        regressor: None detects with the proposals themselves.
        settings: limits and thresholds.
    """
    candidates = _limit(_candidates(cache, svm, settings.max_per_class), len(cache) * settings.per_class_budget)
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


def _candidates(cache: FeatureCache, svm: LinearModel, most: int) -> _Candidates:
    """Return the ``most`` best regions of each image and class, without ground truth and classes that have no SVM."""
    ground_truth = cache.table("is_ground_truth")
    parts: list[tuple[NDArray, ...]] = []
    for image, features in progress(cache.images(svm.layer), "scoring regions", total=len(cache)):
        rows = np.flatnonzero(~ground_truth[cache.offsets[image] : cache.offsets[image + 1]])
        scores = svm(features[rows])
        for label in np.flatnonzero(np.isfinite(svm.bias)).tolist():
            best = np.argsort(-scores[:, label], kind="stable")[:most]
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


def _limit(candidates: _Candidates, most: int) -> _Candidates:
    """Keep the ``most`` best of each class over all images.

    The official code reaches the same set with a threshold that rises while the images go by.
    """
    keep = np.zeros(len(candidates.rows), np.bool_)
    for label in np.unique(candidates.labels):
        own = np.flatnonzero(candidates.labels == label)
        keep[own[np.argsort(-candidates.scores[own], kind="stable")[:most]]] = True
    return _Candidates(candidates.images[keep], candidates.rows[keep], candidates.labels[keep], candidates.scores[keep])


def _regressed(cache: FeatureCache, candidates: _Candidates, boxes: Boxes, regressor: BoxRegressor) -> Boxes:
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
