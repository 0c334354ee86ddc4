"""Images stretched to a square, as single-shot networks see them: the aspect is not kept, and boxes go along."""

import numpy as np
from numpy.typing import NDArray

from pipeline.boxes import Boxes, as_boxes


def stretch(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Resize ``image`` (H, W, 3) to ``(side, side, 3)``, bilinearly without antialiasing, as the official codes do."""
    import cv2

    if image.shape[:2] == (side, side):
        return image
    return np.asarray(cv2.resize(image, (side, side), interpolation=cv2.INTER_LINEAR), np.uint8)


def to_square(boxes: Boxes, width: float, height: float, side: float) -> Boxes:
    """Return ``boxes`` (N, 4) of an image of ``width`` x ``height`` pixels as they lie in the square."""
    return as_boxes(boxes) * _factors(width, height, side)


def from_square(boxes: Boxes, width: float, height: float, side: float) -> Boxes:
    """Invert `to_square`."""
    return as_boxes(boxes) / _factors(width, height, side)


def _factors(width: float, height: float, side: float) -> NDArray[np.float32]:
    return np.array([side / width, side / height] * 2, np.float32)
