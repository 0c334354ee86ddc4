"""Efficient subwindow search: of all boxes of a grid the one with the greatest score (Lampert et al., CVPR 2008).

The score of a box is the sum of the weights of the words in it; with a spatial pyramid of n x n cells for n = 1 to N,
as in the released program, each cell has weights of its own. Branch and bound over sets of boxes: four intervals hold
the edges, and no box of a set scores more than the positive weights in its largest box and the negative ones in its
smallest. Boxes are ``l t r b`` in cells of the grid, from 0, half-open.

Sets are split best first, many at a time and of all classes at once, so that NumPy computes their bounds together. This
changes no optimum: a set is dropped only when a box is known that scores as much as its bound.
"""

from dataclasses import dataclass
from itertools import count

import numpy as np
from numpy.typing import NDArray

# Sets of each class that are split at a time: fewer waste NumPy's time, more evaluate sets that one more bound drops.
AT_ONCE = 32
# Of the edges in waiting sets, as in the released program: many sets wait.
COORDINATE = np.int16


@dataclass(frozen=True)
class Found:
    """The best box of each class, above its floor.

    Attributes:
        boxes: ``(classes, 4)`` int64; ``0 0 0 0`` where no box scores more than the floor.
        scores: ``(classes,)`` float64; the floor where there is no such box.
        evaluated: ``(classes,)`` int64, the sets whose bounds were computed.
        proven: ``(classes,)`` bool, whether the search ended before its limit: then no box scores more.
    """

    boxes: NDArray[np.int64]
    scores: NDArray[np.float64]
    evaluated: NDArray[np.int64]
    proven: NDArray[np.bool_]


def cell_count(levels: int) -> int:
    """Return the cells of a pyramid of 1 x 1 to ``levels`` x ``levels``: 1, 5, 14, 30."""
    return levels * (levels + 1) * (2 * levels + 1) // 6


def box_count(rows: int, columns: int) -> int:
    """Return the number of boxes of a grid, those that an exhaustive search scores."""
    return rows * (rows + 1) // 2 * (columns * (columns + 1) // 2)


class Pyramid:
    """The cells of boxes: 1 x 1, 2 x 2 to ``levels`` x ``levels``, level by level, row by row.

    Edges are ``((n - i) * low + i * high) // n``: whole, and they rise with both edges of the box.
    """

    def __init__(self, levels: int) -> None:
        cells = [(n, row, column) for n in range(1, levels + 1) for row in range(n) for column in range(n)]
        self._n, self._rows, self._columns = np.array(cells, np.int64).T

    @classmethod
    def of_cells(cls, cells: int) -> "Pyramid":
        """Return the pyramid with so many cells."""
        return cls(next(levels for levels in count(1) if cell_count(levels) >= cells))

    def __len__(self) -> int:
        return len(self._n)

    def __call__(self, inner: NDArray[np.integer], outer: NDArray[np.integer]) -> NDArray[np.int64]:
        """Return cells that begin where those of the boxes ``inner`` do and end where those of ``outer`` end.

        Both are ``(K, 4)``, and the cells ``(4, K, cells)``: ``l t r b`` first. Of one box, given twice, these are its
        cells; of the least and the greatest edges of a set, the largest that a box has, and the other way round the
        smallest.
        """
        if len(self) == 1:  # saves half of the time of a bag of words
            return np.concatenate([inner[:, :2], outer[:, 2:]], axis=1, dtype=np.int64).T[:, :, None]
        n, rows, columns = self._n, self._rows, self._columns
        begin, end = inner.T[:, :, None], outer.T[:, :, None]
        return np.stack(
            [
                ((n - columns) * begin[0] + columns * begin[2]) // n,
                ((n - rows) * begin[1] + rows * begin[3]) // n,
                ((n - columns - 1) * end[0] + (columns + 1) * end[2]) // n,
                ((n - rows - 1) * end[1] + (rows + 1) * end[3]) // n,
            ]
        )


class Scores:
    """Sums of weights over boxes of a grid, from two integral images for each class and cell.

    Args:
        weights: ``(classes, cells, rows, columns)``, what each place of the grid adds to the score of a box.
        pyramid: with as many cells.
    """

    def __init__(self, weights: NDArray, pyramid: Pyramid) -> None:
        classes, cells, rows, columns = weights.shape
        self.shape = (rows, columns)
        self._pyramid, self._stride = pyramid, columns + 1
        integral = np.zeros((2, classes, cells, rows + 1, columns + 1))
        for sums, part in zip(integral, (np.maximum(weights, 0), np.minimum(weights, 0)), strict=True):
            sums[:, :, 1:, 1:] = part.cumsum(axis=2, dtype=np.float64).cumsum(axis=3)
        self._positive, self._negative = integral.reshape(2, -1)
        self._first = np.arange(classes * cells).reshape(classes, cells) * (rows + 1) * (columns + 1)

    def bounds(
        self, labels: NDArray[np.int64], low: NDArray[np.integer], high: NDArray[np.integer]
    ) -> NDArray[np.float64]:
        """Return what no box scores more than, of sets with edges from ``low`` to ``high``, ``(K, 4)`` each.

        Of a set of one box it is the score. ``labels`` ``(K,)`` are classes from 0.
        """
        first = self._first[labels]
        most = self._sum(self._positive, first, self._pyramid(low, high))
        least = self._sum(self._negative, first, self._pyramid(high, low))
        return (most + least).sum(axis=1)

    def _sum(self, integral: NDArray[np.float64], first: NDArray[np.int64], cells: NDArray[np.int64]) -> NDArray:
        left, top, right, bottom = cells
        right, bottom = np.maximum(left, right), np.maximum(top, bottom)  # an empty cell has no words
        upper, lower = first + top * self._stride, first + bottom * self._stride
        return integral[lower + right] - integral[upper + right] - integral[lower + left] + integral[upper + left]


def best_boxes(scores: Scores, floors: NDArray[np.float64], limit: int) -> Found:
    """Return for each class the box with the greatest score above its floor.

    Args:
        scores: of the boxes.
        floors: ``(classes,)``; sets with bounds up to it are dropped unseen. Infinity: the class is not searched.
        limit: on the sets that are evaluated, all classes together; a search that reaches it gives its best box so far.
    """
    best, boxes = floors.astype(np.float64), np.zeros((len(floors), 4), np.int64)
    rows, columns = scores.shape
    labels = np.flatnonzero(best < np.inf) if rows * columns else np.zeros(0, np.int64)
    low = np.tile(np.array([0, 0, 1, 1], COORDINATE), (len(labels), 1))
    high = np.tile(np.array([columns - 1, rows - 1, columns, rows], COORDINATE), (len(labels), 1))
    new = _Sets(labels, low, high, scores.bounds(labels, low, high))
    evaluated = np.bincount(labels, minlength=len(best))
    waiting, least = new.take(np.zeros(0, np.int64)), AT_ONCE * len(labels)
    while len(new.labels):
        single = (new.low == new.high).all(axis=1)
        for place in np.flatnonzero(single & (new.bounds > best[new.labels])).tolist():
            label = new.labels[place]
            if new.bounds[place] > best[label]:
                best[label], boxes[label] = new.bounds[place], new.low[place]
        waiting = waiting.take(waiting.bounds > best[waiting.labels])
        waiting = waiting.join(new.take(~single & (new.bounds > best[new.labels])))
        if evaluated.sum() >= limit:
            break
        # With more sets waiting more are split, so that none is copied often.
        chosen = waiting.best(max(least, len(waiting.labels) // 4))
        labels, low, high = _halves(waiting.take(chosen))
        new = _Sets(labels, low, high, scores.bounds(labels, low, high))
        evaluated += np.bincount(labels, minlength=len(best))
        waiting = waiting.take(~chosen)
    return Found(boxes, best, evaluated, np.bincount(waiting.labels, minlength=len(best)) == 0)


@dataclass(frozen=True)
class _Sets:
    """Sets of boxes: classes from 0 ``(K,)``, least and greatest edges ``(K, 4)`` each, bounds ``(K,)``."""

    labels: NDArray[np.int64]
    low: NDArray[np.int16]
    high: NDArray[np.int16]
    bounds: NDArray[np.float64]

    @property
    def _arrays(self) -> tuple[NDArray, ...]:
        return self.labels, self.low, self.high, self.bounds

    def take(self, which: NDArray) -> "_Sets":
        return _Sets(*(array[which] for array in self._arrays))

    def join(self, other: "_Sets") -> "_Sets":
        pairs = zip(self._arrays, other._arrays, strict=True)
        return _Sets(*(np.concatenate(pair) for pair in pairs))

    def best(self, count: int) -> NDArray[np.bool_]:
        """Return a mask of the ``count`` sets with the greatest bounds."""
        if len(self.bounds) <= count:
            return np.ones(len(self.bounds), np.bool_)
        mask = np.zeros(len(self.bounds), np.bool_)
        mask[np.argpartition(-self.bounds, count)[:count]] = True
        return mask


def _halves(sets: _Sets) -> tuple[NDArray[np.int64], NDArray[np.int16], NDArray[np.int16]]:
    """Split the widest interval of each set, the first in the order ``l t r b`` of equal ones; drop impossible sets.

    Edges that no box of a set can have, as it would be empty, leave the intervals.
    """
    places = np.arange(len(sets.labels))
    widest = (sets.high - sets.low).argmax(axis=1)
    middle = (sets.low[places, widest] + sets.high[places, widest]) // 2
    low, high = np.concatenate([sets.low, sets.low]), np.concatenate([sets.high, sets.high])
    high[places, widest] = middle
    low[len(places) + places, widest] = middle + 1
    np.minimum(high[:, :2], high[:, 2:] - 1, out=high[:, :2])
    np.maximum(low[:, 2:], low[:, :2] + 1, out=low[:, 2:])
    possible = (low[:, 0] <= high[:, 0]) & (low[:, 1] <= high[:, 1])
    possible &= (low[:, 2] <= high[:, 2]) & (low[:, 3] <= high[:, 3])
    return np.concatenate([sets.labels, sets.labels])[possible], low[possible], high[possible]
