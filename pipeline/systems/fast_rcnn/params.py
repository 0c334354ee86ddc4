"""Parameters."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from pipeline.core.params import Count, Fraction, Positive, PositiveFloat, Section, distinct
from pipeline.core.sections import (
    Schedule,
    Svm,
)


class ImageSize(Section):
    """At which size whole images are seen; a training step draws one of the short sides for each image."""

    short_sides: Annotated[tuple[Positive, ...], Field(min_length=1), AfterValidator(distinct)]
    long_side: Positive


class RegionTraining(Section):
    """Training of the detector on regions of whole images (Fast R-CNN, section 2.3)."""

    images: Positive
    regions: Positive
    foreground: Fraction
    foreground_iou: Fraction
    background_iou: tuple[Fraction, Fraction]
    difficult: bool
    normalise_targets: bool
    box_sigma: PositiveFloat
    box_weight: Annotated[float, Field(ge=0)]
    dropout: Annotated[float, Field(ge=0, lt=1)]
    new_fc_lr: PositiveFloat
    frozen_layers: Count
    flip: bool
    schedule: Schedule


class Svd(Section):
    """Truncated singular value decomposition of fc6 and fc7 (Fast R-CNN, section 3.1); rank 0 leaves a layer alone."""

    fc6: Count
    fc7: Count


class RegionScoring(Section):
    """From scores and boxes of regions to detections: two published protocols."""

    protocol: Literal["budget", "threshold"]
    max_per_class: Positive
    per_class_budget: Positive
    min_score: Fraction
    max_per_image: Positive
    nms: Fraction
    box_regression: bool


class FastDetection(RegionScoring):
    """The same, by the network as it was trained or by the one with fewer values in fc6 and fc7."""

    compressed: bool


class FastRcnn(Section):
    """Fast R-CNN, stage by stage."""

    fc_width: Positive
    grid: Positive | None
    image: ImageSize
    train: RegionTraining
    classifier: Literal["softmax", "svm"]
    svm: Svm
    svd: Svd
    detect: FastDetection
