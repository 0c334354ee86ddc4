"""What share of the objects RetinaNet's anchors overlap, and what its limits on boxes let through."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from pipeline.core.boxes import coverage
from pipeline.data.index import ImageRecord, Index
from pipeline.imaging import to_square
from pipeline.reach import Reach, limit_reach, room_reach
from pipeline.systems.retinanet.network import Retinanet, RetinanetShape
from pipeline.systems.retinanet.params import Retinanet as RetinanetParams
from pipeline.systems.retinanet.params import RetinanetTraining

if TYPE_CHECKING:
    from pipeline.params import Params


def anchor_reach(records: Sequence[ImageRecord], network: Retinanet, settings: RetinanetTraining) -> Reach:
    """Return the share of the objects that an anchor overlaps by `negative_iou` or more; the others train nothing."""
    squares = (
        to_square(record.boxes[record.trained(settings.difficult)], record.width, record.height, network.shape.side)
        for record in records
    )
    anchors = network.anchors.numpy()
    (share,) = coverage(((anchors, square) for square in squares), [settings.negative_iou])
    what = f"are overlapped by {settings.negative_iou} or more by an anchor; others train nothing"
    return Reach(
        what, share, "retinanet.anchors", "another scale or ratios, or a larger retinanet.side for small objects"
    )


def without_weights(section: RetinanetParams, classes: int) -> Retinanet:
    """Return the network that the parameters describe, for its anchors alone."""
    with torch.device("meta"):
        return Retinanet(RetinanetShape.from_params(section, classes))


def reach(params: "Params", indices: Sequence[Index]) -> list[Reach]:
    """Return the shares; see `pipeline.registry.System.reach`."""
    section = params.section(RetinanetParams)
    records = [image for index in indices for image in index.images]
    network = without_weights(section, len(indices[0].classes))
    return [
        anchor_reach(records, network, section.train),
        *limit_reach(section.detect.max_per_class, None, indices, "retinanet.detect"),
        room_reach(section.detect.max_per_image, indices, "retinanet.detect.max_per_image"),
    ]
