"""Training of SSD, end to end from the backbone."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from pipeline.data.image_cache import ImageCache
from pipeline.data.index import ImageRecord
from pipeline.detectors.single_shot.batches import SquareBatches
from pipeline.detectors.ssd.augment import Augmentation
from pipeline.detectors.ssd.batches import MatchedBatch, MatchedBatches, to_device
from pipeline.detectors.ssd.loss import multibox_losses
from pipeline.detectors.ssd.network import NEW_LAYERS, Ssd
from pipeline.params.single_shot import SsdTraining
from pipeline.training.batches import StepBatches
from pipeline.training.loop import Task, train


def train_ssd(
    network: Ssd,
    records: Sequence[ImageRecord],
    images: ImageCache,
    settings: SsdTraining,
    *,
    scratch: Path,
    seed: int,
    device: torch.device,
    workers: int,
) -> None:
    """Train ``network`` in place on the objects of ``records``; the first ``frozen_layers`` convolutions stay.

    Raises:
        InputError: no image has an object to train on, or a loss is not finite.
    """
    side = network.shape.side
    squares = SquareBatches(
        records,
        images,
        Augmentation(side, settings.augment),
        side=side,
        per_step=settings.images,
        difficult=settings.difficult,
        seed=seed,
    )
    batches = MatchedBatches(squares, network.defaults.cpu().numpy(), settings.match_iou)
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    train(
        Task(
            network,
            losses=lambda batch: losses(network, batch, settings),
            prepare=to_device,
            images=lambda batch: batch.image_ids,
            fast=NEW_LAYERS,
            fast_factor=settings.new_layer_lr,
            frozen=network.early_layers(settings.frozen_layers),
        ),
        StepBatches(batches, settings.schedule.steps),
        settings.schedule,
        scratch=scratch,
        seed=seed,
        device=device,
        workers=workers,
        what="training SSD",
    )


def losses(network: Ssd, batch: MatchedBatch, settings: SsdTraining) -> Mapping[str, Tensor]:
    """Return both terms of the loss, weighted."""
    scores, offsets = network(batch.images)
    terms = multibox_losses(scores, offsets, batch.labels, batch.offsets, settings.negatives)
    return {"confidence": terms["confidence"], "box": settings.box_weight * terms["box"]}
