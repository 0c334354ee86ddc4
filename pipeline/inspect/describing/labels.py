"""Which class rows show: regions and cells of maps, cached or pooled."""

import numpy as np
from numpy.typing import NDArray

from pipeline.core.boxes import Boxes, best_match
from pipeline.core.errors import InputError
from pipeline.data.index import ImageRecord, Index
from pipeline.inspect.reading.cached_rows import CachedRows
from pipeline.inspect.reading.region_rows import RegionRows

# Overlap from which a region shows an object, as everywhere in R-CNN's evaluation.
OVERLAP = 0.5
# Of what shows an object to ignore: no class, and not the background either.
IGNORED = -1


def row_labels(rows: CachedRows | RegionRows, index: Index) -> NDArray[np.int64]:
    """Return the class of each row: a category id, 0 for background, -1 for an ignored object; ``(rows,)`` int64.

    A region shows the object that it overlaps most, if by 0.5 or more. A cell of a map shows the object in whose box
    the centre of its receptive field lies, the smallest of several.

    Raises:
        InputError: the index is of other images.
    """
    if [image.id for image in index.images] != rows.image_ids.tolist():
        raise InputError(f"{rows.path}: its images are not those of the index; dvc repro renews both.")
    cells = isinstance(rows, CachedRows) and not rows.of_regions
    boxes = rows.boxes
    labels = np.zeros(int(rows.offsets[-1]), np.int64)
    for image, start, stop in zip(index.images, rows.offsets[:-1], rows.offsets[1:], strict=True):
        mine = boxes[start:stop]
        labels[start:stop] = _cell_labels(mine, image) if cells else region_labels(mine, image)[0]
    return labels


def region_labels(boxes: Boxes, image: ImageRecord) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return what `row_labels` says of regions (N, 4) of one image, and their best overlap (IoU), ``(N,)`` each."""
    best, overlaps = best_match(boxes, image.boxes)
    if not len(image.labels):
        return np.zeros(len(boxes), np.int64), overlaps
    return np.where(overlaps >= OVERLAP, _object_labels(image)[best], 0), overlaps


def _cell_labels(fields: Boxes, image: ImageRecord) -> NDArray[np.int64]:
    if not len(image.labels):
        return np.zeros(len(fields), np.int64)
    centre = (fields[:, None, :2] + fields[:, None, 2:]) / 2
    inside = np.all((centre >= image.boxes[:, :2]) & (centre < image.boxes[:, 2:]), axis=2)
    size = (image.boxes[:, 2:] - image.boxes[:, :2]).prod(axis=1)
    smallest = np.where(inside, size, np.inf).argmin(axis=1)
    return np.where(inside.any(axis=1), _object_labels(image)[smallest], 0)


def _object_labels(image: ImageRecord) -> NDArray[np.int64]:
    return np.where(image.ignore, IGNORED, image.labels)
