"""The batch of a step of SSD: augmented squares and what every default box should become."""

from dataclasses import dataclass, replace

import numpy as np
import torch

from pipeline.boxes import Boxes
from pipeline.detectors.single_shot.batches import SquareBatches
from pipeline.detectors.ssd.matching import targets


@dataclass(frozen=True)
class MatchedBatch:
    """A step's images and targets.

    Attributes:
        images: ``(N, 3, side, side)`` uint8 RGB, channels last in memory.
        labels: ``(N, A)`` int64 category of each default box, 0 for background.
        offsets: ``(N, A, 4)`` float32.
        image_ids: of the images.
    """

    images: torch.Tensor
    labels: torch.Tensor
    offsets: torch.Tensor
    image_ids: tuple[int, ...]


def to_device(batch: MatchedBatch, device: torch.device) -> MatchedBatch:
    """Move a batch to ``device``."""
    images, labels, offsets = (tensor.to(device) for tensor in (batch.images, batch.labels, batch.offsets))
    return replace(batch, images=images, labels=labels, offsets=offsets)


@dataclass(frozen=True)
class MatchedBatches:
    """Makes the batch of a step; matching is done here, where the loader's processes are.

    Attributes:
        squares: makes the images and objects.
        defaults: the default boxes, ``(A, 4)``.
        threshold: least overlap of a matched box.
    """

    squares: SquareBatches
    defaults: Boxes
    threshold: float

    def __call__(self, step: int) -> MatchedBatch:
        """Return the batch of ``step``."""
        batch = self.squares(step)
        found = [
            targets(self.defaults, boxes.numpy(), labels.numpy(), self.threshold)
            for boxes, labels in zip(batch.boxes, batch.labels, strict=True)
        ]
        return MatchedBatch(
            batch.images,
            torch.from_numpy(np.stack([each.labels for each in found])),
            torch.from_numpy(np.stack([each.offsets for each in found])),
            batch.image_ids,
        )
