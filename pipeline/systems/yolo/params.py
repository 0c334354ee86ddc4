"""Parameters."""

from typing import Annotated, Literal

from pydantic import Field

from pipeline.core.params import Count, Fraction, Positive, Section
from pipeline.core.sections import (
    Schedule,
    SquareDetection,
)


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
