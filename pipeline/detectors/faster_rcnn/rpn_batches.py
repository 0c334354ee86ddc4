"""The batch of a step of the proposal network: images, drawn anchors, targets."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.boxes import Boxes
from pipeline.data.image_cache import ImageCache
from pipeline.data.index import ImageRecord
from pipeline.detectors.fast_rcnn.targets import TargetStatistics
from pipeline.detectors.faster_rcnn.network import RegionProposalNetwork
from pipeline.detectors.faster_rcnn.rpn_targets import (
    AnchorTargets,
    anchor_offsets,
    draw_anchors,
    inside,
    label_anchors,
)
from pipeline.errors import InputError
from pipeline.imaging.image_batches import batch_shape, mirror, pad, pixels
from pipeline.imaging.image_order import ImageOrder
from pipeline.imaging.resize import resized_shape, scale_factor
from pipeline.params.faster_rcnn import RpnTraining
from pipeline.runtime import item_rng


@dataclass(frozen=True)
class AnchorBatch:
    """A step's images and sampled anchors.

    Attributes:
        images: resized uint8 ``(3, h, w)``; on the device one normalised ``(N, 3, H, W)``.
        rows: ``(S,)`` int64 positions of the sampled anchors among those of all images, objects first.
        labels: ``(S,)`` int64, 1 object, 0 background.
        targets: ``(P, 4)`` float32 offsets of the objects.
        positions: number of anchor positions (cells) of all images.
        image_ids: of the images.
    """

    images: tuple[torch.Tensor, ...] | torch.Tensor
    rows: torch.Tensor
    labels: torch.Tensor
    targets: torch.Tensor
    positions: int
    image_ids: tuple[int, ...]


def to_device(batch: AnchorBatch, device: torch.device) -> AnchorBatch:
    """Move a batch to ``device``."""
    rows, labels, targets = (tensor.to(device) for tensor in (batch.rows, batch.labels, batch.targets))
    return AnchorBatch(pad(tuple(batch.images), device), rows, labels, targets, batch.positions, batch.image_ids)


class AnchorBatches:
    """Makes the batch of a step; images without objects give background alone.

    Raises:
        InputError: no image has an object to train on.
    """

    def __init__(
        self,
        records: Sequence[ImageRecord],
        images: ImageCache,
        network: RegionProposalNetwork,
        settings: RpnTraining,
        seed: int,
    ) -> None:
        self._truth = [record.boxes[~record.ignore | settings.difficult] for record in records]
        if not any(map(len, self._truth)):
            raise InputError("no object to propose; the training splits need annotated objects.")
        self._records, self._images, self._settings, self._seed = records, images, settings, seed
        self._reference, self._geometry, self._shape = network.reference, network.geometry, network.shape
        self._anchors = network.anchors
        self._order = ImageOrder(len(records), settings.images, settings.flip, seed)
        self.statistics = TargetStatistics.none(1)
        if settings.normalise_targets:
            self.statistics = self._measure()

    def __call__(self, step: int) -> AnchorBatch:
        """Return the batch of ``step``."""
        rng = item_rng(self._seed, "anchors", step)
        chosen = self._order(step)
        factors = [self._factor(position, int(rng.choice(self._shape.short_sides))) for position, _ in chosen]
        shapes = [
            resized_shape(self._records[position].width, self._records[position].height, factor)
            for (position, _), factor in zip(chosen, factors, strict=True)
        ]
        anchors = self._anchors(*batch_shape(shapes))
        objects, others, targets = [], [], []
        for number, ((position, mirrored), factor, shape) in enumerate(zip(chosen, factors, shapes, strict=True)):
            truth, labelled = self._label(position, mirrored, factor, shape, anchors)
            positive, negative = draw_anchors(labelled.labels, self._settings, rng)
            objects.append(positive + number * len(anchors))
            others.append(negative + number * len(anchors))
            offsets = anchor_offsets(anchors, truth, labelled, positive)
            targets.append(self.statistics.normalise(offsets, np.zeros(len(offsets), np.int64)))
        positive, negative = np.concatenate(objects), np.concatenate(others)
        return AnchorBatch(
            tuple(
                pixels(self._images[position], factor, mirrored)
                for (position, mirrored), factor in zip(chosen, factors, strict=True)
            ),
            torch.from_numpy(np.concatenate([positive, negative])),
            torch.from_numpy(np.repeat(np.array([1, 0]), [len(positive), len(negative)])),
            torch.from_numpy(np.concatenate(targets)),
            len(chosen) * len(anchors) // len(self._reference),
            tuple(self._records[position].id for position, _ in chosen),
        )

    def _factor(self, position: int, short: int) -> float:
        record = self._records[position]
        return scale_factor(record.width, record.height, short, self._shape.long_side)

    def _label(
        self, position: int, mirrored: bool, factor: float, shape: tuple[int, int], anchors: Boxes
    ) -> tuple[Boxes, AnchorTargets]:
        record, truth = self._records[position], self._truth[position]
        truth = (mirror(truth, record.width) if mirrored else truth) * np.float32(factor)
        usable = inside(anchors, *shape) if self._settings.drop_crossing else np.ones(len(anchors), np.bool_)
        return truth, label_anchors(anchors, truth, usable, self._settings)

    def _measure(self) -> TargetStatistics:
        """Measure the offsets of the object anchors of all images at the first scale, mirrored ones included."""
        found: list[NDArray[np.float32]] = [np.zeros((0, 4), np.float32)]
        for position, record in enumerate(self._records):
            factor = self._factor(position, self._shape.short_sides[0])
            shape = resized_shape(record.width, record.height, factor)
            anchors = self._anchors(*shape)
            for mirrored in (False, True) if self._settings.flip else (False,):
                truth, labelled = self._label(position, mirrored, factor, shape, anchors)
                found.append(anchor_offsets(anchors, truth, labelled, np.flatnonzero(labelled.labels == 1)))
        return TargetStatistics.measure([np.concatenate(found)])
