"""What share of the objects Faster R-CNN's anchors overlap, and what its limits on boxes let through."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from pipeline.data.index import ImageRecord, Index
from pipeline.reach import Reach
from pipeline.systems.fast_rcnn.reach import scoring_reach
from pipeline.systems.faster_rcnn.network import RegionProposalNetwork, RpnShape
from pipeline.systems.faster_rcnn.params import FasterRcnn, RpnTraining
from pipeline.systems.faster_rcnn.targets import anchor_coverage

if TYPE_CHECKING:
    from pipeline.params import Params

KEY = "faster_rcnn.anchors"


def anchor_reach(records: Sequence[ImageRecord], network: RegionProposalNetwork, settings: RpnTraining) -> list[Reach]:
    """Return the shares of the objects that an anchor which trains overlaps by .5 and by .7, at the first scale."""
    half, most = anchor_coverage(records, network, settings, (0.5, 0.7))
    advice = "other sides or ratios, or faster_rcnn.rpn.drop_crossing: false for objects as large as their image"
    what = "are overlapped by {} or more by an anchor that trains"
    return [
        Reach(what.format(0.5), half, KEY, advice),
        Reach(what.format(0.7), most, KEY, advice, judged=False),
    ]


def without_weights(section: FasterRcnn) -> RegionProposalNetwork:
    """Return the proposal network that the parameters describe, for its anchors alone."""
    shape = RpnShape.from_params(section.backbone, section.rpn_width, section.anchors, section.image)
    with torch.device("meta"):
        return RegionProposalNetwork(shape)


def reach(params: "Params", indices: Sequence[Index]) -> list[Reach]:
    """Return the shares; see `pipeline.registry.System.reach`."""
    section = params.section(FasterRcnn)
    records = [image for index in indices for image in index.images]
    return [
        *anchor_reach(records, without_weights(section), section.rpn),
        *scoring_reach(section.detect, indices, "faster_rcnn.detect"),
    ]
