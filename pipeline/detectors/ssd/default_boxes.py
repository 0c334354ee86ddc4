"""Default boxes: a few sizes and shapes around the centre of every cell of several maps (SSD, section 2.2).

All lengths are pixels of the square that the network sees. Boxes may reach beyond it: the official code does not clip.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.boxes import Boxes
from pipeline.errors import InputError


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


def linear_sides(square: int, least: float, greatest: float, maps: int) -> tuple[float, ...]:
    """Return ``maps + 1`` sides, evenly spaced: ``least`` and ``greatest`` are shares of ``square`` (section 2.2).

    The last one goes on beyond ``greatest`` and serves the last map's larger square alone. These are not the sides of
    the published models, whose first map stands apart: 0.1, 0.2, 0.37, 0.54, 0.71, 0.88 of 300 pixels.
    """
    step = (greatest - least) / max(1, maps - 1)
    return tuple(square * (least + step * number) for number in range(maps + 1))


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
    for key, found, right in (("sides", sides, maps + 1), ("ratios", ratios, maps), ("steps", steps, maps)):
        if found is not None and len(found) != right:
            raise InputError(
                f"params.yaml, ssd.default_boxes.{key}: found {len(found)} values, but with {maps} maps (ssd.taps and "
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
