"""What a detector takes objects for: a confusion matrix with the background as one class more."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from pipeline.core.boxes import area, intersection, iou
from pipeline.data.index import ImageRecord, Index
from pipeline.evaluation.detections import Detections
from pipeline.evaluation.voc import rows_by_image


def confusion_matrix(
    index: Index, detections: Detections, thresholds: Mapping[str, float | None], overlap: float
) -> NDArray[np.int64]:
    """Return how often an object of each class was detected as each class: ``(C + 1, C + 1)``.

    Rows are the classes of the objects, columns those of the detections; the last of both is the background. So the
    last column counts objects that nothing matches, the last row detections that match nothing.

    In each image the detections choose one after another, best score first, whatever their class: each takes the object
    that it overlaps most of those that none has taken, if that is ``overlap`` or more. Objects to ignore are in no row,
    and what matches nothing but lies on one of them is in no column: it overlaps a difficult object by ``overlap`` or
    has that share of itself inside a crowd.

    Args:
        index: the ground truth.
        detections: of all classes.
        thresholds: by class name, the least score that counts; a class with None has no detections.
        overlap: of a match.
    """
    background = len(index.classes)
    lowest = [np.inf if thresholds[name] is None else thresholds[name] for name in index.classes]
    counted = detections.take(detections.scores >= np.array(lowest, np.float32)[detections.labels - 1]).ranked()
    matrix = np.zeros((background + 1, background + 1), np.int64)
    for image, rows in rows_by_image(index.images, counted):
        found = counted.take(rows)
        taken = _taken(image, found, overlap)
        matched = taken >= 0
        false = ~matched & ~_on_ignored(image, found, overlap)
        missed = np.setdiff1d(np.flatnonzero(~image.ignore), taken)
        np.add.at(matrix, (image.labels[taken[matched]] - 1, found.labels[matched] - 1), 1)
        matrix[-1, :-1] += np.bincount(found.labels[false] - 1, minlength=background)
        matrix[:-1, -1] += np.bincount(image.labels[missed] - 1, minlength=background)
    return matrix


def _taken(image: ImageRecord, found: Detections, overlap: float) -> NDArray[np.int64]:
    """Return the position of the object that each detection takes, best score first, -1 where it takes none: (D,)."""
    overlaps = np.where(image.ignore, 0, iou(found.boxes, image.boxes))
    taken = np.full(len(found), -1, np.int64)
    for row in range(len(found)):
        if overlaps[row].max(initial=0) >= overlap:
            taken[row] = overlaps[row].argmax()
            overlaps[:, taken[row]] = 0
    return taken


def _on_ignored(image: ImageRecord, found: Detections, overlap: float) -> NDArray[np.bool_]:
    """Return which detections lie on an object to ignore: (D,)."""
    on_difficult = iou(found.boxes, image.boxes[image.ignore & ~image.crowd]) >= overlap
    in_crowd = intersection(found.boxes, image.crowds) >= overlap * area(found.boxes)[:, None]
    return np.asarray(on_difficult.any(axis=1) | in_crowd.any(axis=1))
