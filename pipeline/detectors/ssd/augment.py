"""Training samples of SSD: another window, other colours, a square, perhaps mirrored (section 2.2)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.boxes import Boxes, area
from pipeline.detectors.single_shot.batches import Sample
from pipeline.detectors.ssd.crop import Window, crop, expand, shown
from pipeline.detectors.ssd.photometric import distort
from pipeline.imaging.image_batches import mirror
from pipeline.nets.backbones import MEAN
from pipeline.params.single_shot import SsdAugmentation

# OpenCV's nearest, linear, cubic, area, Lanczos: each as likely.
INTERPOLATIONS = 5
FILL = tuple(round(255 * mean) for mean in MEAN)


@dataclass(frozen=True)
class Augmentation:
    """Draws samples as squares of ``side`` pixels; an `Augment` of the single-shot batches.

    The official code changes colours first and then expands, crops and resizes whole images. Here the window is chosen
    first, and colours change in what it shows, at the size at which it is shown: the same picture but for rounding,
    from far fewer pixels.
    """

    side: int
    settings: SsdAugmentation

    def __call__(
        self, image: NDArray[np.uint8], boxes: Boxes, labels: NDArray[np.int64], rng: np.random.Generator
    ) -> Sample:
        """Return a square image, its boxes and their labels: objects with their centre in the window, clipped."""
        height, width = image.shape[:2]
        window = expand(width, height, self.settings.expand, rng)
        window = crop(window, boxes, self.settings.crop_overlaps, self.settings.crop_scale, rng)
        kept = shown(window, boxes)
        square, source, target = self._draw(image, window, rng)
        moved = _project(boxes[kept], source, target)
        if self.settings.flip and rng.random() < 0.5:
            square, moved = square[:, ::-1], mirror(moved, self.side)
        visible = area(moved) > 0
        return square, moved[visible], labels[kept][visible]

    def _draw(
        self, image: NDArray[np.uint8], window: Window, rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], Window, Window]:
        """Return the square, and which rectangle of the image is drawn on which rectangle of it."""
        import cv2

        height, width = image.shape[:2]
        source = np.clip(window, 0, [width, height] * 2)
        scale = self.side / (window[2:] - window[:2])
        target = np.rint((source - np.tile(window[:2], 2)) * np.tile(scale, 2)).astype(np.int64)
        square = np.full((self.side, self.side, 3), FILL, np.uint8)
        (x1, y1, x2, y2), (u1, v1, u2, v2) = source, target
        method = int(rng.integers(INTERPOLATIONS))
        if (target[2:] > target[:2]).all():  # else less than half a pixel is seen
            part = cv2.resize(image[y1:y2, x1:x2], (int(u2 - u1), int(v2 - v1)), interpolation=method)
            square[v1:v2, u1:u2] = distort(part, rng) if self.settings.photometric else part
        return square, source, target


def _project(boxes: Boxes, source: Window, target: Window) -> Boxes:
    """Return ``boxes`` clipped to ``source``, as they lie where that rectangle is drawn on ``target``."""
    inside = np.clip(boxes, np.tile(source[:2], 2), np.tile(source[2:], 2))
    factors = (target[2:] - target[:2]) / np.maximum(1, source[2:] - source[:2])
    return ((inside - np.tile(source[:2], 2)) * np.tile(factors, 2) + np.tile(target[:2], 2)).astype(np.float32)
