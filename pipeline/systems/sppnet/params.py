"""Parameters."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from pipeline.core.params import Count, Positive, PositiveFloat, Section, distinct
from pipeline.core.sections import (
    BoxRegression,
    Detection,
    Svm,
    WindowSampling,
)


class Maps(Section):
    """The cached convolutional maps of whole images (SPP-net, section 4)."""

    scales: Annotated[tuple[Positive, ...], Field(min_length=1), AfterValidator(distinct)]
    dtype: Literal["float16", "float32"]
    shard_mb: PositiveFloat


class Window(Section):
    """From a window of the image to one of the map: rule, and the side that a window should have in pixels."""

    rule: Literal["paper", "released"]
    side: Positive


class PyramidFinetune(WindowSampling):
    """Fine-tuning of the fully connected layers on pooled windows (SPP-net, section 4.2)."""

    validation_batches: Count


class Classify(Section):
    """Classification of whole images from their cached maps (SPP-net, section 3.3)."""

    C: PositiveFloat


class Sppnet(Section):
    """SPP-net, stage by stage."""

    maps: Maps
    window: Window
    pyramid: Annotated[tuple[Positive, ...], Field(min_length=1), AfterValidator(distinct)]
    fc_width: Positive
    finetune: PyramidFinetune
    svm: Svm
    bbox: BoxRegression
    detect: Detection
    classify: Classify
