"""Sections of ``params.yaml`` on the backbone, and the schedule that every training has."""

from typing import Annotated, Literal

from pydantic import Field

from pipeline.params.section import Count, Fraction, Positive, PositiveFloat, Section


class Schedule(Section):
    """A training run: stochastic gradient descent with momentum and step decay."""

    steps: Count
    lr: PositiveFloat
    decay_at: tuple[Positive, ...]
    gamma: PositiveFloat
    warmup: Count
    momentum: Fraction
    weight_decay: Annotated[float, Field(ge=0)]
    checkpoint_every: Positive


class Backbone(Section):
    """The convolutional network that all systems start from."""

    network: Literal["small", "squeezenet1_0", "alexnet", "vgg16"]
    init: Literal["random", "torchvision"]
    weights: str


class Pretrain(Section):
    """Supervised pre-training on object crops, for networks that start without published weights."""

    sizes: Annotated[tuple[Positive, ...], Field(min_length=1)]
    size_choice: Literal["alternate", "range"]
    compare_single_size: bool
    pyramid: Annotated[tuple[Positive, ...], Field(min_length=1)]
    fc_width: Positive
    batch: Positive
    background: Fraction
    flip: bool
    schedule: Schedule
