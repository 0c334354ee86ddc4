"""Spatial pyramid pooling: regions of an image to cells of its map, and to vectors (SPP-net, section 4.1, appendix A).

There are two rules for the cells of a region (a window in the paper), the paper's and the released code's. Both take
the cells whose receptive fields are centred inside the region; the paper's strictly so, the released code's with a
tolerance of about a tenth of the stride.

Many regions of one map are pooled at a time. The bins of a few thousand regions are a few ten thousand different
rectangles of cells. Each is the maximum of four squares whose sides are powers of two, and those come from doubling the
map: there is no loop over regions, and the work does not grow with their areas. A level that divides another is pooled
from that one's bins. Regions of many maps, a few of each, are pooled one by one.
"""

from collections.abc import Sequence
from functools import cache, reduce
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from pipeline.core.boxes import area, as_boxes
from pipeline.nets.geometry import Geometry

Rule = Literal["paper", "released"]

# The released code shifts corners by 6.5 pixels towards the region's middle before it rounds, at a stride of 16.
_SHIFT = 6.5 / 16


def cells_along(
    first: NDArray[np.float64], last: NDArray[np.float64], stride: float, centre: float, rule: Rule
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first and the last cell of regions along one axis; neither is limited to the map.

    Args:
        first: first pixel of each region.
        last: last pixel of each region, which is inside.
        stride: pixels between cells.
        centre: pixel at the centre of cell 0.
        rule: ``paper``: ``floor(x / S) + 1`` and ``ceil(x / S) - 1`` (appendix A). ``released``: rounded to the
            nearest cell (``spm_response_boxes.m``). A region so small that its ends cross gets the cell between them.
    """
    if rule == "paper":
        left = np.floor((first - centre) / stride) + 1
        right = np.ceil((last - centre) / stride) - 1
    else:
        left = np.floor((first - centre) / stride + _SHIFT + 0.5)
        right = np.ceil((last - centre) / stride - _SHIFT - 0.5)
    middle = np.floor((left + right) / 2)
    crossed = left > right
    return np.where(crossed, middle, left).astype(np.int64), np.where(crossed, middle, right).astype(np.int64)


def project(boxes: ArrayLike, factors: ArrayLike, hw: ArrayLike, geometry: Geometry, rule: Rule) -> NDArray[np.int64]:
    """Return the cells that each box covers, ``(N, 4)``: ``x1 y1 x2 y2``, half-open, inside the map, never empty.

    Args:
        boxes: ``(N, 4)`` in pixels of the image.
        factors: ``(2,)`` or ``(N, 2)``, input pixels per image pixel along x and y.
        hw: ``(2,)`` or ``(N, 2)``, height and width of the map in cells, 1 or more.
        geometry: of the network that made the map.
        rule: see `cells_along`.
    """
    boxes = as_boxes(boxes).astype(np.float64)
    factors, size = np.asarray(factors, np.float64), np.asarray(hw, np.int64)[..., ::-1]
    left, right = cells_along(
        boxes[:, :2] * factors, boxes[:, 2:] * factors - 1, geometry.stride, geometry.offset - 0.5, rule
    )
    return np.concatenate([np.clip(left, 0, size - 1), np.clip(right, 0, size - 1) + 1], axis=1)


def choose_scale(boxes: ArrayLike, factors: ArrayLike, scales: ArrayLike, side: float, rule: Rule) -> NDArray[np.int64]:
    """Return for each box the position of its scale, ``(N,)``; of equally good ones the first.

    Args:
        boxes: ``(N, 4)`` in pixels of one image.
        factors: ``(S, 2)``, input pixels per image pixel along x and y at each scale.
        scales: ``(S,)``, the shorter side of the input at each scale.
        side: of the square that a region should be like.
        rule: ``paper``: the scale at which the region's number of pixels is nearest to ``side`` squared. ``released``:
            the scale nearest to the one at which it would be equal (``spm_expected_scale.m``).
    """
    pixels = area(boxes).astype(np.float64)
    factors, scales = np.asarray(factors, np.float64), np.asarray(scales, np.float64)
    if rule == "paper":
        distance = np.abs(pixels[:, None] * factors.prod(axis=1) - side**2)
    else:
        shorter = scales[0] / factors[0].max() if len(scales) else 0.0
        expected = np.floor(side * shorter / np.sqrt(np.maximum(pixels, 1)) + 0.5)
        distance = np.abs(expected[:, None] - scales)
    return distance.argmin(axis=1)


def pool_regions(cells: torch.Tensor, hw: tuple[int, int], regions: NDArray, levels: Sequence[int]) -> torch.Tensor:
    """Return the pooled vectors ``(N, C * sum of squared levels)``, laid out as `SpatialPyramid` lays them out.

    Args:
        cells: ``(H * W, C)``, the map row by row.
        hw: its height and width.
        regions: ``(N, 4)`` int64, ``x1 y1 x2 y2`` in cells, half-open, inside the map, not empty.
        levels: ``n`` for ``n x n`` bins; bin ``i`` of ``w`` cells spans ``floor(i * w / n)`` to
            ``ceil((i + 1) * w / n)``.
    """
    corners = torch.from_numpy(regions).to(cells.device)
    finest = _finest(levels)
    pieces = torch.cat([bins(corners, level) for level in finest], dim=1)  # (N, M, 4)
    rectangles, place = _distinct(pieces.flatten(0, 1), max(hw) + 1)
    maxima = rectangle_maxima(cells.view(*hw, -1), rectangles)
    parts = place.view(pieces.shape[:2]).split([level**2 for level in finest], dim=1)
    fine = {level: maxima[part].unflatten(1, (level, level)) for level, part in zip(finest, parts, strict=True)}
    return _all_levels(fine, levels)


def pool_cuts(cuts: Sequence[NDArray], levels: Sequence[int]) -> torch.Tensor:
    """Return the same vectors as `pool_regions`, in the type of ``cuts``, for regions of many maps.

    ``cuts`` are the cells of each region, ``(h, w, C)`` float16 or float32, not negative: what a rectifier leaves.
    One after another is faster here than all on a common map, of which the doubling would make many copies.
    """
    half = cuts[0].dtype == np.float16
    # NumPy compares float16 one number at a time; numbers that are not negative are ordered as their bits are.
    comparable = [cut.view(np.int16) for cut in cuts] if half else cuts
    fine = {
        level: torch.from_numpy(np.stack([_bin_maxima(cut, level) for cut in comparable])) for level in _finest(levels)
    }
    pooled = _all_levels(fine, levels)
    return pooled.view(torch.float16) if half else pooled


def _bin_maxima(cut: NDArray, level: int) -> NDArray:
    """Return the maxima of the ``level x level`` bins of ``cut`` ``(h, w, C)``, ``(level, level, C)``."""
    strips = cut[_members(cut.shape[0], level)].max(axis=1)  # (level, w, C)
    return strips[:, _members(cut.shape[1], level)].max(axis=2)


@cache
def _members(length: int, level: int) -> NDArray[np.int64]:
    """Return the cells of each bin along an axis of ``length`` cells, ``(level, most of a bin)``, the last repeated."""
    number = np.arange(level)
    first, stop = number * length // level, -(-(number + 1) * length // level)
    return np.minimum(first[:, None] + np.arange((stop - first).max()), stop[:, None] - 1)


def _finest(levels: Sequence[int]) -> list[int]:
    """Return the levels that divide no other one."""
    return [level for level in levels if not any(other % level == 0 and other > level for other in levels)]


def _all_levels(fine: dict[int, torch.Tensor], levels: Sequence[int]) -> torch.Tensor:
    """Return the vectors of ``levels``, given the bins of the finest, ``(N, level, level, C)`` each."""
    known = dict(fine)
    for level in sorted(set(levels) - set(fine), reverse=True):
        finer = min(other for other in known if other % level == 0)
        known[level] = _coarser(known[finer], finer // level)
    return torch.cat([known[level].flatten(1, 2).transpose(1, 2).flatten(1) for level in levels], dim=1)


def rectangle_maxima(grid: torch.Tensor, rectangles: torch.Tensor) -> torch.Tensor:
    """Return the maxima ``(N, C)`` of ``grid`` ``(H, W, C)`` over ``rectangles`` ``(N, 4)``, half-open, not empty."""
    maxima = grid.new_empty(len(rectangles), grid.shape[2])
    x1, y1, x2, y2 = rectangles.unbind(1)
    columns, rows = _exponent(x2 - x1), _exponent(y2 - y1)
    tall = grid  # tall[y, x]: the maximum of 2 ** i cells from y downwards
    for i in range(int(rows.max()) + 1 if len(rows) else 0):
        tall = _doubled(tall, i, axis=0)
        square = tall  # square[y, x]: the maximum of tall over 2 ** j columns from x on
        for j in range(int(columns[rows == i].amax()) + 1 if bool((rows == i).any()) else 0):
            square = _doubled(square, j, axis=1)
            here = torch.nonzero((rows == i) & (columns == j)).flatten()
            top, bottom = y1[here], y2[here] - 2**i
            left, right = x1[here], x2[here] - 2**j
            upper = torch.maximum(square[top, left], square[top, right])
            maxima[here] = torch.maximum(upper, torch.maximum(square[bottom, left], square[bottom, right]))
    return maxima


def _coarser(values: torch.Tensor, step: int) -> torch.Tensor:
    """Return the maxima of ``step x step`` bins each of ``values`` ``(N, level, level, C)``.

    Slices are compared, as torch's maximum over two axes takes four times as long.
    """
    for axis in (1, 2):
        slices = [values[(slice(None),) * axis + (slice(first, None, step),)] for first in range(step)]
        values = reduce(torch.maximum, slices)
    return values


def _doubled(grid: torch.Tensor, exponent: int, axis: int) -> torch.Tensor:
    """Return the maxima over ``2 ** exponent`` neighbours, given those over half as many; exponent 0 gives ``grid``."""
    if exponent == 0:
        return grid
    half = 2 ** (exponent - 1)
    length = grid.shape[axis] - half
    return torch.maximum(grid.narrow(axis, 0, length), grid.narrow(axis, half, length))


def _exponent(lengths: torch.Tensor) -> torch.Tensor:
    """Return the exponents of the greatest powers of two that are at most ``lengths``, 1 or more."""
    return torch.frexp(lengths.double()).exponent - 1


def bins(regions: torch.Tensor, level: int) -> torch.Tensor:
    """Return the ``level x level`` bins of each region ``(N, 4)``, row by row, ``(N, level ** 2, 4)``, half-open."""
    step = torch.arange(level, device=regions.device)
    start, size = regions[:, :2], regions[:, 2:] - regions[:, :2]
    near = start[:, None] + step[None, :, None] * size[:, None] // level  # (N, level, x and y)
    far = start[:, None] + -(-(step[None, :, None] + 1) * size[:, None] // level)
    shape = (len(regions), level, level)
    columns = [side[:, None, :, 0].expand(shape) for side in (near, far)]
    rows = [side[:, :, None, 1].expand(shape) for side in (near, far)]
    return torch.stack([columns[0], rows[0], columns[1], rows[1]], dim=3).flatten(1, 2)


def _distinct(rectangles: torch.Tensor, base: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the different ones of ``rectangles`` ``(N, 4)``, whose values are below ``base``, and each one's place."""
    weights = base ** torch.arange(4, device=rectangles.device)
    keys, place = torch.unique((rectangles * weights).sum(1), return_inverse=True)
    return keys[:, None] // weights % base, place
