"""What both networks see of an image at test: the whole of it at their first scale."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.detectors.faster_rcnn.network import RpnShape
from pipeline.imaging.image_batches import pad, pixels
from pipeline.imaging.resize import scale_factor


@dataclass(frozen=True)
class Resized:
    """Images of one size, resized.

    Attributes:
        pixels: ``(N, 3, h, w)`` float32, normalised.
        factor: by which they were resized.
        size: ``(width, height)`` before that.
    """

    pixels: torch.Tensor
    factor: float
    size: tuple[int, int]

    @property
    def shape(self) -> tuple[int, int]:
        """Return height and width after resizing."""
        return self.pixels.shape[2], self.pixels.shape[3]


def resized(images: Sequence[NDArray[np.uint8]], shape: RpnShape, device: torch.device) -> Resized:
    """Resize ``images`` ``(H, W, 3)``, all of one size, to the first scale of ``shape``."""
    height, width = images[0].shape[:2]
    factor = scale_factor(width, height, shape.short_sides[0], shape.long_side)
    return Resized(pad([pixels(image, factor) for image in images], device), factor, (width, height))
