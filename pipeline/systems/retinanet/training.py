"""Training of RetinaNet, end to end (section 4.1): random views of images, their anchors' targets, the loop."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Unpack

import numpy as np
import torch

from pipeline.core.boxes import Boxes
from pipeline.core.part import WHOLE, Part
from pipeline.data.images import ImageCache
from pipeline.data.index import ImageRecord
from pipeline.systems.retinanet.anchors import targets
from pipeline.systems.retinanet.loss import box_loss, class_loss
from pipeline.systems.retinanet.network import NEW_LAYERS, Retinanet
from pipeline.systems.retinanet.params import RetinanetTraining
from pipeline.systems.square_batches import SquareBatches, unchanged
from pipeline.systems.square_training import train_on_squares
from pipeline.systems.square_view import RandomView
from pipeline.training import Run
from pipeline.training_images import TrainingImages


@dataclass(frozen=True)
class AnchorBatch:
    """A step's images and targets.

    Attributes:
        images: ``(N, 3, side, side)`` uint8 RGB, channels last in memory.
        labels: ``(N, A)`` int64 category of each anchor, 0 for background, -1 for neither.
        offsets: ``(N, A, 4)`` float32.
        positives: ``(N,)`` int64; `anchors.Targets.positives`.
        image_ids: of the images.
    """

    images: torch.Tensor
    labels: torch.Tensor
    offsets: torch.Tensor
    positives: torch.Tensor
    image_ids: tuple[int, ...]


@dataclass(frozen=True)
class AnchorBatches:
    """Makes the batch of a step; objects are assigned to anchors here, where the loader's processes are.

    Attributes:
        squares: makes the images and objects.
        anchors: ``(A, 4)``.
        positive: least overlap of an anchor with its object.
        negative: overlap from which on an anchor is no background.
    """

    squares: SquareBatches
    anchors: Boxes
    positive: float
    negative: float

    def __call__(self, step: int, part: Part = WHOLE) -> AnchorBatch:
        """Return the batch of ``step``, or a part of it."""
        batch = self.squares(step, part)
        found = [
            targets(self.anchors, boxes.numpy(), labels.numpy(), self.positive, self.negative)
            for boxes, labels in zip(batch.boxes, batch.labels, strict=True)
        ]
        return AnchorBatch(
            batch.images,
            torch.from_numpy(np.stack([each.labels for each in found])),
            torch.from_numpy(np.stack([each.offsets for each in found])),
            torch.tensor([each.positives for each in found]),
            batch.image_ids,
        )


def anchor_batches(
    network: Retinanet,
    records: Sequence[ImageRecord],
    images: ImageCache,
    settings: RetinanetTraining,
    seed: int,
    *,
    held_out: bool = False,
) -> AnchorBatches:
    """Return what makes the batches that `train_retinanet` trains on, or those of ``held_out`` images as they are.

    Raises:
        InputError: no image has an object to train on.
    """
    squares = SquareBatches(
        records,
        images,
        unchanged if held_out else RandomView(settings.augment.scale, settings.augment.flip),
        side=network.shape.side,
        per_step=settings.batch,
        difficult=settings.difficult,
        seed=seed,
    )
    return AnchorBatches(squares, network.anchors.cpu().numpy(), settings.positive_iou, settings.negative_iou)


def train_retinanet(
    network: Retinanet,
    records: Sequence[ImageRecord],
    images: ImageCache,
    settings: RetinanetTraining,
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
        anchor_batches,
        records,
        images,
        settings,
        held_out,
        losses=losses,
        counts=counts,
        new=NEW_LAYERS,
        title="training RetinaNet",
        **run,
    )


def counts(batch: AnchorBatch) -> Mapping[str, int]:
    """Return the number of positive anchors, by which `losses` divides both terms."""
    positives = int(batch.positives.sum())
    return {"class": positives, "box": positives}


def losses(network: Retinanet, batch: AnchorBatch, settings: RetinanetTraining) -> Mapping[str, torch.Tensor]:
    """Return both terms of the loss, divided by the number of positive anchors in the batch."""
    logits, offsets = network(batch.images)
    count = batch.positives.sum()
    box = box_loss(offsets, batch.offsets, batch.labels, settings.box_beta)
    return {
        "class": class_loss(logits, batch.labels, network.anchors, settings.loss) / count,
        "box": settings.box_weight * box / count,
    }
