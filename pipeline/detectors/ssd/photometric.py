"""Colours of a training sample: brightness, contrast, saturation and hue (SSD, section 2.2; ``im_transforms.cpp``).

torchvision's ``RandomPhotometricDistort`` has the same ranges, but shuffles the channels too, which the authors'
settings do not, and takes several times as long on a CPU.
"""

import numpy as np
from numpy.typing import NDArray

BRIGHTNESS, CONTRAST, SATURATION, HUE = 32.0, 0.5, 0.5, 18.0


def distort(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return ``image`` (H, W, 3) uint8 RGB with each of four changes made half of the time.

    Brightness plus or minus up to 32, contrast and saturation times 0.5 to 1.5, hue turned by up to 18 of 180. Contrast
    comes second or last, by the toss of a coin. Every step saturates at 0 and 255.
    """
    brightness = rng.uniform(-BRIGHTNESS, BRIGHTNESS) if rng.random() < 0.5 else 0.0
    contrast = rng.uniform(1 - CONTRAST, 1 + CONTRAST) if rng.random() < 0.5 else 1.0
    saturation = rng.uniform(1 - SATURATION, 1 + SATURATION) if rng.random() < 0.5 else 1.0
    hue = rng.uniform(-HUE, HUE) if rng.random() < 0.5 else 0.0
    image = _scale(image, 1.0, brightness)
    if rng.random() < 0.5:
        return _colour(_scale(image, contrast, 0.0), saturation, hue)
    return _scale(_colour(image, saturation, hue), contrast, 0.0)


def _scale(values: NDArray[np.uint8], factor: float, shift: float) -> NDArray[np.uint8]:
    """Return ``factor * values + shift``, rounded and saturated, by a table of the 256 results."""
    if factor == 1 and shift == 0:
        return values
    return _table(factor * np.arange(256) + shift)[values]


def _table(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _colour(image: NDArray[np.uint8], saturation: float, hue: float) -> NDArray[np.uint8]:
    import cv2

    if saturation == 1 and hue == 0:
        return image
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)  # hue 0 to 179
    turned = np.mod(np.rint(np.arange(256) + hue), 180).astype(np.uint8)  # the official code stops at the ends instead
    tables = np.stack([turned, _table(saturation * np.arange(256)), np.arange(256, dtype=np.uint8)], axis=-1)
    return np.asarray(cv2.cvtColor(cv2.LUT(hsv, tables[None]), cv2.COLOR_HSV2RGB), np.uint8)
