"""Whole images of different sizes as one batch."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.boxes import Boxes
from pipeline.imaging.resize import resize
from pipeline.nets.backbones import normalise


def pixels(image: NDArray[np.uint8], factor: float, mirrored: bool = False) -> torch.Tensor:
    """Return ``image`` (H, W, 3) RGB, mirrored if wanted and resized by ``factor``, as uint8 ``(3, h, w)``."""
    shown = image[:, ::-1] if mirrored else image
    return torch.from_numpy(np.ascontiguousarray(resize(np.ascontiguousarray(shown), factor))).permute(2, 0, 1)


def mirror(boxes: Boxes, width: float) -> Boxes:
    """Return ``boxes`` (N, 4) as they lie in the mirrored image of ``width`` pixels."""
    x1, y1, x2, y2 = boxes.T
    return np.stack([width - x2, y1, width - x1, y2], axis=1).astype(np.float32)


def batch_shape(shapes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Return the common ``(height, width)`` to which images of these shapes are padded."""
    return max(height for height, _ in shapes), max(width for _, width in shapes)


def pad(images: Sequence[torch.Tensor], device: torch.device) -> torch.Tensor:
    """Normalise uint8 images ``(3, h, w)`` and pad them right and below to one float32 batch ``(N, 3, H, W)``.

    The padding is zero after normalisation, the mean colour (``lib/utils/blob.py`` of Fast R-CNN).
    """
    height, width = batch_shape([(image.shape[1], image.shape[2]) for image in images])
    batch = torch.zeros(len(images), 3, height, width, device=device).contiguous(memory_format=torch.channels_last)
    for place, image in zip(batch, images, strict=True):
        place[:, : image.shape[1], : image.shape[2]] = normalise(image.to(device))
    return batch
