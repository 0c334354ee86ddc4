"""Anchors: reference boxes of several scales and shapes on every cell of the map (Faster R-CNN, section 3.1.1)."""

from collections.abc import Sequence

import numpy as np

from pipeline.boxes import Boxes
from pipeline.detectors.fast_rcnn.cells import map_shift
from pipeline.nets.geometry import Geometry


def reference_anchors(base: int, sides: Sequence[float], ratios: Sequence[float]) -> Boxes:
    """Return the anchors around the cell that spans pixels 0 to ``base``: ``(ratios * sides, 4)``, ratio by ratio.

    A ratio is height over width. The shape is rounded to whole pixels at the area of ``base`` squared and then enlarged
    to each of ``sides``, as the official code does (``generate_anchors.py``, whose boxes name the last pixel and ours
    the one after it). NumPy rounds halves to even in both.
    """
    anchors = []
    for ratio in ratios:
        width = np.round(np.sqrt(base * base / ratio))
        half = np.array([width, np.round(width * ratio)]) / 2
        anchors += [np.concatenate([base / 2 - half * side / base, base / 2 + half * side / base]) for side in sides]
    return np.array(anchors, np.float32).reshape(-1, 4)


def anchor_grid(reference: Boxes, geometry: Geometry, rows: int, columns: int) -> Boxes:
    """Return the anchors of a map of ``rows`` x ``columns`` cells in pixels of the resized image.

    The order is row, column, anchor: ``(rows * columns * len(reference), 4)``.
    """
    x, y = np.meshgrid(np.arange(columns), np.arange(rows))
    corner = np.stack([x, y, x, y], axis=-1).reshape(-1, 1, 4) * geometry.stride + map_shift(geometry)
    return (corner + reference).reshape(-1, 4).astype(np.float32)
