"""Boxes in cells of a convolutional map, with the rounding that RoI pooling was published with."""

import numpy as np
from numpy.typing import NDArray

from pipeline.boxes import Boxes
from pipeline.nets.geometry import Geometry


def map_shift(geometry: Geometry) -> float:
    """Return the pixels by which cell i lies right of pixels ``stride * i`` up to ``stride * (i + 1)``.

    Zero for VGG16, as the papers' rounding rule assumes. Convolutions without full padding (AlexNet, SqueezeNet) move
    the map.
    """
    return geometry.offset - geometry.stride / 2


def to_cells(boxes: Boxes, factor: float, geometry: Geometry) -> NDArray[np.float32]:
    """Return first and last cell ``(x1, y1, x2, y2)``, both inclusive, of ``boxes`` (N, 4): whole numbers, float32.

    ``boxes`` are in pixels of the original image, which was resized by ``factor``. Coordinates are rounded half away
    from zero, as C's ``round`` does (``roi_pooling_layer.cpp``).
    """
    # The official boxes name the last pixel, ours the one after it.
    inclusive = (boxes - np.array([0, 0, 1, 1], np.float32)).astype(np.float64) * factor
    places = (inclusive - map_shift(geometry)) / geometry.stride
    return (np.sign(places) * np.floor(np.abs(places) + 0.5)).astype(np.float32)
