"""Parameters."""

from typing import Annotated, Literal

from pydantic import Field

from pipeline.core.params import Count, Fraction, Positive, PositiveFloat, Section
from pipeline.core.sections import (
    Schedule,
)
from pipeline.systems.fast_rcnn.params import ImageSize, RegionScoring, RegionTraining


class Anchors(Section):
    """Reference boxes on every cell of the map (Faster R-CNN, section 3.1.1)."""

    sides: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)]
    ratios: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)]


class RpnTraining(Section):
    """Training of the region proposal network (Faster R-CNN, sections 3.1.2 and 3.1.3)."""

    images: Positive
    anchors: Positive
    positive_share: Fraction
    positive_iou: Fraction
    negative_iou: Fraction
    drop_crossing: bool
    difficult: bool
    normalise_targets: bool
    box_sigma: PositiveFloat
    box_weight: Annotated[float, Field(ge=0)]
    box_normaliser: Literal["positions", "sampled"]
    frozen_layers: Count
    flip: bool
    schedule: Schedule


class RpnProposals(Section):
    """From scored anchors to proposals (Faster R-CNN, section 3.3)."""

    min_side: Count
    before: Count
    nms: Fraction
    after: Positive


class FasterDetection(RegionScoring):
    """Detection among the proposals that the network makes itself."""

    proposals: RpnProposals


class FasterRcnn(Section):
    """Faster R-CNN, stage by stage; both rounds have the same settings."""

    fc_width: Positive
    grid: Positive | None
    image: ImageSize
    anchors: Anchors
    rpn_width: Positive
    rpn: RpnTraining
    proposals: RpnProposals
    detector: RegionTraining
    detect: FasterDetection
