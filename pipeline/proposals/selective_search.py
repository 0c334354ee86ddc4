"""Selective search by the ``selectivesearch`` package: the union of its regions over several segmentation scales.

The package does one segmentation in one colour treatment; several scales make up for the paper's several strategies.
"""

import warnings

import numpy as np
from numpy.typing import NDArray
from selectivesearch import selective_search

from pipeline.boxes import Boxes, as_boxes, from_xywh
from pipeline.params.proposals import SelectiveSearch


def search(image: NDArray[np.uint8], settings: SelectiveSearch) -> Boxes:
    """Return the boxes of all regions at all scales, ``(N, 4)``, in no useful order and with duplicates.

    The smallest segment has as many pixels as the scale, as in the papers' wrapper.

    Args:
        image: ``(H, W, 3)`` uint8, RGB.
        settings: scales and smoothing of the graph segmentation.
    """
    return np.concatenate([_at_scale(image, scale, settings.sigma) for scale in settings.scales])


def _at_scale(image: NDArray[np.uint8], scale: int, sigma: float) -> Boxes:
    with warnings.catch_warnings():
        # It computes local binary patterns of a float image, which scikit-image advises against.
        warnings.simplefilter("ignore", UserWarning)
        _, regions = selective_search(image, scale=scale, sigma=sigma, min_size=scale)
    # Its width and height are those between the first and the last pixel: one less than the number of pixels.
    return from_xywh(as_boxes([region["rect"] for region in regions]) + np.array([0, 0, 1, 1], np.float32))
