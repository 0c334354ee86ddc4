"""The words in boxes as the SVMs of detection see them: counted in each cell, so that scores are sums over words."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.core.boxes import Boxes
from pipeline.core.runtime import item_rng
from pipeline.data.index import ImageRecord, Index
from pipeline.features.regions import Regions, gather
from pipeline.linear.training_set import TrainingSet
from pipeline.systems.bow.cache import WordCache
from pipeline.systems.bow.params import Bow
from pipeline.systems.bow.search import Pyramid


def box_counts(
    words: NDArray[np.uint16], cells: NDArray[np.int64], pyramid: Pyramid, vocabulary: int
) -> NDArray[np.float32]:
    """Return how often each word stands in each cell of boxes: ``(N, cells * vocabulary)``, cell after cell.

    Args:
        words: ``(rows, columns)`` of an image.
        cells: the boxes, ``(N, 4)``, ``l t r b`` in patches, half-open.
        pyramid: their cells.
        vocabulary: number of words.
    """
    rows, columns = words.shape
    integral = np.zeros((rows + 1, columns + 1, vocabulary), np.float32)
    integral[np.arange(1, rows + 1)[:, None], np.arange(1, columns + 1), words] = 1
    integral = integral.cumsum(axis=0, out=integral).cumsum(axis=1, out=integral)
    left, top, right, bottom = pyramid(cells, cells)
    right, bottom = np.maximum(left, right), np.maximum(top, bottom)
    counts = integral[bottom, right] - integral[top, right] - integral[bottom, left] + integral[top, left]
    return counts.reshape(len(cells), len(pyramid) * vocabulary)


def draw_boxes(image: ImageRecord, count: int, seed: int) -> Boxes:
    """Return boxes of an image ``(count, 4)``, with sides from a tenth of the image's, even on a logarithmic scale."""
    rng = item_rng(seed, "boxes", image.id)
    sides = 0.1 ** rng.random((count, 2))
    start = rng.random((count, 2)) * (1 - sides)
    return (np.hstack([start, start + sides]) * ([image.width, image.height] * 2)).astype(np.float32)


class BoxWords:
    """The words in the regions of a split, counted on demand; a `pipeline.features.regions.RegionFeatures`.

    Args:
        cache: the words of the images.
        regions: of the same images.
        pyramid: the cells of a box.
        vocabulary: number of words.
    """

    def __init__(self, cache: WordCache, regions: Regions, pyramid: Pyramid, vocabulary: int) -> None:
        self.path, self.offsets, self.image_ids = cache.path, regions.offsets, regions.image_ids
        self._cache, self._tables, self._boxes = cache, regions.tables(), regions.boxes
        self._pyramid, self._vocabulary = pyramid, vocabulary

    def __len__(self) -> int:
        return len(self.image_ids)

    def table(self, name: str) -> NDArray:
        """Return ``boxes`` ``(rows, 4)`` or ``is_ground_truth`` ``(rows,)``."""
        return self._tables[name]

    def rows(self, position: int, layer: str, which: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the counts of some regions of one image, ``(len(which), cells * vocabulary)``; there is one layer."""
        boxes = self._boxes[self.offsets[position] + which]
        cells = self._cache.grids[position].cells(boxes)
        return box_counts(self._cache[position], cells, self._pyramid, self._vocabulary)

    def image(self, position: int, layer: str) -> NDArray[np.float32]:
        """Return the counts of all regions of one image, ``(N, cells * vocabulary)``."""
        return self.rows(position, layer, np.arange(self.offsets[position + 1] - self.offsets[position]))

    def images(self, layer: str) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Yield each image's position and counts, in order."""
        for position in range(len(self)):
            yield position, self.image(position, layer)


def training_set(caches: Sequence[WordCache], indices: Sequence[Index], bow: Bow, seed: int) -> TrainingSet:
    """Return the objects and the drawn boxes of splits with their words."""
    pyramid = Pyramid(bow.levels)
    parts = []
    for cache, index in zip(caches, indices, strict=True):
        images = index.images
        regions = gather(
            [image.id for image in images],
            [Path(image.file) for image in images],
            [image.boxes for image in images],
            [draw_boxes(image, bow.boxes, seed) for image in images],
        )
        parts.append(BoxWords(cache, regions, pyramid, bow.words.vocabulary))
    return TrainingSet(parts, indices, difficult=bow.difficult)
