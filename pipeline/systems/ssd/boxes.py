"""Default boxes and their training targets (SSD, section 2.2; ``prior_box_layer.cpp``, ``bbox_util.cpp``).

Default boxes are a few sizes and shapes around the centre of every cell of several maps. All lengths are pixels of the
square that the network sees; boxes may reach beyond it, as the official code does not clip.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.core.boxes import Boxes, best_column, encode, iou
from pipeline.core.errors import InputError

# Offsets are divided by these, one pair for centres and one for sides (``prior_box_layer.cpp``).
VARIANCES = np.array([0.1, 0.1, 0.2, 0.2], np.float32)


@dataclass(frozen=True)
class MapBoxes:
    """The default boxes of one map.

    Attributes:
        cells: along each side of the map.
        first: centre of the first cell.
        step: between the centres of neighbouring cells.
        side: of the smaller square box.
        next_side: of the next map's; the larger square box has the geometric mean of the two.
        ratios: width over height, beside 1; each stands for its inverse too.
    """

    cells: int
    first: float
    step: float
    side: float
    next_side: float
    ratios: tuple[float, ...]

    @property
    def per_cell(self) -> int:
        """Number of boxes around one cell."""
        return boxes_per_cell(self.ratios)


def boxes_per_cell(ratios: Sequence[float]) -> int:
    """Return the number of boxes around one cell: two squares, and two boxes for each ratio."""
    return 2 + 2 * len(ratios)


def linear_sides(square: int, smallest: float, greatest: float, maps: int) -> tuple[float, ...]:
    """Return ``maps + 1`` sides, evenly spaced: ``smallest`` and ``greatest`` are shares of ``square`` (section 2.2).

    The last one is beyond ``greatest`` and is for the last map's larger square only. These are not the sides of the
    published models, whose first map does not follow the rule: 0.1, 0.2, 0.37, 0.54, 0.71, 0.88 of 300 pixels.
    """
    step = (greatest - smallest) / max(1, maps - 1)
    return tuple(square * (smallest + step * number) for number in range(maps + 1))


def default_boxes(maps: Sequence[MapBoxes]) -> Boxes:
    """Return the default boxes of all ``maps``: map by map, row, column, then the shapes of one cell, ``(A, 4)``.

    The shapes are the smaller square, the larger square, then each ratio and its inverse (``prior_box_layer.cpp``).
    """
    return np.concatenate([_grid(each) for each in maps]).astype(np.float32)


def check_maps(maps: int, sides: Sequence[float] | None, ratios: Sequence, steps: Sequence[float] | None) -> None:
    """Check that there are as many values as maps.

    Raises:
        InputError: there are more or fewer; the sentence names the parameter.
    """
    for key, values, right in (("sides", sides, maps + 1), ("ratios", ratios, maps), ("steps", steps, maps)):
        if values is not None and len(values) != right:
            raise InputError(
                f"params.yaml, ssd.default_boxes.{key}: found {len(values)} values, but with {maps} maps (ssd.taps and "
                f"ssd.extra) {right} would be right."
            )


def _grid(each: MapBoxes) -> Boxes:
    halves = _shapes(each) / 2
    centre = each.first + each.step * np.arange(each.cells)
    x, y = np.meshgrid(centre, centre)
    centres = np.stack([x, y], axis=-1).reshape(-1, 1, 2)
    return np.concatenate([centres - halves, centres + halves], axis=2).reshape(-1, 4)


def _shapes(each: MapBoxes) -> np.ndarray:
    """Return ``(per_cell, 2)``: width and height."""
    shapes = [(each.side, each.side), (np.sqrt(each.side * each.next_side),) * 2]
    for ratio in each.ratios:
        width, height = each.side * np.sqrt(ratio), each.side / np.sqrt(ratio)
        shapes += [(width, height), (height, width)]
    return np.array(shapes)


@dataclass(frozen=True)
class Targets:
    """The targets of ``A`` default boxes.

    Attributes:
        labels: ``(A,)`` int64 category, 0 for background.
        offsets: ``(A, 4)`` float32 of `boxes.encode`, divided by `VARIANCES`; 0 for background.
    """

    labels: NDArray[np.int64]
    offsets: NDArray[np.float32]


def match(defaults: Boxes, truth: Boxes, threshold: float) -> NDArray[np.int64]:
    """Return for each of ``defaults`` (A, 4) the position of its object among ``truth`` (G, 4); -1 for none.

    First bipartite matching: of all pairs left, the one with the greatest overlap, again and again, so that each object
    has a box that no other object takes; an object that overlaps no box has none. Then each box left is matched to the
    object that it overlaps most, where the overlap is ``threshold`` or more.
    """
    overlaps = iou(defaults, truth)
    best, overlap = best_column(overlaps)
    matched = np.where(overlap >= threshold, best, -1)
    for _ in range(len(truth)):
        box, column = np.unravel_index(overlaps.argmax(), overlaps.shape)
        if overlaps[box, column] <= 0:
            break
        matched[box] = column
        overlaps[box, :] = overlaps[:, column] = -1
    return matched


def targets(defaults: Boxes, truth: Boxes, labels: NDArray[np.int64], threshold: float) -> Targets:
    """Return the targets of ``defaults`` (A, 4) for the objects ``truth`` (G, 4) with ``labels`` (G,)."""
    matched = match(defaults, truth, threshold)
    rows = np.flatnonzero(matched >= 0)
    result = Targets(np.zeros(len(defaults), np.int64), np.zeros((len(defaults), 4), np.float32))
    result.labels[rows] = labels[matched[rows]]
    result.offsets[rows] = encode(defaults[rows], truth[matched[rows]]) / VARIANCES
    return result
