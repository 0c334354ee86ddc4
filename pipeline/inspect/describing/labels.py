"""Which class each row of a cache shows."""

import numpy as np
from numpy.typing import NDArray

from pipeline.boxes import best_match
from pipeline.data.index import ImageRecord, Index
from pipeline.errors import InputError
from pipeline.inspect.reading.cached_rows import CachedRows

# Overlap from which a region shows an object, as everywhere in R-CNN's evaluation.
OVERLAP = 0.5
IGNORED = -1


def row_labels(rows: CachedRows, index: Index) -> NDArray[np.int64]:
    """Return the class of each row: a category id, 0 for background, -1 for an ignored object; ``(rows,)`` int64.

    A region shows the object that it overlaps most, if by 0.5 or more. A cell of a map shows the object in whose box
    the centre of its receptive field lies, the smallest of several.

    Raises:
        InputError: the index is of other images.
    """
    if [image.id for image in index.images] != rows.image_ids.tolist():
        raise InputError(f"{rows.cache.path}: its images are not those of the index; dvc repro renews both.")
    of_image = _region_labels if rows.of_regions else _cell_labels
    boxes = rows.boxes
    labels = np.zeros(len(rows), np.int64)
    for image, start, stop in zip(index.images, rows.offsets[:-1], rows.offsets[1:], strict=True):
        if len(image.labels):
            labels[start:stop] = of_image(boxes[start:stop], image)
    return labels


def _region_labels(boxes: NDArray[np.float32], image: ImageRecord) -> NDArray[np.int64]:
    best, overlap = best_match(boxes, image.boxes)
    return np.where(overlap >= OVERLAP, np.where(image.ignore, IGNORED, image.labels)[best], 0)


def _cell_labels(fields: NDArray[np.float32], image: ImageRecord) -> NDArray[np.int64]:
    centre = (fields[:, None, :2] + fields[:, None, 2:]) / 2
    inside = np.all((centre >= image.boxes[:, :2]) & (centre < image.boxes[:, 2:]), axis=2)
    size = (image.boxes[:, 2:] - image.boxes[:, :2]).prod(axis=1)
    smallest = np.where(inside, size, np.inf).argmin(axis=1)
    return np.where(inside.any(axis=1), np.where(image.ignore, IGNORED, image.labels)[smallest], 0)
