"""Values that fit the objects of a dataset: shapes of reference boxes, sizes of images, limits on boxes.

Shapes are the centres of clusters of the objects' shapes, with one minus the overlap for the distance (Redmon and
Farhadi, YOLO9000, section 2), but for three things. The centres are tied, since anchors are sides times ratios and the
boxes of a map share their side; so there is no mean to move to: one value after the other is moved while that helps. A
reference box lies around a cell's centre and not around the object's, so the overlap is that of the boxes where they
lie. And an object that a box overlaps by half counts one more than its overlap: others hardly train.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.boxes import Boxes, area, as_boxes
from pipeline.data.index import Index
from pipeline.limits import PER_OBJECT, candidates_needed
from pipeline.reach import ENOUGH

# Objects that shapes are fitted to, as many of each class as possible.
SAMPLE = 3000
# The overlap from which on an object counts as reached: what SSD matches, and VOC calls found.
HALF = 0.5
# Factors by which a value moves, coarse to fine.
STEPS = (1.3, 1.1, 1.03)
# The smallest twentieth of the objects is left out of account where an image's size is chosen; the others should span
# as many cells. An image grows to twice its present size at most, which takes four times as long.
SMALL, CELLS, MOST = 0.05, 2, 2.0


@dataclass(frozen=True)
class Fitted:
    """A value for a parameter, and the figure that it follows from, as a sentence."""

    key: str
    value: Any
    reason: str


@dataclass(frozen=True)
class Objects:
    """The objects that train.

    Attributes:
        boxes: ``(N, 4)`` in pixels of their images.
        labels: ``(N,)`` int64, category ids.
        images: ``(N, 2)`` float32, width and height of each one's image.
        weights: ``(N,)`` that sum up to 1: half is shared evenly by the objects, half by the classes.
    """

    boxes: Boxes
    labels: NDArray[np.int64]
    images: NDArray[np.float32]
    weights: NDArray[np.float64]

    @classmethod
    def of(cls, indices: Sequence[Index], difficult: bool) -> "Objects":
        """Return the objects of ``indices`` that may train (`pipeline.data.index.ImageRecord.trained`)."""
        records = [image for index in indices for image in index.images]
        used = [record.trained(difficult) for record in records]
        pairs = list(zip(records, used, strict=True))
        sizes = np.array([(record.width, record.height) for record in records], np.float32).reshape(-1, 2)
        labels = np.concatenate([np.zeros(0, np.int64), *(record.labels[rows] for record, rows in pairs)])
        classes, places, counts = np.unique(labels, return_inverse=True, return_counts=True)
        return cls(
            np.concatenate([as_boxes(()), *(record.boxes[rows] for record, rows in pairs)]),
            labels,
            np.repeat(sizes, [np.count_nonzero(rows) for rows in used], axis=0),
            (1 / max(1, len(labels)) + 1 / (counts * max(1, len(classes)))[places]) / 2,
        )

    def in_square(self, side: int) -> Boxes:
        """Return the boxes ``(N, 4)`` as they lie in their images stretched to squares of ``side`` pixels."""
        return self.boxes * np.tile(np.float32(side) / self.images, 2)

    def sample(self) -> "Objects":
        """Return about `SAMPLE` of them, as many of each class as it has, evenly spread; classes keep their weights."""
        classes = np.unique(self.labels)
        each = max(1, SAMPLE // max(1, len(classes)))
        weights = np.zeros_like(self.weights)
        for label in classes:
            rows = np.flatnonzero(self.labels == label)
            kept = rows[np.linspace(0, len(rows) - 1, min(each, len(rows))).astype(int)]
            weights[kept] = self.weights[kept] * len(rows) / len(kept)
        chosen = np.flatnonzero(weights)
        return Objects(self.boxes[chosen], self.labels[chosen], self.images[chosen], weights[chosen])


@dataclass(frozen=True)
class Seen:
    """Objects as the cells of maps see them, in pixels of the network's input.

    Attributes:
        sizes: ``(N, 2)`` width and height.
        away: ``(N, M, 2)``, by map: from the object's centre to that of the nearest cell, along x and y, 0 or more.
        weights: ``(N,)`` of `Objects`.
    """

    sizes: NDArray[np.float32]
    away: NDArray[np.float32]
    weights: NDArray[np.float64]

    def overlaps(self, shapes: NDArray[np.float32], maps: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the greatest overlap of each object with the reference boxes of all cells, ``(N,)``.

        Args:
            shapes: ``(K, 2)``, width and height of the boxes around each cell of a map.
            maps: ``(K,)``, which map each belongs to.
        """
        shared = np.ones((len(self.sizes), len(shapes)), np.float32)
        for axis in range(2):
            half, own = self.sizes[:, None, axis] / 2, shapes[None, :, axis] / 2
            away = self.away[:, maps, axis]
            shared *= np.maximum(np.minimum(half, away + own) - np.maximum(-half, away - own), 0)
        union = self.sizes.prod(axis=1)[:, None] + shapes.prod(axis=1)[None, :] - shared
        return np.asarray((shared / union).max(axis=1, initial=0))

    def mean(self, shapes: NDArray[np.float32], maps: NDArray[np.int64]) -> float:
        """Return the weighted mean of `overlaps`."""
        return float(self.weights @ self.overlaps(shapes, maps))

    def score(self, shapes: NDArray[np.float32], maps: NDArray[np.int64]) -> float:
        """Return the weighted mean of `overlaps`, each one more where it is `HALF` or more."""
        best = self.overlaps(shapes, maps)
        return float(self.weights @ (best + (best >= HALF)))

    def share(self, shapes: NDArray[np.float32], maps: NDArray[np.int64], overlap: float) -> float:
        """Return the weighted share of the objects whose greatest overlap is ``overlap`` or more."""
        return float(self.weights @ (self.overlaps(shapes, maps) >= overlap))


def to_nearest(
    centres: NDArray[np.float32], first: float, step: float, cells: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return how far each of ``centres`` (N, 2) is from the nearest cell's centre, along x and y, ``(N, 2)``.

    Args:
        centres: x and y.
        first: centre of the first cell.
        step: between neighbouring ones.
        cells: ``(N, 2)`` or ``(2,)``, along x and y.
    """
    nearest = np.clip(np.rint((centres - first) / step), 0, cells - 1)
    return np.abs(centres - (first + step * nearest)).astype(np.float32)


def seen_in_square(objects: Objects, side: int, cells: Sequence[tuple[float, float, int]]) -> Seen:
    """Return ``objects`` as the cells of maps see them in a square of ``side`` pixels.

    ``cells`` says of each map where its first cell's centre is, how far the next one's, and how many there are along a
    side.
    """
    boxes = objects.in_square(side)
    centres = (boxes[:, :2] + boxes[:, 2:]) / np.float32(2)
    away = [to_nearest(centres, first, step, np.array([number] * 2)) for first, step, number in cells]
    return Seen(boxes[:, 2:] - boxes[:, :2], np.stack(away, axis=1), objects.weights)


Values = NDArray[np.float64]
"""What is fitted, all positive: sides and ratios."""
Shapes = Callable[[Values], tuple[NDArray[np.float32], NDArray[np.int64]]]
"""Returns shapes and maps, as `Seen.overlaps` takes them, from the values that are fitted."""


def search(starts: Sequence[Values], rounded: Callable[[Values], Values], shapes_of: Shapes, seen: Seen) -> Values:
    """Return the values whose reference boxes overlap the objects most, as `Seen.score` counts.

    From each of ``starts`` one value after the other is multiplied and divided by each of `STEPS`, and kept where that
    is better, until nothing is. Only values as ``rounded`` returns them are tried: rounding what was found would move
    objects that a box overlaps by just `HALF` below it. So the result is no worse than any start; it may be a local
    optimum.
    """

    def score(values: Values) -> float:
        return seen.score(*shapes_of(values))

    ends = [_climb(start, rounded, score) for start in starts]
    return max(ends, key=score)


def better(
    now: Values,
    spread: Values,
    rounded: Callable[[Values], Values],
    shapes_of: Shapes,
    seen: Seen,
    trains: float,
    said: str,
) -> tuple[Values, str] | None:
    """Return values that `search` finds from ``now`` and from ``spread``, and their reason; None where none are needed.

    None are where the present reference boxes train on `ENOUGH` of the objects (closer ones did not score better,
    docs/results.md), or where the search finds none that overlap them more.

    Args:
        now: the present values.
        spread: others to start from, not rounded.
        rounded: see `search`; ``shapes_of`` and ``seen`` likewise.
        shapes_of: see `search`.
        seen: the objects.
        trains: the overlap from which on a reference box is trained to find an object.
        said: the sentence's middle: where the shapes are seen, and what overlaps them.
    """
    before = shapes_of(now)
    if seen.share(*before, trains) >= ENOUGH:
        return None
    found = search([now, rounded(spread)], rounded, shapes_of, seen)
    after = shapes_of(found)
    if seen.score(*after) <= seen.score(*before):
        return None
    return found, (
        f"clusters of the objects' shapes {said} overlaps an object by {seen.mean(*after):.2f} on average, so far "
        f"{seen.mean(*before):.2f}"
    )


def _climb(values: Values, rounded: Callable[[Values], Values], score: Callable[[Values], float]) -> Values:
    best = score(values)
    for step in STEPS:
        moved = True
        while moved:
            moved = False
            for place in range(len(values)):
                for factor in (step, 1 / step):
                    trial = values.copy()
                    trial[place] *= factor
                    trial = rounded(trial)
                    if (found := score(trial)) > best + 1e-6:
                        values, best, moved = trial, found, True
    return values


def quantiles(values: NDArray[np.float32], count: int) -> list[float]:
    """Return the middles of ``count`` equal parts of ``values`` (N,) in their order."""
    return np.quantile(values, (np.arange(count) + 0.5) / count).astype(float).tolist() if len(values) else []


def side_of(boxes: Boxes) -> NDArray[np.float32]:
    """Return the side of the square of each one's area, ``(N,)``."""
    return np.sqrt(area(boxes))


def enlargement(sides: NDArray[np.float32], stride: float) -> tuple[float, float]:
    """Return the side of the small objects and the factor, 1 to `MOST`, at which they span `CELLS` cells.

    Args:
        sides: ``(N,)`` of the objects, as the network sees them now; one or more.
        stride: of its finest map.
    """
    small = float(np.quantile(sides, SMALL))
    return small, float(np.clip(CELLS * stride / small, 1, MOST))


def larger_square(side: int, objects: Objects, stride: float, key: str) -> list[Fitted]:
    """Return a greater side than ``side``, at ``key``, where small objects span too few cells of ``stride``."""
    small, factor = enlargement(side_of(objects.in_square(side)), stride)
    reason = (
        f"{SMALL:.0%} of the objects are smaller than {small:.0f} pixels in a square of {side}; they should span "
        f"{CELLS} cells of {stride:g} of the first map"
    )
    return [Fitted(key, round(factor * side), reason)] if factor > 1 else []


def raised_limit(most: int, indices: Sequence[Index], key: str) -> list[Fitted]:
    """Return a greater number for the candidates of a class in an image where ``most``, at ``key``, is too small."""
    classes, needed = indices[0].classes, candidates_needed(indices)[0]
    worst = int(needed.argmax())
    if needed[worst] <= most:
        return []
    reason = f"{PER_OBJECT} candidates for each object of {classes[worst]} in an image that shows it, on average"
    return [Fitted(key, int(needed[worst]), reason)]


def raised_room(most: int, indices: Sequence[Index], key: str) -> list[Fitted]:
    """Return a greater number for an image's detections where ``most``, at ``key``, is below twice the objects."""
    fullest = max(np.count_nonzero(~image.crowd) for index in indices for image in index.images)
    return [Fitted(key, 2 * fullest, f"twice the {fullest} objects of the fullest image")] if 2 * fullest > most else []
