"""What a unit looks for: the regions of a whole split that excite it most (R-CNN, section 3.1).

"We compute the unit's activations on a large set of held-out region proposals, sort the proposals from highest to
lowest activation, perform non-maximum suppression, and then display the top-scoring regions."
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.core.boxes import Boxes, nms
from pipeline.core.errors import InputError
from pipeline.inspect.reading.bits import as_float32
from pipeline.inspect.reading.cached_rows import CachedRows


@dataclass(frozen=True)
class TopRegions:
    """The rows that excite each of U units most, K at most, best first.

    Attributes:
        units: ``(U,)`` int64.
        found: ``(U,)`` int64, how many of the K places are filled.
        values: ``(U, K)`` float32, activations; 0 where a place is empty, as in the next three.
        rows: ``(U, K)`` int64, rows of the cache.
        image_ids: ``(U, K)`` int64.
        boxes: ``(U, K, 4)`` float32, in pixels of the image.
    """

    units: NDArray[np.int64]
    found: NDArray[np.int64]
    values: NDArray[np.float32]
    rows: NDArray[np.int64]
    image_ids: NDArray[np.int64]
    boxes: Boxes


def top_regions(rows: CachedRows, units: Sequence[int], count: int, threshold: float, workers: int) -> TopRegions:
    """Read a layer once and return the ``count`` rows with the highest activation of each of ``units``.

    Rows of one image that overlap a better one by more than ``threshold`` are left out, unit by unit; so are ground
    truth, values of 0 or less and values that are not finite. Of equal values the first row is taken. What is held is
    one block of rows and ``count`` rows a unit.

    Raises:
        InputError: a unit does not exist.
    """
    wanted = np.asarray(units, np.int64)
    wrong = wanted[(wanted < 0) | (wanted >= rows.width)]
    if len(wrong):
        raise InputError(f"{rows.cache.path}: {rows.layer} has the units 0 to {rows.width - 1}, not {wrong[0]}.")
    boxes, truth = rows.boxes, rows.is_ground_truth
    best = [_Best(count) for _ in units]
    least = np.zeros(len(units), np.float32)
    blocks = rows.map(lambda _, block: as_float32(np.ascontiguousarray(block[:, wanted])), workers)
    for image, values in rows.by_image(blocks):
        start = int(rows.offsets[image])
        mine = slice(start, start + len(values))
        usable = np.where(np.isfinite(values) & ~truth[mine, None], values, 0)
        for k in np.flatnonzero(usable.max(axis=0, initial=0) > least):
            # Suppression goes from the best downwards: what is below the least that still counts changes nothing above.
            hot = np.flatnonzero(usable[:, k] > least[k])
            kept = hot[nms(boxes[mine][hot], usable[hot, k], threshold)[:count]]
            best[k].add(usable[kept, k], start + kept)
            least[k] = best[k].least()
    return _collect(rows, wanted, count, best)


class _Best:
    """The greatest values so far and their rows, in order."""

    def __init__(self, count: int) -> None:
        self._count = count
        self.values = np.zeros(0, np.float32)
        self.rows = np.zeros(0, np.int64)

    def add(self, values: NDArray[np.float32], rows: NDArray[np.int64]) -> None:
        values, rows = np.concatenate([self.values, values]), np.concatenate([self.rows, rows])
        order = np.lexsort((rows, -values))[: self._count]
        self.values, self.rows = values[order], rows[order]

    def least(self) -> float:
        """Return the value that another must exceed to count."""
        return float(self.values[-1]) if len(self.values) == self._count else 0.0


def _collect(rows: CachedRows, units: NDArray[np.int64], count: int, best: list[_Best]) -> TopRegions:
    found = np.array([len(one.rows) for one in best], np.int64)
    values = np.zeros((len(units), count), np.float32)
    places = np.zeros((len(units), count), np.int64)
    for k, one in enumerate(best):
        values[k, : found[k]], places[k, : found[k]] = one.values, one.rows
    filled = np.arange(count) < found[:, None]
    image_ids = np.zeros((len(units), count), np.int64)
    image_ids[filled] = rows.image_ids[rows.image_of(places[filled])]
    boxes = np.zeros((len(units), count, 4), np.float32)
    boxes[filled] = rows.boxes[places[filled]]
    return TopRegions(units, found, values, places, image_ids, boxes)
