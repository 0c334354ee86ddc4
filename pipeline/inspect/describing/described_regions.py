"""Regions as the views show them: of which image, where in it, and which object they overlap."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.core.boxes import Boxes, best_match
from pipeline.data.index import ImageRecord, Index
from pipeline.inspect.describing.labels import IGNORED, region_labels


@dataclass(frozen=True)
class DescribedRegions:
    """Some regions, one entry of each array for each.

    Attributes:
        images: ``(N,)`` int64 positions of their images in the index.
        files: their images.
        regions: ``(N,)`` int64, number of the region in its image; objects first, then proposals, best first.
        boxes: ``(N, 4)`` float32.
        labels: ``(N,)`` int64, class of the object that a region overlaps most; 0, background, below an overlap of 0.5;
            -1 where that object is to be ignored.
        overlaps: ``(N,)`` float32, that overlap (IoU).
    """

    images: NDArray[np.int64]
    files: tuple[str, ...]
    regions: NDArray[np.int64]
    boxes: Boxes
    labels: NDArray[np.int64]
    overlaps: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.regions)

    def name(self, i: int) -> str:
        """Return region ``i`` as a person types it, ``FILE:REGION``."""
        return f"{self.files[i].rsplit('/', 1)[-1]}:{self.regions[i]}"

    def class_name(self, i: int, classes: Sequence[str]) -> str:
        """Return the class of region ``i``, ``background`` or ``ignored``."""
        if self.labels[i] == IGNORED:
            return "ignored"
        return classes[self.labels[i] - 1] if self.labels[i] else "background"


def describe(offsets: NDArray[np.int64], boxes: Boxes, index: Index, which: NDArray[np.int64]) -> DescribedRegions:
    """Return what the rows ``which`` (N,) of a split are, whose rows have ``boxes`` and whose images ``offsets``."""
    images = np.searchsorted(offsets, which, side="right") - 1
    labels, overlaps = np.zeros(len(which), np.int64), np.zeros(len(which), np.float32)
    for position in np.unique(images).tolist():
        mine = np.flatnonzero(images == position)
        labels[mine], overlaps[mine] = region_labels(boxes[which[mine]], index.images[position])
    return DescribedRegions(
        images=images,
        files=tuple(index.images[position].file for position in images.tolist()),
        regions=which - offsets[images],
        boxes=boxes[which],
        labels=labels,
        overlaps=overlaps,
    )


def best_of_each_object(regions: DescribedRegions, image: ImageRecord, count: int) -> NDArray[np.int64]:
    """Return the numbers of ``count`` of an image's ``regions``: each object's best, then each one's second, and so on.

    Among these the greatest overlap goes first, and among equals the first region.
    """
    objects, overlaps = best_match(regions.boxes, image.boxes)
    order = np.argsort(-overlaps, kind="stable")
    place = np.zeros(len(order), np.int64)  # among the regions of the same object
    for label in np.unique(objects).tolist():
        mine = order[objects[order] == label]
        place[mine] = np.arange(len(mine))
    return regions.regions[np.lexsort((-overlaps, place))[:count]]
