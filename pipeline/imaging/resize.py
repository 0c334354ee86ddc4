"""The size at which a network sees a whole image: shorter side fixed, longer side bounded, aspect kept."""

import numpy as np
from numpy.typing import NDArray


def scale_factor(width: int, height: int, short: int, longest: int) -> float:
    """Return the factor that makes the shorter side ``short`` pixels, or the longer one ``longest`` if that is less.

    Source: Fast R-CNN, section 4.1 (600 and 1,000 pixels); ``lib/utils/blob.py``.
    """
    factor = short / min(width, height)
    return longest / max(width, height) if round(factor * max(width, height)) > longest else factor


def resized_shape(width: int, height: int, factor: float) -> tuple[int, int]:
    """Return ``(height, width)`` of an image of ``width`` x ``height`` pixels after `resize`."""
    return max(1, round(height * factor)), max(1, round(width * factor))


def resize(image: NDArray[np.uint8], factor: float) -> NDArray[np.uint8]:
    """Resize ``image`` (H, W, 3) bilinearly, without antialiasing as the official codes do."""
    import cv2

    height, width = resized_shape(image.shape[1], image.shape[0], factor)
    if (height, width) == image.shape[:2]:
        return image
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
