"""What kind of errors a detector makes: badly placed, similar class, other class, or background.

The types are those of R-CNN's section 2.4 and YOLO's section 4.2, the rules those of the toolkit behind both
(``detectionAnalysis``: ``matchDetectionsWithGroundTruth.m``, ``analyzeFalsePositives.m``).
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.core.boxes import iou
from pipeline.core.errors import InputError
from pipeline.data.index import Index
from pipeline.evaluation.detections import Detections
from pipeline.evaluation.voc import objects_per_image

TYPES = ("Correct", "Loc", "Sim", "Oth", "BG")
CORRECT, LOC, SIM, OTH, BG = range(5)
# Below this overlap with every object a detection lies on the background.
WEAK_IOU = 0.1
# Where the trend of the errors ends, as in the toolkit.
MOST_ERRORS = 3200


class TypedDetection(NamedTuple):
    """One detection with its type.

    Attributes:
        row: its position in the detections given.
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


def error_types(
    index: Index,
    detections: Detections,
    label: int,
    similar: NDArray[np.bool_],
    threshold: float = 0.5,
    *,
    nearest: bool = False,
) -> Iterator[TypedDetection]:
    """Yield the detections of class ``label`` with their types, best score first; a type depends on no later one.

    In this order: the unclaimed object of the class with the greatest overlap, if that is ``threshold`` or more, is
    claimed and the detection is Correct; an overlap of 0.1 or more with the class makes it Loc (badly placed, or a
    duplicate); with a similar class Sim; with any other Oth; else BG. Unlike the AP's rule there is a second choice.

    Args:
        index: the ground truth.
        detections: of any classes.
        label: category id.
        similar: from `similar_classes`.
        threshold: overlap of a correct detection.
        nearest: of all classes but its own, only that of the object that it overlaps most makes a detection Sim or Oth,
            as in the toolkit's pies (``analyzeFalsePositives.m``); else Sim goes first, as in its trend.
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
            yield TypedDetection(row, None if image.ignore[claimed] else CORRECT, claimed)
        else:
            yield TypedDetection(row, _error_type(image.labels, overlaps, label, similar, nearest), None)


def type_positions(
    index: Index,
    detections: Detections,
    label: int,
    similar: NDArray[np.bool_],
    *,
    threshold: float = 0.5,
    limit: int | None = None,
) -> NDArray[np.int64]:
    """Return the type of each detection of class ``label``, positions in `TYPES`, best score first.

    The rules are those of `error_types`; a detection that claims an object to ignore is left out.

    Args:
        index: the ground truth.
        detections: of any classes.
        label: category id.
        similar: from `similar_classes`.
        threshold: overlap of a correct detection.
        limit: stop after so many types; None for all.
    """
    typed = error_types(index, detections, label, similar, threshold)
    return np.array([*islice((one.type for one in typed if one.type is not None), limit)], np.int64)


def _error_type(
    labels: NDArray[np.int64], overlaps: NDArray[np.float32], label: int, similar: NDArray[np.bool_], nearest: bool
) -> int:
    """Return the type of a wrong detection from the ``labels`` of its image's objects and its overlaps with them."""
    touched = labels[overlaps >= WEAK_IOU]
    if (touched == label).any():
        return LOC
    if not len(touched):
        return BG
    others = labels[[overlaps.argmax()]] if nearest else touched
    return SIM if similar[label, others].any() else OTH


def top_shares(
    index: Index, detections: Detections, sets: Mapping[str, Sequence[str]], threshold: float = 0.5
) -> NDArray[np.float64]:
    """Return the shares of the five `TYPES` among the top N detections, N being the number of objects of a class.

    The rules are those of the toolkit's pies: the class of the nearest object decides (`error_types`), and a detection
    that claims an object to ignore is Correct and one of the N.

    The shares of each class sum to 1 and the result is their mean, as in YOLO's figure 4; classes without objects
    or without detections do not take part. All zeros where none does.
    """
    similar = similar_classes(index.classes, sets)
    shares = []
    for label in range(1, len(index.classes) + 1):
        objects = int(objects_per_image(index, label).sum())
        typed = error_types(index, detections, label, similar, threshold, nearest=True)
        types = [CORRECT if one.type is None else one.type for one in islice(typed, objects)]
        if types:
            shares.append(np.bincount(types, minlength=len(TYPES)) / len(types))
    return np.mean(shares, axis=0) if shares else np.zeros(len(TYPES))


def error_shares(shares: ArrayLike) -> NDArray[np.float64]:
    """Return Loc, Sim, Oth and BG as shares of all errors, from the shares of the five `TYPES`.

    They sum to 1, or are all 0 where there is no error.
    """
    wrong = np.asarray(shares, np.float64)[LOC:]
    return wrong / wrong.sum() if wrong.sum() > 0 else np.zeros_like(wrong)


def error_trend(
    index: Index, detections: Detections, sets: Mapping[str, Sequence[str]], threshold: float = 0.5
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return how the shares of the error types change from the best-scored errors to the first `MOST_ERRORS`.

    R-CNN's figure 5, which draws sets of classes, by the toolkit behind it (``displayFPTrend.m``): all classes go down
    their rankings in step, as scores of different classes cannot be compared, and N counts the errors of all of them
    (the toolkit's N counts BG twice).

    Returns:
        ``(P,)`` N, rising by a factor of about the square root of 2, and ``(P, 4)`` the shares of Loc, Sim, Oth and BG
        among the first N errors; each row sums to 1.
    """
    similar = similar_classes(index.classes, sets)
    labels = range(1, len(index.classes) + 1)
    # After so many, each class that has as many has MOST_ERRORS errors; a shorter list would leave the others alone.
    limit = MOST_ERRORS + max(int(objects_per_image(index, label).sum()) for label in labels)
    return pooled_trend(
        [type_positions(index, detections, label, similar, threshold=threshold, limit=limit) for label in labels]
    )


def pooled_trend(classes: Sequence[ArrayLike]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return `error_trend`'s two arrays from the types of each class, best score first (`type_positions`)."""
    lists = [np.asarray(types, np.int64) for types in classes]
    counts = np.zeros((max(map(len, lists), default=0), len(TYPES) - 1), np.int64)  # (rank, type)
    for types in lists:
        counts[: len(types)] += types[:, None] == np.arange(LOC, BG + 1)
    counts = counts.cumsum(axis=0)
    errors = counts.sum(axis=1)
    most = min(errors[-1], MOST_ERRORS) if len(errors) else 0
    wanted = [2 ** (step / 2) for step in range(2 * int(most).bit_length()) if 2 ** (step / 2) < most]
    ranks = np.unique(np.searchsorted(errors, [*wanted, most])) if most else np.zeros(0, np.int64)
    return errors[ranks], counts[ranks] / errors[ranks, None]
