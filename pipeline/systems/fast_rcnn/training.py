"""The batch of a step: a few images, many regions of each (section 2.3: hierarchical sampling).

The multi-task loss of Fast R-CNN (section 2.3), one function a term.

Training of the detector, end to end or with frozen layers: the same for Fast R-CNN and for both rounds of Faster.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from pipeline.core.boxes import Boxes
from pipeline.core.errors import InputError
from pipeline.core.part import WHOLE, Part
from pipeline.core.runtime import item_rng
from pipeline.data.images import ImageCache
from pipeline.data.index import ImageRecord
from pipeline.imaging import ImageOrder, batch_shape, mirror, pad, resized_shape, scale_factor
from pipeline.nets.backbones import channels_last
from pipeline.systems.fast_rcnn.maps import FrozenMaps, View
from pipeline.systems.fast_rcnn.network import FastRcnn, to_cells
from pipeline.systems.fast_rcnn.params import RegionTraining
from pipeline.systems.fast_rcnn.targets import (
    MIRRORED,
    LabelledRegions,
    TargetStatistics,
    draw,
    fold,
    label_regions,
    target_statistics,
    unfold,
)
from pipeline.training import Run, Task, train
from pipeline.training_images import TrainingImages, validation_seed

CONVOLUTIONS = "conv."
"""Prefix of the parameters of all convolutions, for ``frozen``."""


@dataclass(frozen=True)
class DrawnRegions:
    """The regions of one image that a step trains on, and how it sees the image.

    Attributes:
        view: of the image.
        boxes: ``(R, 4)`` float32 in pixels of the image, mirrored where the view is.
        labels: ``(R,)`` int64, 0 for background.
        offsets: ``(R, 4)`` float32, from each region to its object.
    """

    view: View
    boxes: Boxes
    labels: NDArray[np.int64]
    offsets: NDArray[np.float32]


@dataclass(frozen=True)
class RegionBatch:
    """A step's images and regions.

    Attributes:
        views: of the images.
        images: resized uint8 ``(3, h, w)``; none where their maps are known.
        cells: ``(R, 5)`` int64: position of the image, first and last cell (`FastRcnn.head`).
        labels: ``(R,)`` int64, 0 for background.
        targets: ``(R, 4)`` float32, normalised.
        image_ids: of the images.
        shape: ``(height, width)`` to which the images of the step are padded.
        rows: ``(R,)`` int64 positions of the regions among those of the step.
    """

    views: tuple[View, ...]
    images: tuple[torch.Tensor, ...]
    cells: torch.Tensor
    labels: torch.Tensor
    targets: torch.Tensor
    image_ids: tuple[int, ...]
    shape: tuple[int, int]
    rows: torch.Tensor


class RegionBatches:
    """Makes the batch of a step, with pixels if ``images`` are given.

    Images without any region that could be drawn are passed over, as the official code does; an image without objects
    trains where ``background_iou`` starts at 0.

    Raises:
        InputError: no image has a foreground region.
    """

    def __init__(
        self,
        records: Sequence[ImageRecord],
        regions: Sequence[LabelledRegions],
        images: ImageCache | None,
        statistics: TargetStatistics,
        network: FastRcnn,
        settings: RegionTraining,
        seed: int,
        by_aspect: bool = False,
    ) -> None:
        if not any(len(image.foreground) for image in regions):
            raise InputError("no region overlaps an object; the training splits need annotated objects.")
        self._records, self._regions, self._images = records, regions, images
        self.statistics, self._geometry, self._shape = statistics, network.geometry, network.shape
        self._settings, self._seed = settings, seed
        self._used = [position for position, image in enumerate(regions) if len(image)]
        wide = np.array([records[position].width >= records[position].height for position in self._used])
        self._order = ImageOrder(len(self._used), settings.batch, settings.flip, seed, wide if by_aspect else None)

    def __call__(self, step: int, part: Part = WHOLE) -> RegionBatch:
        """Return the batch of ``step``, or a part of it."""
        whole = self.drawn(step)
        shape = batch_shape([self._size(each.view) for each in whole], self._geometry.smallest())
        ends = np.cumsum([len(each.labels) for each in whole])
        rows = part.of([np.arange(end - len(each.labels), end) for each, end in zip(whole, ends, strict=True)])
        drawn = part.of(whole)
        records = [self._records[each.view.position] for each in drawn]
        cells = []
        for number, (each, record) in enumerate(zip(drawn, records, strict=True)):
            own = to_cells(each.boxes, each.view.factor, self._geometry, (record.width, record.height))
            cells.append(np.concatenate([np.full((len(own), 1), number), own.astype(np.int64)], axis=1))
        return RegionBatch(
            tuple(each.view for each in drawn),
            tuple(each.view.pixels(self._images) for each in drawn) if self._images is not None else (),
            torch.from_numpy(np.concatenate(cells)),
            torch.from_numpy(np.concatenate([each.labels for each in drawn])),
            torch.from_numpy(np.concatenate([self.statistics.normalise(each.offsets, each.labels) for each in drawn])),
            tuple(record.id for record in records),
            shape,
            torch.from_numpy(np.concatenate(rows)),
        )

    def _size(self, view: View) -> tuple[int, int]:
        record = self._records[view.position]
        return resized_shape(record.width, record.height, view.factor)

    def drawn(self, step: int) -> list[DrawnRegions]:
        """Return the regions of the images of ``step``."""
        rng = item_rng(self._seed, "regions", step)
        drawn = []
        for place, mirrored in self._order(step):
            position = self._used[place]
            record, regions = self._records[position], self._regions[position]
            short = int(rng.choice(self._shape.short_sides))
            factor = scale_factor(record.width, record.height, short, self._shape.long_side)
            rows = draw(regions, self._settings, rng)
            boxes, offsets = regions.boxes[rows], regions.targets[rows]
            if mirrored:
                boxes, offsets = mirror(boxes, record.width), offsets * MIRRORED
            drawn.append(DrawnRegions(View(position, factor, mirrored), boxes, regions.labels[rows], offsets))
        return drawn


def region_batches(
    network: FastRcnn,
    records: Sequence[ImageRecord],
    proposals: Sequence[Boxes],
    images: ImageCache | None,
    settings: RegionTraining,
    seed: int,
    by_aspect: bool = False,
) -> RegionBatches:
    """Return what makes the batches that `train_detector` trains on, without pixels if ``images`` is None.

    Raises:
        InputError: no image has a foreground region.
    """
    regions = [label_regions(image, boxes, settings) for image, boxes in zip(records, proposals, strict=True)]
    groups = network.shape.classes + 1
    statistics = TargetStatistics.none(groups)
    if settings.normalise_targets:
        statistics = target_statistics(regions, groups - 1, settings.flip)
    return RegionBatches(records, regions, images, statistics, network, settings, seed, by_aspect)


def held_out_batches(
    network: FastRcnn,
    held_out: TrainingImages,
    proposals: Sequence[Boxes],
    settings: RegionTraining,
    statistics: TargetStatistics,
    seed: int,
) -> RegionBatches:
    """Return what makes the batches of held-out images: with pixels, not mirrored, targets as ``statistics`` say."""
    regions = [label_regions(image, boxes, settings) for image, boxes in zip(held_out.records, proposals, strict=True)]
    plain = settings.model_copy(update={"flip": False})
    return RegionBatches(held_out.records, regions, held_out.pixels, statistics, network, plain, validation_seed(seed))


def score_loss(scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the softmax cross-entropy of ``scores`` (R, classes + 1), averaged over the regions; 0 without any."""
    return F.cross_entropy(scores, labels, reduction="sum") / max(1, len(labels))


def box_loss(offsets: torch.Tensor, labels: torch.Tensor, targets: torch.Tensor, sigma: float = 1.0) -> torch.Tensor:
    """Return the smooth L1 error of the offsets of each foreground region's class.

    The sum over foreground regions is divided by the number of all regions, as Caffe's layer does.

    Args:
        offsets: ``(R, classes + 1, 4)``.
        labels: ``(R,)`` int64, 0 for background.
        targets: ``(R, 4)``; a background region's are never read.
        sigma: the error is ``0.5 * (sigma * x)**2`` up to ``|x| = 1 / sigma**2``, then ``|x| - 0.5 / sigma**2``.
    """
    rows = torch.nonzero(labels > 0).squeeze(1)
    return smooth_l1(offsets[rows, labels[rows]], targets[rows], sigma) / max(1, len(labels))


def smooth_l1(values: torch.Tensor, targets: torch.Tensor, sigma: float) -> torch.Tensor:
    """Return the sum of the smooth L1 error; torch's ``beta`` is ``1 / sigma**2``."""
    return F.smooth_l1_loss(values, targets, reduction="sum", beta=1 / sigma**2)


def train_detector(
    network: FastRcnn,
    records: Sequence[ImageRecord],
    proposals: Sequence[Boxes],
    images: ImageCache,
    settings: RegionTraining,
    *,
    new: Sequence[str],
    frozen: tuple[str, ...],
    by_aspect: bool = False,
    held_out: tuple[TrainingImages, Sequence[Boxes]] | None = None,
    title: str,
    **run: Unpack[Run],
) -> None:
    """Train ``network`` in place on ``proposals`` of ``records``.

    While it trains its offsets are normalised. Statistics are folded into the last layer once, here, after the last
    step, so that the network gives plain offsets; checkpoints in ``scratch`` hold the layer as it trains.

    Layers that are ``new`` start as they were drawn; ``offsets`` that are not give plain offsets at the start as well.
    A new fc6 and fc7 learn ``new_fc_lr`` times faster: convolutions that learn as fast lose what they were pre-trained
    for. If all convolutions are ``frozen``, each map is computed once (`FrozenMaps`). ``by_aspect`` is that of
    `pipeline.imaging.ImageOrder`: Faster R-CNN's code groups the images of a step, Fast R-CNN's does not. ``held_out``
    are the images of the schedule's ``validation_batches`` and their proposals.
    """
    channels_last(network, run["device"])
    maps = FrozenMaps(network.conv, images) if CONVOLUTIONS in frozen else None
    batches = region_batches(network, records, proposals, None if maps else images, settings, run["seed"], by_aspect)
    if "offsets" not in new:
        unfold(network.offsets, batches.statistics)
    network.dropout.p = settings.dropout
    validation = held_out_batches(network, *held_out, settings, batches.statistics, run["seed"]) if held_out else None
    train(
        Task(
            network,
            losses=partial(losses, settings=settings, maps=maps),
            frozen=frozen,
            rates={f"{name}.": settings.new_fc_lr for name in ("fc6", "fc7") if name in new},
            validation=validation,
            counts=counts,
            rows=attrgetter("rows"),
        ),
        batches,
        settings.schedule,
        title=title,
        **run,
    )
    fold(network.offsets, batches.statistics)
    network.eval()


def counts(batch: RegionBatch) -> Mapping[str, int]:
    """Return the number of regions, by which both terms are divided."""
    return {"score": len(batch.labels), "box": len(batch.labels)}


def losses(
    network: FastRcnn, batch: RegionBatch, settings: RegionTraining, maps: FrozenMaps | None = None
) -> Mapping[str, Tensor]:
    """Return both terms of the loss, weighted; ``maps`` serves a batch without pixels, of frozen convolutions."""
    known = None if batch.images else maps
    seen = known(batch.views, batch.shape) if known else pad(batch.images, batch.cells.device, shape=batch.shape)
    scores, offsets = network(seen, batch.cells, mapped=known is not None)
    box = box_loss(offsets, batch.labels, batch.targets, settings.box_sigma)
    return {"score": score_loss(scores, batch.labels), "box": settings.box_weight * box}
