"""Parameters."""

from typing import Annotated

from pydantic import AfterValidator, Field

from pipeline.core.params import Count, Fraction, Positive, PositiveFloat, Section, distinct
from pipeline.core.sections import Schedule, SquareDetection


class DefaultBoxes(Section):
    """Sizes and shapes of SSD's default boxes, map by map (SSD, section 2.2)."""

    sides: tuple[PositiveFloat, ...] | None
    scales: tuple[PositiveFloat, PositiveFloat]
    ratios: tuple[tuple[PositiveFloat, ...], ...]
    steps: tuple[PositiveFloat, ...] | None


class SsdAugmentation(Section):
    """How a training sample of SSD is drawn from an image (SSD, sections 2.2 and 3.6)."""

    photometric: bool
    expand: Annotated[float, Field(ge=1)]
    crop_overlaps: tuple[Fraction, ...]
    crop_scale: tuple[Annotated[float, Field(gt=0, le=1)], Annotated[float, Field(gt=0, le=1)]]
    flip: bool


class SsdTraining(Section):
    """Training of SSD, end to end (SSD, sections 2.2 and 3.1)."""

    images: Positive
    match_iou: Fraction
    negatives: PositiveFloat
    difficult: bool
    box_weight: Annotated[float, Field(ge=0)]
    frozen_layers: Count
    new_layer_lr: PositiveFloat
    augment: SsdAugmentation
    schedule: Schedule


class Ssd(Section):
    """SSD, stage by stage."""

    side: Annotated[int, Field(ge=32)]
    taps: Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(distinct)]
    extra: tuple[tuple[Positive, Positive, Positive, Positive, Count], ...]
    l2_scale: PositiveFloat
    default_boxes: DefaultBoxes
    train: SsdTraining
    detect: SquareDetection
