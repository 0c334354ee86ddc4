"""What share of the objects YOLO's cells can express, and what its limits on boxes let through."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from pipeline.data.index import ImageRecord, Index
from pipeline.imaging import to_square
from pipeline.reach import Reach, limit_reach, room_reach
from pipeline.systems.yolo.loss import SMALLEST, lost_objects
from pipeline.systems.yolo.network import Yolo, YoloShape
from pipeline.systems.yolo.params import YoloV1

if TYPE_CHECKING:
    from pipeline.params import Params


def cell_reach(records: Sequence[ImageRecord], side: int, grid: int, difficult: bool) -> list[Reach]:
    """Return the shares of the objects that share their cell with no other that trains, and that are large enough.

    Args:
        records: images, one or more.
        side: of the square, in pixels.
        grid: cells along each side.
        difficult: whether difficult objects train.
    """
    objects = [
        torch.from_numpy(to_square(image.boxes[image.trained(difficult)], image.width, image.height, side))
        for image in records
    ]
    count = max(1, sum(map(len, objects)))
    sharing, small = lost_objects(objects, side, grid)
    return [
        Reach(
            f"train in one of {grid} x {grid} cells; of those that share one, one does",
            1 - sharing / count,
            "yolo.side",
            "a larger side, or smaller strides in yolo.head.convolutions",
        ),
        Reach(
            f"have no side below {SMALLEST:.0%} of the image's; smaller ones are skipped",
            1 - small / count,
            "",
            "images cut into parts; the limit is darknet's",
        ),
    ]


def without_weights(section: YoloV1, classes: int) -> Yolo:
    """Return the network that the parameters describe, for its cells alone."""
    with torch.device("meta"):
        return Yolo(YoloShape.from_params(section.backbone, section.side, section.boxes, classes, section.head))


def reach(params: "Params", indices: Sequence[Index]) -> list[Reach]:
    """Return the shares; see `pipeline.registry.System.reach`."""
    section, detect = params.section(YoloV1), params.section(YoloV1).detect
    records = [image for index in indices for image in index.images]
    network = without_weights(section, len(indices[0].classes))
    return [
        *cell_reach(records, section.side, network.grid, section.train.difficult),
        *limit_reach(detect.max_per_class, None, indices, "yolo.detect"),
        room_reach(detect.max_per_image, indices, "yolo.detect.max_per_image"),
    ]
