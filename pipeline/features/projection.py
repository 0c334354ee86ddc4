"""From windows of an image to windows of its convolutional map, and to the scale that suits each (SPP-net, appendix A).

Two rules, the paper's and the released code's. Both take the cells whose receptive fields are centred inside the
window; the paper's strictly so, the released code's with a tolerance of about a tenth of the stride.
"""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.boxes import area, as_boxes
from pipeline.nets.geometry import Geometry

Rule = Literal["paper", "released"]

# The released code shifts corners by 6.5 pixels towards the window's middle before it rounds, at a stride of 16.
_SHIFT = 6.5 / 16


def cells_along(
    first: NDArray[np.float64], last: NDArray[np.float64], stride: float, centre: float, rule: Rule
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first and the last cell of windows along one axis; neither is limited to the map.

    Args:
        first: first pixel of each window.
        last: last pixel of each window, itself inside.
        stride: pixels between cells.
        centre: pixel at the centre of cell 0.
        rule: ``paper``: ``floor(x / S) + 1`` and ``ceil(x / S) - 1`` (appendix A). ``released``: rounded to the
            nearest cell (``spm_response_boxes.m``). A window so small that its ends cross gets the cell between them.
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
        side: of the square that a window should be like.
        rule: ``paper``: the scale at which the window's number of pixels is nearest to ``side`` squared. ``released``:
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
