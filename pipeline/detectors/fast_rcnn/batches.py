"""The batch of a step: a few images, many regions of each (section 2.3: hierarchical sampling)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from pipeline.data.image_cache import ImageCache
from pipeline.data.index import ImageRecord
from pipeline.detectors.fast_rcnn.cells import to_cells
from pipeline.detectors.fast_rcnn.network import FastRcnn
from pipeline.detectors.fast_rcnn.sampling import LabelledRegions, draw
from pipeline.detectors.fast_rcnn.targets import MIRRORED, TargetStatistics
from pipeline.errors import InputError
from pipeline.imaging.image_batches import mirror, pad, pixels
from pipeline.imaging.image_order import ImageOrder
from pipeline.imaging.resize import scale_factor
from pipeline.params.fast_rcnn import RegionTraining
from pipeline.runtime import item_rng


@dataclass(frozen=True)
class RegionBatch:
    """A step's images and regions.

    Attributes:
        images: resized uint8 ``(3, h, w)`` as the loader gives them.
        cells: ``(R, 5)`` float32: position of the image, first and last cell (`FastRcnn.head`).
        labels: ``(R,)`` int64, 0 for background.
        targets: ``(R, 4)`` float32, normalised.
        image_ids: of the images.
    """

    images: tuple[torch.Tensor, ...]
    cells: torch.Tensor
    labels: torch.Tensor
    targets: torch.Tensor
    image_ids: tuple[int, ...]


@dataclass(frozen=True)
class DeviceBatch:
    """A `RegionBatch` on the network's device, its images one normalised ``(N, 3, H, W)``."""

    images: torch.Tensor
    cells: torch.Tensor
    labels: torch.Tensor
    targets: torch.Tensor
    image_ids: tuple[int, ...]


def to_device(batch: RegionBatch, device: torch.device) -> DeviceBatch:
    """Move a batch to ``device``."""
    cells, labels, targets = (tensor.to(device) for tensor in (batch.cells, batch.labels, batch.targets))
    return DeviceBatch(pad(batch.images, device), cells, labels, targets, batch.image_ids)


class RegionBatches:
    """Makes the batch of a step.

    Images without any region that could be drawn are passed over, as the official code does; an image without objects
    trains where ``background_iou`` starts at 0.

    Raises:
        InputError: no image has a foreground region.
    """

    def __init__(
        self,
        records: Sequence[ImageRecord],
        regions: Sequence[LabelledRegions],
        images: ImageCache,
        statistics: TargetStatistics,
        network: FastRcnn,
        settings: RegionTraining,
        seed: int,
    ) -> None:
        if not any(len(image.foreground) for image in regions):
            raise InputError("no region overlaps an object; the training splits need annotated objects.")
        self._records, self._regions, self._images = records, regions, images
        self._statistics, self._geometry, self._shape = statistics, network.geometry, network.shape
        self._settings, self._seed = settings, seed
        self._used = [position for position, image in enumerate(regions) if len(image)]
        self._order = ImageOrder(len(self._used), settings.images, settings.flip, seed)

    def __call__(self, step: int) -> RegionBatch:
        """Return the batch of ``step``."""
        rng = item_rng(self._seed, "regions", step)
        images, cells, labels, targets, ids = [], [], [], [], []
        for number, (place, mirrored) in enumerate(self._order(step)):
            record, regions = self._records[self._used[place]], self._regions[self._used[place]]
            short = int(rng.choice(self._shape.short_sides))
            factor = scale_factor(record.width, record.height, short, self._shape.long_side)
            rows = draw(regions, self._settings, rng)
            boxes, offsets = regions.boxes[rows], regions.targets[rows]
            if mirrored:
                boxes, offsets = mirror(boxes, record.width), offsets * MIRRORED
            own = to_cells(boxes, factor, self._geometry)
            images.append(pixels(self._images[self._used[place]], factor, mirrored))
            cells.append(np.concatenate([np.full((len(rows), 1), number, np.float32), own], axis=1))
            labels.append(regions.labels[rows])
            targets.append(self._statistics.normalise(offsets, regions.labels[rows]))
            ids.append(record.id)
        return RegionBatch(
            tuple(images),
            torch.from_numpy(np.concatenate(cells)),
            torch.from_numpy(np.concatenate(labels)),
            torch.from_numpy(np.concatenate(targets)),
            tuple(ids),
        )
