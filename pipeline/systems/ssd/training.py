"""The multi-box loss (SSD, section 2.2): confidence over mined boxes, localisation over the matched ones.

The batch of a step of SSD: augmented squares and what every default box should become.

Training of SSD, end to end from the backbone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Unpack

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.core.boxes import Boxes
from pipeline.core.part import WHOLE, Part
from pipeline.data.images import ImageCache
from pipeline.data.index import ImageRecord
from pipeline.systems.square_batches import SquareBatches, unchanged
from pipeline.systems.square_training import train_on_squares
from pipeline.systems.ssd.augment import Augmentation
from pipeline.systems.ssd.boxes import targets
from pipeline.systems.ssd.network import Ssd
from pipeline.systems.ssd.params import SsdTraining
from pipeline.training import Run
from pipeline.training_images import TrainingImages


def multibox_losses(
    scores: torch.Tensor, offsets: torch.Tensor, labels: torch.Tensor, targets: torch.Tensor, negatives: float
) -> dict[str, torch.Tensor]:
    """Return both terms, summed and divided by the number of matched boxes in the batch; 0 without any.

    Args:
        scores: ``(N, A, classes + 1)``, before the softmax, the background first.
        offsets: ``(N, A, 4)``.
        labels: ``(N, A)`` int64, 0 for background.
        targets: ``(N, A, 4)`` offsets; those of background boxes count for nothing, but are finite.
        negatives: background boxes an image, for each matched one.
    """
    matched = labels > 0
    # With the classes second the softmax runs over whole columns, which a CPU does in a fifth of the time.
    errors = F.cross_entropy(scores.transpose(1, 2), labels, reduction="none")
    counted = matched | hard_negatives(errors.detach(), matched, negatives)
    count = matched.sum().clamp(min=1)
    # Boxes that do not count have an error of 0 instead of being left out: a GPU would have to tell how many are left.
    confidence = errors.where(counted, 0).sum()
    box = F.smooth_l1_loss(offsets.where(matched[..., None], targets), targets, reduction="sum")
    return {"confidence": confidence / count, "box": box / count}


def hard_negatives(errors: torch.Tensor, matched: torch.Tensor, ratio: float) -> torch.Tensor:
    """Return which background boxes count, ``(N, A)`` bool: in each image those with the greatest error.

    There are ``ratio`` times as many as matched boxes in the image, so an image without objects has none. A box that
    overlaps an object by the matching threshold is matched, so every other one may serve as background.

    Args:
        errors: ``(N, A)`` softmax loss of each box against its label.
        matched: ``(N, A)`` bool.
        ratio: background boxes for each matched one.
    """
    candidates = errors.masked_fill(matched, -torch.inf)
    worst_first = candidates.argsort(dim=1, descending=True, stable=True)
    chosen = torch.arange(errors.shape[1], device=errors.device) < ratio * matched.sum(dim=1, keepdim=True)
    return torch.zeros_like(matched).scatter(1, worst_first, chosen) & ~matched


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

    def __call__(self, step: int, part: Part = WHOLE) -> MatchedBatch:
        """Return the batch of ``step``, or a part of it."""
        batch = self.squares(step, part)
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


def matched_batches(
    network: Ssd,
    records: Sequence[ImageRecord],
    images: ImageCache,
    settings: SsdTraining,
    seed: int,
    *,
    held_out: bool = False,
) -> MatchedBatches:
    """Return what makes the batches that `train_ssd` trains on, or those of ``held_out`` images, not augmented.

    Raises:
        InputError: no image has an object to train on.
    """
    side = network.shape.side
    squares = SquareBatches(
        records,
        images,
        unchanged if held_out else Augmentation(side, settings.augment),
        side=side,
        per_step=settings.batch,
        difficult=settings.difficult,
        seed=seed,
    )
    return MatchedBatches(squares, network.defaults.cpu().numpy(), settings.match_iou)


def train_ssd(
    network: Ssd,
    records: Sequence[ImageRecord],
    images: ImageCache,
    settings: SsdTraining,
    held_out: TrainingImages | None = None,
    **run: Unpack[Run],
) -> None:
    """Train ``network`` in place on the objects of ``records``; the first ``frozen_layers`` convolutions stay.

    ``held_out`` are the images of the schedule's ``validation_batches``.

    Raises:
        InputError: no image has an object to train on, or a loss is not finite.
    """
    train_on_squares(
        network,
        matched_batches,
        records,
        images,
        settings,
        held_out,
        losses=losses,
        counts=counts,
        new=network.new_layers,
        title="training SSD",
        **run,
    )


def counts(batch: MatchedBatch) -> Mapping[str, int]:
    """Return the number of matched boxes, by which `multibox_losses` divides both terms."""
    matched = int((batch.labels > 0).sum())
    return {"confidence": matched, "box": matched}


def losses(network: Ssd, batch: MatchedBatch, settings: SsdTraining) -> Mapping[str, Tensor]:
    """Return both terms of the loss, weighted."""
    scores, offsets = network(batch.images)
    terms = multibox_losses(scores, offsets, batch.labels, batch.offsets, settings.negatives)
    return {"confidence": terms["confidence"], "box": settings.box_weight * terms["box"]}
