"""What share of the objects SSD's default boxes overlap, and what its limits on boxes let through."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from pipeline.core.boxes import coverage
from pipeline.data.index import ImageRecord, Index
from pipeline.imaging import to_square
from pipeline.reach import Reach, limit_reach, room_reach
from pipeline.systems.ssd.network import Ssd, SsdShape
from pipeline.systems.ssd.params import Ssd as SsdParams
from pipeline.systems.ssd.params import SsdTraining

if TYPE_CHECKING:
    from pipeline.params import Params


def default_box_reach(records: Sequence[ImageRecord], network: Ssd, settings: SsdTraining) -> Reach:
    """Return the share of the objects that a default box overlaps by `match_iou` or more."""
    squares = (
        to_square(record.boxes[record.trained(settings.difficult)], record.width, record.height, network.shape.side)
        for record in records
    )
    (share,) = coverage(((network.defaults.numpy(), square) for square in squares), [settings.match_iou])
    what = f"are overlapped by {settings.match_iou} or more by a default box"
    return Reach(what, share, "ssd.default_boxes", "other sides or ratios, or a larger ssd.side for small objects")


def without_weights(section: SsdParams, classes: int) -> Ssd:
    """Return the network that the parameters describe, for its default boxes alone."""
    boxes = section.default_boxes
    shape = SsdShape.from_params(
        section.backbone, classes, section.side, section.taps, section.extra, section.l2_scale, boxes
    )
    with torch.device("meta"):
        return Ssd(shape)


def reach(params: "Params", indices: Sequence[Index]) -> list[Reach]:
    """Return the shares; see `pipeline.registry.System.reach`."""
    section = params.section(SsdParams)
    records = [image for index in indices for image in index.images]
    network = without_weights(section, len(indices[0].classes))
    return [
        default_box_reach(records, network, section.train),
        *limit_reach(section.detect.max_per_class, None, indices, "ssd.detect"),
        room_reach(section.detect.max_per_image, indices, "ssd.detect.max_per_image"),
    ]
