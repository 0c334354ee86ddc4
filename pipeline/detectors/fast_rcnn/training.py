"""Training of the detector, end to end or with frozen layers: the same for Fast R-CNN and for both rounds of Faster."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from pipeline.boxes import Boxes
from pipeline.data.image_cache import ImageCache
from pipeline.data.index import ImageRecord
from pipeline.detectors.fast_rcnn.batches import DeviceBatch, RegionBatches, to_device
from pipeline.detectors.fast_rcnn.loss import box_loss, score_loss
from pipeline.detectors.fast_rcnn.network import FastRcnn
from pipeline.detectors.fast_rcnn.sampling import label_regions, target_statistics
from pipeline.detectors.fast_rcnn.targets import TargetStatistics, fold, unfold
from pipeline.params.fast_rcnn import RegionTraining
from pipeline.training.batches import StepBatches
from pipeline.training.loop import Task, train


def train_detector(
    network: FastRcnn,
    records: Sequence[ImageRecord],
    proposals: Sequence[Boxes],
    images: ImageCache,
    settings: RegionTraining,
    *,
    new: Sequence[str],
    frozen: tuple[str, ...],
    scratch: Path,
    seed: int,
    device: torch.device,
    workers: int,
    what: str,
) -> None:
    """Train ``network`` in place on ``proposals`` of ``records``.

    While it trains its offsets are normalised. Statistics are folded into the last layer once, here, after the last
    step, so that the network gives plain offsets; checkpoints in ``scratch`` hold the layer as it trains.

    Layers that are ``new`` start as they were drawn; ``offsets`` that are not give plain offsets at the start as well.
    A new fc6 and fc7 learn ``new_fc_lr`` times faster: convolutions that learn as fast lose what they were pre-trained
    for.
    """
    regions = [label_regions(image, boxes, settings) for image, boxes in zip(records, proposals, strict=True)]
    groups = network.shape.classes + 1
    statistics = TargetStatistics.none(groups)
    if settings.normalise_targets:
        statistics = target_statistics(regions, groups - 1, settings.flip)
    batches = RegionBatches(records, regions, images, statistics, network, settings, seed)
    if "offsets" not in new:
        unfold(network.offsets, statistics)
    network.dropout.p = settings.dropout
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    train(
        Task(
            network,
            losses=lambda batch: losses(network, batch, settings),
            prepare=to_device,
            images=lambda batch: batch.image_ids,
            frozen=frozen,
            fast=tuple(f"{name}." for name in ("fc6", "fc7") if name in new),
            fast_factor=settings.new_fc_lr,
        ),
        StepBatches(batches, settings.schedule.steps),
        settings.schedule,
        scratch=scratch,
        seed=seed,
        device=device,
        workers=workers,
        what=what,
    )
    fold(network.offsets, statistics)
    network.eval()


def losses(network: FastRcnn, batch: DeviceBatch, settings: RegionTraining) -> Mapping[str, Tensor]:
    """Return both terms of the loss, weighted."""
    scores, offsets = network(batch.images, batch.cells)
    box = box_loss(offsets, batch.labels, batch.targets, settings.box_sigma)
    return {"score": score_loss(scores, batch.labels), "box": settings.box_weight * box}
