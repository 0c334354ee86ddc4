"""RetinaNet's section of ``params.yaml``."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from pipeline.core.params import Count, Fraction, NonNegative, Positive, PositiveFloat, Schedule, Section, distinct
from pipeline.core.sections import Network, SquareDetection

Probability = Annotated[float, Field(gt=0, lt=1)]


class RetinanetAnchors(Section):
    """Reference boxes on every cell of each level (RetinaNet, section 4)."""

    scale: PositiveFloat = 3.5
    """Side of a level's smallest square, in its strides (the paper: 4)."""
    octaves: Positive = 3
    """So many sizes on a level, each 2^(1/octaves) times the one before."""
    ratios: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] = (1, 1.5, 2.2)
    """Height over width (the paper: 1, 2, 0.5)."""


class Ohem(Section):
    """Online hard example mining, what the paper compares with (section 5.1)."""

    anchors: Positive = 128
    """Anchors of an image that count."""
    nms: Fraction = 0.5
    """An anchor that overlaps one with a greater loss by more does not count."""


class ClassLoss(Section):
    """Of anchors and classes, each pair a yes or no (RetinaNet, section 3)."""

    kind: Literal["focal", "cross_entropy", "ohem"] = "focal"
    """focal | cross_entropy (gamma 0) | ohem (cross entropy of an image's hardest anchors)"""
    gamma: NonNegative = 2
    """Focal: the error of a pair that is right with probability p counts (1 - p)^gamma times."""
    alpha: Probability | None = 0.25
    """Weight of objects, and one less it that of background (the paper: .25; cross_entropy .75); empty: both 1."""
    ohem: Ohem = Ohem()


class RetinanetAugmentation(Section):
    """Random views of training images (the paper: mirrored; its best models see them at 0.8 to 1 of their size)."""

    scale: tuple[PositiveFloat, PositiveFloat] = (0.8, 1.3)
    """Least and greatest size; of a larger image a part is seen, around a smaller one grey."""
    flip: bool = False
    """Mirror half of the images; digits have a side."""


class RetinanetTraining(Section):
    """Training of RetinaNet, end to end (section 4.1)."""

    batch: Positive = 8
    """Images in a batch."""
    positive_iou: Fraction = 0.5
    """Anchors that overlap an object by so much are trained to find it."""
    negative_iou: Fraction = 0.4
    """Anchors that overlap each object by less are background; between the two only the best of an object trains."""
    difficult: bool = True
    """Train on difficult objects."""
    prior: Probability = 0.01
    """Probability that the new network gives each class on each anchor."""
    tower_std: PositiveFloat | None = None
    """Deviation of the towers' new weights (the paper: 0.01); empty: by their width, so that a short training moves all
    of them."""
    loss: ClassLoss = ClassLoss()
    box_beta: NonNegative = 0.11
    """The box error is squared up to this (the official code: 0.11; torchvision: 0)."""
    box_weight: NonNegative = 1
    frozen_layers: Count = 0
    """The first so many convolutions keep their weights."""
    new_layer_lr: PositiveFloat = 1
    """Layers behind the backbone learn this many times faster."""
    augment: RetinanetAugmentation = RetinanetAugmentation()
    schedule: Schedule = Schedule(steps=800, lr=0.02, decay_at=(640,), warmup=50, clip_norm=5)


class Retinanet(Section):
    """RetinaNet, stage by stage."""

    backbone: Network = "small"
    """One of the `backbones`."""
    side: Annotated[int, Field(ge=64)] = 192
    """Side of the square that every image is stretched to, in pixels."""
    taps: Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(distinct)] = ("conv5",)
    """Maps of the backbone that the pyramid is built on, deeper ones last (docs/backbones.md)."""
    further: Count = 2
    """Levels behind them, each of half the size."""
    width: Positive = 64
    """Channels of the pyramid and of both towers (the paper: 256)."""
    convolutions: Positive = 4
    """Of each tower, before its output."""
    anchors: RetinanetAnchors = RetinanetAnchors()
    train: RetinanetTraining = RetinanetTraining()
    detect: SquareDetection = SquareDetection(min_score=0.05, max_per_class=5000, nms=0.5, max_per_image=100)
    """Of the 1,000 best pairs of anchor and class on each level; max_per_class is more than these are."""
