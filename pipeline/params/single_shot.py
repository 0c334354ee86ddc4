"""Sections of ``params.yaml`` on YOLO v1 and SSD."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from pipeline.params.backbone import Schedule
from pipeline.params.section import Count, Fraction, Positive, PositiveFloat, Section, distinct


class SquareDetection(Section):
    """From boxes and scores of a single-shot network to detections (YOLO and SSD)."""

    batch: Positive
    min_score: Fraction
    max_per_class: Positive
    nms: Fraction
    max_per_image: Positive


class YoloHead(Section):
    """What follows the convolutions: more of them on a backbone, then fully connected layers."""

    convolutions: tuple[tuple[Positive, Positive], ...]
    fc_widths: Annotated[tuple[Positive, ...], Field(min_length=1)]


class YoloWeights(Section):
    """Weights of the terms of the loss (YOLO, equation 3)."""

    box: Annotated[float, Field(ge=0)]
    object: Annotated[float, Field(ge=0)]
    no_object: Annotated[float, Field(ge=0)]
    classes: Annotated[float, Field(ge=0)]


class YoloAugmentation(Section):
    """Random views of training images (YOLO, section 2.2)."""

    jitter: Annotated[float, Field(ge=0, lt=0.5)]
    saturation: Annotated[float, Field(ge=1)]
    exposure: Annotated[float, Field(ge=1)]
    flip: bool


class YoloTraining(Section):
    """Training of YOLO, end to end (section 2.2)."""

    batch: Positive
    difficult: bool
    dropout: Annotated[float, Field(ge=0, lt=1)]
    matrix_lr: Fraction | None
    frozen_layers: Count
    weights: YoloWeights
    augment: YoloAugmentation
    schedule: Schedule


class YoloV1(Section):
    """YOLO v1, stage by stage."""

    network: Literal["yolo", "fast_yolo", "backbone"]
    side: Annotated[int, Field(ge=64)]
    boxes: Positive
    head: YoloHead
    train: YoloTraining
    detect: SquareDetection


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
