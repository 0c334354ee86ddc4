"""Selective search by OpenCV's ximgproc, set up strategy by strategy instead of by its own "fast" and "quality".

Its fast mode uses k = 150, 300 and 450; the paper's uses k = 50 and 100 with a minimum segment size of k, in HSV and
Lab, with colour + texture + size + fill and with texture + size + fill (Uijlings et al., IJCV 2013, section 5.3).
"""

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from cv2.ximgproc import segmentation
from numpy.typing import NDArray

from pipeline.boxes import Boxes, as_boxes, from_xywh
from pipeline.params.proposals import OpenCV

_COLOURS = {"hsv": cv2.COLOR_RGB2HSV, "lab": cv2.COLOR_RGB2Lab, "rgb": cv2.COLOR_RGB2BGR, "grey": cv2.COLOR_RGB2GRAY}
_TERMS = {
    "c": segmentation.createSelectiveSearchSegmentationStrategyColor,
    "t": segmentation.createSelectiveSearchSegmentationStrategyTexture,
    "s": segmentation.createSelectiveSearchSegmentationStrategySize,
    "f": segmentation.createSelectiveSearchSegmentationStrategyFill,
}


def search(image: NDArray[np.uint8], settings: OpenCV) -> Boxes:
    """Return the boxes of all regions of all hierarchies, ``(N, 4)``, in no useful order and with duplicates.

    The set of boxes repeats from run to run; OpenCV's order does not, as it draws from C's ``rand()``.

    Args:
        image: ``(H, W, 3)`` uint8, RGB.
        settings: colour spaces, k values and similarity sums; every combination gives one hierarchy.
    """
    cv2.setNumThreads(1)  # images, not pixels, are spread over the cores
    return np.concatenate([as_boxes(np.zeros((0, 4))), *(from_xywh(found) for found in _searches(image, settings))])


def _searches(image: NDArray[np.uint8], settings: OpenCV) -> Iterator[NDArray[np.int32]]:
    for colour in settings.colours:
        converted = cv2.cvtColor(image, _COLOURS[colour])
        for k in settings.k:
            yield _search(converted, k, settings).process()


def _search(image: NDArray[np.uint8], k: float, settings: OpenCV) -> Any:
    """Set up one graph segmentation and, on it, one hierarchy for each sum of similarities."""
    graph = segmentation.createGraphSegmentation(settings.sigma, k, max(1, round(k)))
    search = segmentation.createSelectiveSearchSegmentation()
    search.addImage(image)
    search.addGraphSegmentation(graph)
    for letters in settings.similarities:
        total = segmentation.createSelectiveSearchSegmentationStrategyMultiple()
        for letter in letters:
            total.addStrategy(_TERMS[letter](), 1 / len(letters))
        search.addStrategy(total)
    return search
