"""VOC's rules: which detections of a class are right, and the average precision of their ranking.

The rules are those of the Matlab devkit (``VOCevaldet.m``), the source of the papers' figures. py-faster-rcnn's
``voc_eval.py`` differs in two details, which `rank(strict=True)` and `RECALLS_PY_FASTER_RCNN` reproduce.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.core.boxes import best_match
from pipeline.data.index import ImageRecord, Index
from pipeline.evaluation.detections import Detections

# Exact tenths, the nearest doubles of k/10, so that a recall of 3/5 reaches 0.6. Matlab's 0:.1:1 has these but for 0.3,
# which lies 5.6e-17 above: there a recall of exactly 3/10, of a multiple of ten objects, misses the fourth.
RECALLS_DEVKIT = np.arange(11) / 10
# Three of these lie a hair above their tenth (0.3, 0.6, 0.7), so that a recall of 3/5 misses the seventh.
RECALLS_PY_FASTER_RCNN = np.arange(0.0, 1.1, 0.1)


@dataclass(frozen=True)
class Ranking:
    """The K detections of one class that count, best first, and the number of objects they were to find.

    Attributes:
        scores: ``(K,)`` float32, descending.
        correct: ``(K,)`` bool, true and false positives.
        positives: number of objects of the class that are not to be ignored.
    """

    scores: NDArray[np.float32]
    correct: NDArray[np.bool_]
    positives: int

    @property
    def recall(self) -> NDArray[np.float64]:
        """Recall after each detection, ``(K,)``; NaN where the class has no object."""
        if self.positives == 0:
            return np.full(len(self.correct), np.nan)
        return np.cumsum(self.correct) / self.positives

    @property
    def precision(self) -> NDArray[np.float64]:
        """Precision after each detection, ``(K,)``."""
        return np.cumsum(self.correct) / np.arange(1, len(self.correct) + 1)

    @property
    def f1(self) -> NDArray[np.float64]:
        """F1 after each detection, ``(K,)``: twice the hits over detections and objects together."""
        return 2 * np.cumsum(self.correct) / (np.arange(1, len(self.correct) + 1) + self.positives)


@dataclass(frozen=True)
class Verdicts:
    """The K detections of one class, best first, matched at T overlaps: what a bootstrap over images resamples.

    A verdict depends on its image alone, by VOC's rules as by COCO's, so it holds however often the image is drawn.

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


def rank(index: Index, detections: Detections, label: int, iou: float = 0.5, *, strict: bool = False) -> Ranking:
    """Rank and judge the detections of class ``label``; see `match_voc` for the rules and the arguments."""
    of_class, correct, ignored = match_voc(index, detections, label, iou, strict=strict)
    return Ranking(of_class.scores[~ignored], correct[~ignored], int(objects_per_image(index, label).sum()))


def pooled(ranked: Iterable[Ranking]) -> Ranking:
    """Return the detections of all classes as one ranking; equal scores keep their order."""
    parts = list(ranked)
    scores = np.concatenate([part.scores for part in parts])
    order = np.argsort(-scores, kind="stable")
    correct = np.concatenate([part.correct for part in parts])
    return Ranking(scores[order], correct[order], sum(part.positives for part in parts))


def match_voc(
    index: Index, detections: Detections, label: int, iou: float = 0.5, *, strict: bool = False
) -> tuple[Detections, NDArray[np.bool_], NDArray[np.bool_]]:
    """Return the K detections of class ``label``, best first, and which are correct ``(K,)`` and ignored ``(K,)``.

    Each detection looks at the object of its class and image that it overlaps most, objects to ignore (difficult)
    among them, and at no other. Where that overlap passes: an ignored object takes the detection out, an unclaimed
    one makes it correct, a claimed one wrong. Equal scores keep their order.

    Args:
        index: the ground truth.
        detections: of any classes.
        label: category id.
        iou: the overlap that passes.
        strict: an overlap of exactly ``iou`` fails (py-faster-rcnn's ``voc_eval.py``). The default lets it pass as
            the devkit's ``VOCevaldet.m`` does, which gave the published figures.
    """
    ranked = detections.take(detections.labels == label).ranked()
    correct, ignored = np.zeros(len(ranked), np.bool_), np.zeros(len(ranked), np.bool_)
    for image, rows in by_image(index, ranked, label):
        objects = image.labels == label
        best, overlap = best_match(ranked.boxes[rows], image.boxes[objects])
        passes = overlap > iou if strict else overlap >= iou
        on_ignored = image.ignore[objects][best]
        ignored[rows[passes & on_ignored]] = True
        hits = np.flatnonzero(passes & ~on_ignored)
        first_claims = np.unique(best[hits], return_index=True)[1]
        correct[rows[hits[first_claims]]] = True
    return ranked, correct, ignored


def voc_verdicts(index: Index, detections: Detections, label: int, iou: float) -> Verdicts:
    """Match the detections of class ``label`` by VOC's rules at the one overlap ``iou``."""
    of_class, correct, ignored = match_voc(index, detections, label, iou)
    return Verdicts(positions(index, of_class), correct[None], ignored[None], objects_per_image(index, label))


def objects_per_image(index: Index, label: int) -> NDArray[np.int64]:
    """Return how many objects of a class each image of the index holds, those to ignore left out: ``(images,)``."""
    return np.array([((image.labels == label) & ~image.ignore).sum() for image in index.images], np.int64)


def by_image(index: Index, ranked: Detections, label: int) -> Iterator[tuple[ImageRecord, NDArray[np.int64]]]:
    """Yield each image that holds the class and has detections, with their positions in ``ranked``, best first."""
    images = [image for image in index.images if (image.labels == label).any()]
    for image, rows in rows_by_image(images, ranked):
        if len(rows):
            yield image, rows


def rows_by_image(
    images: Sequence[ImageRecord], detections: Detections
) -> Iterator[tuple[ImageRecord, NDArray[np.int64]]]:
    """Yield each of ``images`` with the positions of its detections, in their order; there may be none."""
    order = np.argsort(detections.image_ids, kind="stable")
    sorted_ids = detections.image_ids[order]
    ids = [image.id for image in images]
    starts, ends = np.searchsorted(sorted_ids, ids, "left"), np.searchsorted(sorted_ids, ids, "right")
    for image, start, end in zip(images, starts, ends, strict=True):
        yield image, order[start:end]


def positions(index: Index, detections: Detections) -> NDArray[np.int64]:
    """Return the position in the index of each detection's image."""
    ids = np.array([image.id for image in index.images], np.int64)
    order = np.argsort(ids)
    return order[np.searchsorted(ids, detections.image_ids, sorter=order)]


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
