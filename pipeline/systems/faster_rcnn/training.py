"""The loss of the proposal network (Faster R-CNN, section 3.1.2), one function a term.

Training of the proposal network; the detector's is Fast R-CNN's.

The two rounds of the alternating training (Faster R-CNN, section 3.2).
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Unpack

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.data.images import ImageCache
from pipeline.data.index import ImageRecord
from pipeline.imaging import pad
from pipeline.nets.backbones import channels_last
from pipeline.systems.fast_rcnn.maps import FrozenMaps
from pipeline.systems.fast_rcnn.targets import TargetStatistics, fold
from pipeline.systems.fast_rcnn.training import CONVOLUTIONS, smooth_l1
from pipeline.systems.faster_rcnn.network import RegionProposalNetwork
from pipeline.systems.faster_rcnn.params import RpnTraining
from pipeline.systems.faster_rcnn.targets import AnchorBatch, AnchorBatches
from pipeline.training import Run, Task, train
from pipeline.training_images import TrainingImages, validation_seed


def objectness_loss(scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the softmax cross-entropy of ``scores`` (S, 2) of the sampled anchors, averaged; 0 without any."""
    return F.cross_entropy(scores, labels, reduction="sum") / max(1, len(labels))


def offset_loss(offsets: torch.Tensor, targets: torch.Tensor, normaliser: int, sigma: float) -> torch.Tensor:
    """Return the smooth L1 error of the object anchors' ``offsets`` (P, 4), summed and divided by ``normaliser``.

    The normaliser is the number of anchor positions in the paper, the number of sampled anchors in the Python code.
    """
    return smooth_l1(offsets, targets, sigma) / max(1, normaliser)


def train_rpn(
    network: RegionProposalNetwork,
    records: Sequence[ImageRecord],
    images: ImageCache,
    settings: RpnTraining,
    *,
    frozen: tuple[str, ...],
    held_out: TrainingImages | None = None,
    title: str,
    **run: Unpack[Run],
) -> None:
    """Train ``network`` in place, with new proposal layers; it ends with plain offsets (see `fold`).

    If all convolutions are ``frozen``, each map is computed once (`FrozenMaps`). ``held_out`` are the images of the
    schedule's ``validation_batches``.
    """
    channels_last(network, run["device"])
    maps = FrozenMaps(network.conv, images) if CONVOLUTIONS in frozen else None
    batches = AnchorBatches(records, None if maps else images, network, settings, run["seed"])
    validation = (
        AnchorBatches(
            held_out.records,
            held_out.pixels,
            network,
            settings.model_copy(update={"flip": False}),
            validation_seed(run["seed"]),
            batches.statistics,
        )
        if held_out
        else None
    )
    train(
        Task(
            network,
            losses=partial(losses, settings=settings, maps=maps),
            frozen=frozen,
            validation=validation,
            counts=partial(counts, settings=settings),
        ),
        batches,
        settings.schedule,
        title=title,
        **run,
    )
    count = len(network.reference)
    shared = TargetStatistics(
        *(np.repeat(values, count, axis=0) for values in (batches.statistics.mean, batches.statistics.std))
    )
    fold(network.offsets, shared)
    network.eval()


def counts(batch: AnchorBatch, settings: RpnTraining) -> Mapping[str, int]:
    """Return the numbers by which the two terms are divided."""
    positions = settings.box_normaliser == "positions"
    return {"objectness": len(batch.labels), "box": batch.positions if positions else len(batch.labels)}


def losses(
    network: RegionProposalNetwork, batch: AnchorBatch, settings: RpnTraining, maps: FrozenMaps | None = None
) -> Mapping[str, Tensor]:
    """Return both terms of the loss, weighted; ``maps`` serves a batch without pixels, of frozen convolutions."""
    known = None if batch.images else maps
    seen = known(batch.views, batch.shape) if known else pad(batch.images, batch.rows.device, shape=batch.shape)
    scores, offsets = network(seen, mapped=known is not None)
    normaliser = counts(batch, settings)["box"]
    objects = batch.rows[: len(batch.targets)]
    box = offset_loss(offsets.flatten(0, 1)[objects], batch.targets, normaliser, settings.box_sigma)
    return {
        "objectness": objectness_loss(scores.flatten(0, 1)[batch.rows], batch.labels),
        "box": settings.box_weight * box,
    }
