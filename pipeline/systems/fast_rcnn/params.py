"""Fast R-CNN's section of ``params.yaml``; Faster R-CNN's detector has the same blocks."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator

from pipeline.core.params import (
    Count,
    Fraction,
    Limit,
    NonNegative,
    Positive,
    PositiveFloat,
    Schedule,
    Section,
    distinct,
)
from pipeline.core.sections import Network, Svm


class ImageSize(Section):
    """At which size whole images are seen, in pixels."""

    short_sides: Annotated[tuple[Positive, ...], Field(min_length=1), AfterValidator(distinct)] = (192,)
    """Of several, training draws one for each image, and a test region uses the one that brings its area nearest to
    224 x 224."""
    long_side: Positive = 320
    """The most that the longer side may have."""


class RegionTraining(Section):
    """Training of the detector on regions of whole images (Fast R-CNN, section 2.3)."""

    batch: Positive = 2
    """Images in a batch."""
    regions: Positive = 128
    """Regions of each image."""
    foreground: Fraction = 0.25
    """Greatest share of foreground."""
    foreground_iou: Fraction = 0.5
    background_iou: tuple[Fraction, Fraction] = (0.1, 0.5)
    """Fast R-CNN and Matlab's Faster R-CNN: 0.1 to 0.5; the Python code of Faster R-CNN: 0 to 0.5."""
    difficult: bool = True
    """Train on difficult objects."""
    normalise_targets: bool = True
    """Class by class, to zero mean and unit deviation."""
    box_sigma: PositiveFloat = 1
    """The box error is squared up to 1 / sigma^2."""
    box_weight: NonNegative = 1
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0
    """After fc6 and after fc7 (the papers: 0.5). The small network underfits with it in a few hundred steps."""
    new_fc_lr: PositiveFloat = 1
    """fc6 and fc7 learn this many times faster where the backbone has none and they are new."""
    frozen_layers: Count = 0
    """The first so many convolutions keep their weights."""
    flip: bool = False
    schedule: Schedule = Schedule(steps=600, lr=0.01, decay_at=(480,), warmup=50)


class Svd(Section):
    """Truncated singular value decomposition of fc6 and fc7 (Fast R-CNN, section 3.1); rank 0 keeps the layer."""

    fc6_rank: Count = 256
    fc7_rank: Count = 192


class RegionScoring(Section):
    """From scores and boxes of regions to detections: two published protocols."""

    protocol: Literal["budget", "threshold"] = "budget"
    """budget: max_per_class boxes of a class in an image before suppression, per_class_budget on average (Fast R-CNN) |
    threshold: scores above min_score, suppression, then max_per_image boxes of all classes (Faster R-CNN, Python)"""
    max_per_class: Limit = "auto"
    """See rcnn.detect, per_class_budget likewise."""
    per_class_budget: Limit = "auto"
    min_score: Fraction = 0.05
    max_per_image: Positive = 100
    nms: Fraction = 0.3
    box_regression: bool = True


class FastDetection(RegionScoring):
    """From scores and boxes of regions to detections, with the network as it was trained or with truncated SVD."""

    compressed: bool = False
    """Use the network after the truncated SVD; its score and time are measured in any case."""


class FastRcnn(Section):
    """Fast R-CNN, stage by stage."""

    backbone: Network = "small"
    """One of the `backbones`."""
    fc_width: Positive = 512
    """Width of fc6 and fc7 where the network has none of its own."""
    grid: Positive | None = None
    """Side of the RoI pooling's output; empty: the network's own (7 for vgg16, 6 for alexnet)."""
    image: ImageSize = ImageSize()
    train: RegionTraining = RegionTraining()
    classifier: Literal["softmax", "svm"] = "softmax"
    """softmax | svm (trained on fc7 afterwards, as in R-CNN)"""
    svm: Svm = Svm(evict_below=-1.1)
    svd: Svd = Svd()
    detect: FastDetection = FastDetection()

    @field_validator("svm")
    @classmethod
    def _in_place_of_the_softmax(cls, svm: Svm) -> Svm:
        if svm.layer != "fc7":
            raise ValueError(f"layer is {svm.layer}, but the SVMs take the place of the softmax layer, on fc7")
        if svm.C == "auto":
            raise ValueError("auto is no C here, only for R-CNN and SPP-net; a number would be right")
        return svm
