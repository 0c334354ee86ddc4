"""Supervised pre-training: a classifier of object crops whose convolutions become the backbone."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from pipeline.data.image_cache import ImageCache
from pipeline.data.index import ImageRecord
from pipeline.features.window_batches import WindowBatch, collect, warp_batch
from pipeline.features.windows import Windows
from pipeline.nets.pyramid_network import PyramidNetwork
from pipeline.params.backbone import Pretrain
from pipeline.params.classical import Region
from pipeline.pretraining.crops import CropBatches
from pipeline.training.batches import StepBatches
from pipeline.training.classification import classification_loss
from pipeline.training.loop import Task, train

# Crops show the object and a sixteenth of its side around it.
_CROP = Region(size=64, padding=4, mode="warp")


def pretrain(
    network: PyramidNetwork,
    crops: CropBatches,
    settings: Pretrain,
    *,
    scratch: Path,
    seed: int,
    device: torch.device,
    workers: int,
) -> None:
    """Train ``network`` in place; see `training.loop.train` for resuming."""
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    task = Task(
        network,
        losses=classification_loss(network),
        prepare=lambda batch, target: warp_batch(batch, _CROP, target),
        images=lambda batch: [crops.image_id(position) for position in batch.images],
    )
    steps = StepBatches(crops, settings.schedule.steps)
    train(
        task, steps, settings.schedule, scratch=scratch, seed=seed, device=device, workers=workers, what="pretraining"
    )


def accuracy(
    network: nn.Module, images: Sequence[ImageRecord], cache: ImageCache, size: int, device: torch.device
) -> float | None:
    """Return the share of objects whose crop of ``size`` pixels is given its class; None without any object."""
    right = total = 0
    network.eval()
    for position, image in enumerate(images):
        if not len(image.boxes):
            continue
        batch = _objects(position, image, cache, size)
        crops = warp_batch(batch, _CROP, device)
        with torch.inference_mode():
            right += int((network(crops.inputs).argmax(1) == crops.labels).sum())
        total += len(crops.labels)
    return right / total if total else None


def _objects(position: int, image: ImageRecord, cache: ImageCache, size: int) -> WindowBatch:
    count = len(image.boxes)
    windows = Windows(np.full(count, position, np.int64), image.boxes, image.labels, np.zeros(count, np.bool_))
    return collect(windows, cache, size)
