"""Which detections of a class are right at which overlaps, image by image: what a bootstrap over images resamples.

A verdict depends on its image alone, by VOC's rules as by COCO's; so it holds however often the image is drawn.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.boxes import to_xywh
from pipeline.data.index import ImageRecord, Index
from pipeline.evaluation.coco_ap import IOUS
from pipeline.evaluation.detections import Detections
from pipeline.evaluation.ranking import by_image, judge, objects_per_image

# COCO's limit on the detections of a class in an image.
MOST_PER_IMAGE = 100


@dataclass(frozen=True)
class Verdicts:
    """The K detections of one class, best first, judged at T overlaps.

    Attributes:
        images: ``(K,)`` int64, positions in the index's images.
        correct: ``(T, K)`` bool.
        ignored: ``(T, K)`` bool, neither right nor wrong.
        objects: ``(images,)`` int64, the objects to find in each image of the index.
    """

    images: NDArray[np.int64]
    correct: NDArray[np.bool_]
    ignored: NDArray[np.bool_]
    objects: NDArray[np.int64]


def voc_verdicts(index: Index, detections: Detections, label: int, iou: float) -> Verdicts:
    """Judge the detections of class ``label`` by VOC's rules at the one overlap ``iou``."""
    mine, correct, ignored = judge(index, detections, label, iou)
    return Verdicts(_positions(index, mine), correct[None], ignored[None], objects_per_image(index, label))


def coco_verdicts(index: Index, detections: Detections, label: int) -> Verdicts:
    """Judge the detections of class ``label`` by COCO's rules at the ten overlaps of `IOUS` (``cocoeval.py``).

    Unlike VOC's there is a second choice: a detection takes the unclaimed object that it overlaps most. Objects to
    ignore are crowds, as in `coco_ap`. Equal scores go by image id, then keep their order.
    """
    mine = detections.take(detections.labels == label)
    mine = _best_per_image(mine.take(np.lexsort((mine.image_ids, -mine.scores))))
    correct = np.zeros((len(IOUS), len(mine)), np.bool_)
    ignored = np.zeros_like(correct)
    for image, rows in by_image(index, mine, label):
        correct[:, rows], ignored[:, rows] = _coco_match(mine.take(rows), image, label)
    return Verdicts(_positions(index, mine), correct, ignored, objects_per_image(index, label))


def _coco_match(detections: Detections, image: ImageRecord, label: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Match one image's detections, best first, with its objects of a class: correct and ignored, ``(T, D)`` each."""
    from faster_coco_eval.core import mask

    of_class = image.labels == label
    crowd = image.ignore[of_class]
    # With the library's own arithmetic, so that a bit more or less decides nothing.
    overlaps = mask.iou(to_xywh(detections.boxes), to_xywh(image.boxes[of_class]), crowd.astype(int).tolist())
    free = np.tile(~crowd, (len(IOUS), 1))  # (T, objects)
    correct = np.zeros((len(IOUS), len(detections)), np.bool_)
    ignored = np.zeros_like(correct)
    for i, overlap in enumerate(np.asarray(overlaps)):
        passes = overlap >= IOUS[:, None]
        candidates = np.where(passes & free, overlap, -1.0)[:, ::-1]  # Reversed: of equal overlaps the last wins.
        best = candidates.shape[1] - 1 - candidates.argmax(axis=1)
        hit = candidates.max(axis=1) >= 0
        free[hit, best[hit]] = False
        correct[:, i] = hit
        ignored[:, i] = ~hit & (passes & crowd).any(axis=1)
    return correct, ignored


def _best_per_image(ranked: Detections) -> Detections:
    """Return the first `MOST_PER_IMAGE` of each image, in their order."""
    order = np.argsort(ranked.image_ids, kind="stable")
    _, starts, counts = np.unique(ranked.image_ids[order], return_index=True, return_counts=True)
    place = np.empty(len(ranked), np.int64)
    place[order] = np.arange(len(ranked)) - np.repeat(starts, counts)
    return ranked.take(place < MOST_PER_IMAGE)


def _positions(index: Index, detections: Detections) -> NDArray[np.int64]:
    """Return the position in the index of each detection's image."""
    ids = np.array([image.id for image in index.images], np.int64)
    order = np.argsort(ids)
    return order[np.searchsorted(ids, detections.image_ids, sorter=order)]
