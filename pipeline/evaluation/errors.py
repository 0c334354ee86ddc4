"""What kind of errors a detector makes: badly placed, similar class, other class, or background.

The types are those of R-CNN's section 2.4 and YOLO's section 4.2, the rules those of the toolkit behind both
(``detectionAnalysis``: ``matchDetectionsWithGroundTruth.m``, ``analyzeFalsePositives.m``).
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.boxes import iou
from pipeline.data.index import Index
from pipeline.errors import InputError
from pipeline.evaluation.detections import Detections

TYPES = ("Correct", "Loc", "Sim", "Oth", "BG")
CORRECT, LOC, SIM, OTH, BG = range(5)
# Below this overlap with every object a detection lies on the background.
WEAK_IOU = 0.1


class Judgement(NamedTuple):
    """What one detection is.

    Attributes:
        row: its position in the detections that were judged.
        type: a position in `TYPES`; None where it claims an object to ignore, which is neither right nor wrong.
        claimed: the position of the object that it claims among those of its image; None where it claims none.
    """

    row: int
    type: int | None
    claimed: int | None


def similar_classes(classes: Sequence[str], sets: Mapping[str, Sequence[str]]) -> NDArray[np.bool_]:
    """Return which classes share a set, ``(C + 1, C + 1)`` by category id; no class is similar to itself.

    Raises:
        InputError: a set names a class that the dataset does not have.
    """
    similar = np.zeros((len(classes) + 1, len(classes) + 1), np.bool_)
    for name, members in sets.items():
        unknown = sorted(set(members) - set(classes))
        if unknown:
            raise InputError(
                f"evaluation.similar.{name}: {unknown[0]!r} is no class of the dataset; it has {', '.join(classes)}."
            )
        labels = [classes.index(member) + 1 for member in members]
        similar[np.ix_(labels, labels)] = True
    np.fill_diagonal(similar, False)
    return similar


def judge(
    index: Index, detections: Detections, label: int, similar: NDArray[np.bool_], threshold: float = 0.5
) -> Iterator[Judgement]:
    """Judge the detections of class ``label``, best score first; what one is depends on no later one.

    In this order: the unclaimed object of the class with the greatest overlap, if that is ``threshold`` or more, is
    claimed and the detection is Correct; an overlap of 0.1 or more with the class makes it Loc (badly placed, or a
    duplicate); with a similar class Sim; with any other Oth; else BG. Unlike the AP's rule there is a second choice.

    Args:
        index: the ground truth.
        detections: of any classes.
        label: category id.
        similar: from `similar_classes`.
        threshold: overlap of a correct detection.
    """
    images = {image.id: image for image in index.images}
    free = {image.id: image.labels == label for image in index.images}
    rows = np.flatnonzero(detections.labels == label)
    for row in rows[np.argsort(-detections.scores[rows], kind="stable")].tolist():
        image = images[int(detections.image_ids[row])]
        overlaps = iou(detections.boxes[row], image.boxes)[0]
        open_overlaps = np.where(free[image.id], overlaps, 0)
        if open_overlaps.max(initial=0) >= threshold:
            claimed = int(open_overlaps.argmax())
            free[image.id][claimed] = False
            yield Judgement(row, None if image.ignore[claimed] else CORRECT, claimed)
        else:
            yield Judgement(row, _error_type(image.labels[overlaps >= WEAK_IOU], label, similar), None)


def error_types(
    index: Index,
    detections: Detections,
    label: int,
    similar: NDArray[np.bool_],
    *,
    threshold: float = 0.5,
    limit: int | None = None,
) -> NDArray[np.int64]:
    """Return the type of each detection of class ``label``, positions in `TYPES`, best score first.

    The rules are those of `judge`; a detection that claims an object to ignore is left out.

    Args:
        index: the ground truth.
        detections: of any classes.
        label: category id.
        similar: from `similar_classes`.
        threshold: overlap of a correct detection.
        limit: stop after so many types; None for all.
    """
    judged = judge(index, detections, label, similar, threshold)
    return np.array([*islice((found.type for found in judged if found.type is not None), limit)], np.int64)


def _error_type(touched: NDArray[np.int64], label: int, similar: NDArray[np.bool_]) -> int:
    """Return the type of a wrong detection that touches objects of the classes ``touched``."""
    if (touched == label).any():
        return LOC
    if similar[label, touched].any():
        return SIM
    return OTH if len(touched) else BG


def top_shares(
    index: Index, detections: Detections, sets: Mapping[str, Sequence[str]], threshold: float = 0.5
) -> NDArray[np.float64]:
    """Return the shares of the five `TYPES` among the top N detections, N being the number of objects of a class.

    The shares of each class sum to 1 and the result is their mean, as in YOLO's figure 4; classes without objects
    or without detections do not take part. All zeros where none does.
    """
    similar = similar_classes(index.classes, sets)
    shares = []
    for label in range(1, len(index.classes) + 1):
        objects = sum(int(((image.labels == label) & ~image.ignore).sum()) for image in index.images)
        types = error_types(index, detections, label, similar, threshold=threshold, limit=objects)
        if len(types):
            shares.append(np.bincount(types, minlength=len(TYPES)) / len(types))
    return np.mean(shares, axis=0) if shares else np.zeros(len(TYPES))


def error_shares(shares: ArrayLike) -> NDArray[np.float64]:
    """Return Loc, Sim, Oth and BG as shares of all errors, from the shares of the five `TYPES`.

    They sum to 1, or are all 0 where there is no error.
    """
    wrong = np.asarray(shares, np.float64)[LOC:]
    return wrong / wrong.sum() if wrong.sum() > 0 else np.zeros_like(wrong)


def error_trend(types: ArrayLike) -> NDArray[np.float64]:
    """Return the shares of Loc, Sim, Oth and BG among the first N errors for N = 1, 2, ...: R-CNN's figures.

    Args:
        types: ``(K,)`` from `error_types`, best score first.

    Returns:
        ``(number of errors, 4)``, each row summing to 1.
    """
    errors = np.asarray(types, np.int64)
    errors = errors[errors != CORRECT]
    counts = np.cumsum(errors[:, None] == np.arange(LOC, BG + 1), axis=0)
    return counts / np.arange(1, len(errors) + 1)[:, None]
