"""Training of the proposal network; the detector's is Fast R-CNN's."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipeline.data.image_cache import ImageCache
from pipeline.data.index import ImageRecord
from pipeline.detectors.fast_rcnn.targets import TargetStatistics, fold
from pipeline.detectors.faster_rcnn.network import RegionProposalNetwork
from pipeline.detectors.faster_rcnn.rpn_batches import AnchorBatch, AnchorBatches, to_device
from pipeline.detectors.faster_rcnn.rpn_loss import objectness_loss, offset_loss
from pipeline.params.faster_rcnn import RpnTraining
from pipeline.training.batches import StepBatches
from pipeline.training.loop import Task, train


def train_rpn(
    network: RegionProposalNetwork,
    records: Sequence[ImageRecord],
    images: ImageCache,
    settings: RpnTraining,
    *,
    frozen: tuple[str, ...],
    scratch: Path,
    seed: int,
    device: torch.device,
    workers: int,
    what: str,
) -> None:
    """Train ``network`` in place, with new proposal layers; it ends with plain offsets (see `fold`)."""
    batches = AnchorBatches(records, images, network, settings, seed)
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    train(
        Task(
            network,
            losses=lambda batch: losses(network, batch, settings),
            prepare=to_device,
            images=lambda batch: batch.image_ids,
            frozen=frozen,
        ),
        StepBatches(batches, settings.schedule.steps),
        settings.schedule,
        scratch=scratch,
        seed=seed,
        device=device,
        workers=workers,
        what=what,
    )
    count = len(network.reference)
    shared = TargetStatistics(
        *(np.repeat(values, count, axis=0) for values in (batches.statistics.mean, batches.statistics.std))
    )
    fold(network.offsets, shared)
    network.eval()


def losses(network: RegionProposalNetwork, batch: AnchorBatch, settings: RpnTraining) -> Mapping[str, Tensor]:
    """Return both terms of the loss, weighted."""
    scores, offsets = network(batch.images)
    normaliser = batch.positions if settings.box_normaliser == "positions" else len(batch.rows)
    objects = batch.rows[: len(batch.targets)]
    box = offset_loss(offsets.flatten(0, 1)[objects], batch.targets, normaliser, settings.box_sigma)
    return {
        "objectness": objectness_loss(scores.flatten(0, 1)[batch.rows], batch.labels),
        "box": settings.box_weight * box,
    }
