"""Training of YOLO, end to end (section 2.2)."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from pipeline.data.image_cache import ImageCache
from pipeline.data.index import ImageRecord
from pipeline.detectors.single_shot.batches import SquareBatch, SquareBatches, to_device
from pipeline.detectors.yolo.augment import YoloAugment
from pipeline.detectors.yolo.loss import yolo_losses
from pipeline.detectors.yolo.network import Yolo
from pipeline.detectors.yolo.sharing import share, unite
from pipeline.detectors.yolo.targets import cell_targets
from pipeline.params.single_shot import YoloTraining
from pipeline.training.batches import StepBatches
from pipeline.training.loop import Task, train


def train_yolo(
    network: Yolo,
    records: Sequence[ImageRecord],
    images: ImageCache,
    settings: YoloTraining,
    *,
    scratch: Path,
    seed: int,
    device: torch.device,
    workers: int,
) -> None:
    """Train ``network`` in place; with ``matrix_lr`` its cells share weights meanwhile (`sharing`)."""
    batches = SquareBatches(
        records,
        images,
        YoloAugment(network.shape.side, settings.augment),
        side=network.shape.side,
        per_step=settings.batch,
        difficult=settings.difficult,
        seed=seed,
    )
    matrices = share(network) if settings.matrix_lr is not None else ()
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    train(
        Task(
            network,
            losses=lambda batch: losses(network, batch, settings),
            prepare=to_device,
            images=lambda batch: batch.image_ids,
            fast=matrices,
            fast_factor=settings.matrix_lr or 0.0,
            frozen=network.early_layers(settings.frozen_layers),
        ),
        StepBatches(batches, settings.schedule.steps),
        settings.schedule,
        scratch=scratch,
        seed=seed,
        device=device,
        workers=workers,
        what="training YOLO",
    )
    unite(network)


def losses(network: Yolo, batch: SquareBatch, settings: YoloTraining) -> Mapping[str, torch.Tensor]:
    """Return the terms of the loss, weighted."""
    targets = cell_targets(batch.boxes, batch.labels, network.shape.side, network.grid)
    return yolo_losses(network.split(network(batch.images)), targets, network.grid, settings.weights)
