"""Sections of ``params.yaml`` on R-CNN and SPP-net, whose SVMs and box regressors are the same."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from pipeline.params.backbone import Schedule
from pipeline.params.section import Count, Fraction, Layer, Positive, PositiveFloat, Section, distinct


class Region(Section):
    """How a region becomes the network's input (R-CNN, appendix A)."""

    size: Annotated[int, Field(ge=16)]
    padding: Count
    mode: Literal["warp", "square"]


class WindowSampling(Section):
    """Which windows a region classifier is fine-tuned on, and how."""

    foreground: Positive
    background: Count
    foreground_iou: Fraction
    background_iou: tuple[Fraction, Fraction]
    new_layer_lr: PositiveFloat
    schedule: Schedule


class Finetune(WindowSampling):
    """Fine-tuning on warped regions (R-CNN, section 2.3)."""

    flip: bool


class Svm(Section):
    """Linear SVMs with hard negative mining (R-CNN, section 2.3)."""

    layer: Layer
    C: PositiveFloat
    positive_weight: PositiveFloat
    bias_scale: PositiveFloat
    feature_norm: PositiveFloat
    negative_iou: Fraction
    hard_above: float
    evict_below: float
    retrain_after: Positive
    max_negatives: Positive
    passes: Positive
    tolerance: PositiveFloat
    max_iterations: Positive


class BoxRegression(Section):
    """Ridge regression from proposals to boxes (R-CNN, appendix C)."""

    layer: Layer
    ridge: PositiveFloat
    min_iou: Fraction
    whiten: bool
    max_samples: Positive
    feature_norm: PositiveFloat


class Detection(Section):
    """From region scores to detections."""

    min_score: float | None
    nms_before: bool
    max_per_class: Positive
    per_class_budget: Positive
    nms: Fraction
    box_regression: bool


class Features(Section):
    """The feature cache."""

    layers: Annotated[tuple[Layer, ...], Field(min_length=1), AfterValidator(distinct)]
    dtype: Literal["float16", "float32"]
    shard_mb: PositiveFloat
    batch: Count


class Rcnn(Section):
    """R-CNN, stage by stage."""

    fc_width: Positive
    region: Region
    finetune: Finetune
    features: Features
    svm: Svm
    bbox: BoxRegression
    detect: Detection


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
