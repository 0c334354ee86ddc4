"""The section of ``params.yaml`` of localisation."""

from typing import Annotated, Literal

from pydantic import Field

from pipeline.core.params import Count, Fraction, NonNegative, Positive, PositiveFloat, Schedule, Section
from pipeline.core.sections import Network


class LocaliseView(Section):
    """Random views of training images (VGG: random crops, mirrored)."""

    scale: tuple[PositiveFloat, PositiveFloat] = (0.7, 1.25)
    """Least and greatest size; of a larger image a part is seen, around a smaller one grey."""
    flip: bool = False
    """Mirror half of the images; digits have a side."""


class LocaliseTraining(Section):
    """Training of the classifier with the trunk; with `together` of the box head as well."""

    batch: Positive = 8
    """Images in a batch."""
    difficult: bool = False
    """Whether a difficult object may be the one that an image is of."""
    dropout: Fraction = 0.5
    """In fc6 and fc7."""
    frozen_layers: Count = 2
    """The first so many convolutions keep their weights."""
    new_layer_lr: PositiveFloat = 1
    """Layers that no backbone has learn this many times faster."""
    box_weight: NonNegative = 1
    """Of the squared error, where both heads are trained together."""
    augment: LocaliseView = LocaliseView()
    schedule: Schedule = Schedule(steps=500, lr=0.003, decay_at=(400,), warmup=50, clip_norm=5)


class LocaliseBoxTraining(Section):
    """Training of the box head, all else fixed; nothing to do with `together`."""

    batch: Positive = 8
    """Images in a batch."""
    augment: LocaliseView = LocaliseView()
    schedule: Schedule = Schedule(steps=800, lr=0.015, decay_at=(640,), warmup=50, weight_decay=0.005, clip_norm=5)


class LocaliseDetection(Section):
    """From class scores and boxes to guesses."""

    batch: Positive = 8
    """Images in a batch; it changes nothing."""
    guesses: Positive = 5
    """Classes with their boxes, best first (ILSVRC: 5)."""


class Localise(Section):
    """One object an image: a class and a box, by two heads on one trunk."""

    backbone: Network = "small"
    """One of the `backbones`."""
    side: Annotated[int, Field(ge=32)] = 128
    """Side of the square that every image is stretched to, in pixels."""
    pyramid: Annotated[tuple[Positive, ...], Field(min_length=1)] = (6, 3, 2, 1)
    """Grids that the map is pooled to. Those of `pretrain` bring its fc6 and fc7 with them; AlexNet's are [6], VGG's
    [7]."""
    fc_width: Positive = 256
    """Of fc6 and fc7."""
    attach: Literal["conv", "fc"] = "conv"
    """Where the box head begins: conv (at the pooled map, as OverFeat's) | fc (at fc7, as DeepPose's)"""
    box_widths: tuple[Positive, ...] = (256, 128)
    """Of the box head's hidden layers (OverFeat: 4096, 1024; DeepPose, behind fc7: none)."""
    per_class: bool = False
    """A box for each class, of which that of the guessed class is read (PCR); else one for all (SCR)."""
    points: Literal[2, 4] = 2
    """Of an object, that the box head finds: 2 (opposite corners of its box) | 4 (all of them; the box is what they
    agree on)"""
    together: bool = False
    """Train both heads at once, the trunk with both; else the classifier with the trunk, then the box head alone."""
    train: LocaliseTraining = LocaliseTraining()
    box: LocaliseBoxTraining = LocaliseBoxTraining()
    detect: LocaliseDetection = LocaliseDetection()
