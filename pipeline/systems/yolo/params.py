"""YOLO's section of ``params.yaml``."""

from typing import Annotated

from pydantic import Field

from pipeline.core.params import Count, NonNegative, Positive, PositiveFloat, Schedule, Section
from pipeline.core.sections import Network, SquareDetection


class YoloHead(Section):
    """What follows the convolutions of a backbone."""

    convolutions: tuple[tuple[Positive, Positive], ...] = ((128, 1), (128, 2), (128, 1), (128, 1))
    """Channels and stride of each 3x3 convolution."""
    fc_widths: Annotated[tuple[Positive, ...], Field(min_length=1)] = (128,)
    """Fully connected layers before the output; all but the last are linear bottlenecks, as in Fast YOLO."""
    shared: bool = True
    """1x1 convolutions of fc_widths units, one for all cells (docs/yolo.md); false: the paper's, of the whole map."""


class YoloWeights(Section):
    """Of the terms of the loss (YOLO, equation 3); box is centre and size (the paper: 5, 1, 0.5, 1)."""

    box: NonNegative = 2.5
    object: NonNegative = 1
    no_object: NonNegative = 0.5
    classes: NonNegative = 1


class YoloAugmentation(Section):
    """Random views of training images (YOLO, section 2.2)."""

    jitter: Annotated[float, Field(ge=0, lt=0.5)] = 0.2
    """Each side of the image moves by up to this share of its length, in or out."""
    saturation: Annotated[float, Field(ge=1)] = 1.5
    """In HSV, up to so many times more or less; exposure likewise."""
    exposure: Annotated[float, Field(ge=1)] = 1.5
    flip: bool = False
    """Mirror half of the images; digits have a side."""


class YoloTraining(Section):
    """Training of YOLO, end to end (section 2.2)."""

    batch: Positive = 8
    """Images in a batch."""
    difficult: bool = False
    """Train on difficult objects; if not, they count as background."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """After the last hidden layer."""
    frozen_layers: Count = 4
    """The first so many convolutions keep their weights."""
    new_layer_lr: PositiveFloat = 1
    """Layers behind the backbone learn this many times faster."""
    weights: YoloWeights = YoloWeights()
    augment: YoloAugmentation = YoloAugmentation()
    schedule: Schedule = Schedule(steps=850, lr=0.015, decay_at=(700,), warmup=100, clip_norm=10, checkpoint_every=200)


class YoloV1(Section):
    """YOLO v1, stage by stage."""

    backbone: Network = "small"
    """One of the `backbones`."""
    side: Annotated[int, Field(ge=64)] = 192
    """Side of the square that every image is stretched to, in pixels."""
    boxes: Positive = 2
    """Predicted by each cell; how many cells there are follows from side and strides."""
    head: YoloHead = YoloHead()
    train: YoloTraining = YoloTraining()
    detect: SquareDetection = SquareDetection(min_score=0.001, nms=0.45)
    """min_score is of confidence times class score."""
