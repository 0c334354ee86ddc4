"""Faster R-CNN's section of ``params.yaml``."""

from typing import Annotated, Literal

from pydantic import Field

from pipeline.core.params import Count, Fraction, NonNegative, Positive, PositiveFloat, Schedule, Section
from pipeline.core.sections import Network
from pipeline.systems.fast_rcnn.params import ImageSize, RegionScoring, RegionTraining


class Anchors(Section):
    """Reference boxes on every cell of the map (Faster R-CNN, section 3.1.1)."""

    sides: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] = (28, 40, 56)
    """In pixels of the resized image."""
    ratios: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] = (1, 1.5, 2.2)
    """Height over width."""


class RpnTraining(Section):
    """Training of the region proposal network, both rounds (Faster R-CNN, sections 3.1.2 and 3.1.3)."""

    batch: Positive = 2
    """Images in a batch."""
    anchors: Positive = 256
    """Anchors drawn from each image."""
    positive_share: Fraction = 0.5
    """Greatest share of anchors that are objects."""
    positive_iou: Fraction = 0.7
    negative_iou: Fraction = 0.3
    drop_crossing: bool = True
    """Leave anchors across the image's border out of training; an object as large as its image then has none."""
    difficult: bool = False
    """Train on difficult objects."""
    normalise_targets: bool = True
    """To zero mean and unit deviation, as the Matlab code does; the Python code does not."""
    box_sigma: PositiveFloat = 1
    """Paper and Matlab: 1; Python: 3."""
    box_weight: NonNegative = 10
    """Paper: 10, over the number of anchor positions; Python: 1, over the number of sampled anchors."""
    box_normaliser: Literal["positions", "sampled"] = "positions"
    """positions | sampled"""
    frozen_layers: Count = 0
    """The first so many convolutions keep their weights in round 1; round 2 keeps all."""
    flip: bool = False
    schedule: Schedule = Schedule(steps=400, lr=0.02, decay_at=(320,), warmup=50)


class RpnProposals(Section):
    """From scored anchors to proposals (Faster R-CNN, section 3.3)."""

    min_side: Count = 16
    """Boxes with a shorter side are dropped, in pixels of the original image."""
    pre_nms_top_n: Count = 0
    """Boxes before suppression; 0: all."""
    nms: Fraction = 0.7
    post_nms_top_n: Positive = 300
    """Boxes after suppression."""


class FasterDetection(RegionScoring):
    """Detection among the proposals that the network makes itself; the keys of fast_rcnn.detect."""

    protocol: Literal["budget", "threshold"] = "threshold"
    """budget | threshold"""
    proposals: RpnProposals = RpnProposals(pre_nms_top_n=6000)


class FasterRcnn(Section):
    """Faster R-CNN, stage by stage; both rounds have the same settings."""

    backbone: Network = "small"
    """One of the `backbones`."""
    fc_width: Positive = 256
    """Width of fc6 and fc7 where the network has none of its own."""
    grid: Positive | None = None
    """Side of the RoI pooling's output; empty: the network's own (7 for vgg16, 6 for alexnet)."""
    image: ImageSize = ImageSize()
    """At which size whole images are seen; proposals are made at the first short side."""
    anchors: Anchors = Anchors()
    rpn_width: Positive = 128
    """Channels of the 3x3 convolution."""
    rpn: RpnTraining = RpnTraining()
    proposals: RpnProposals = RpnProposals()
    detector: RegionTraining = RegionTraining(
        difficult=False, schedule=Schedule(steps=700, lr=0.02, decay_at=(560,), warmup=50, clip_norm=5)
    )
    """Both rounds of the detector; new_fc_lr and frozen_layers count in round 1, round 2 keeps all convolutions."""
    detect: FasterDetection = FasterDetection()
