"""Parameters."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from pipeline.core.params import Count, Fraction, Layer, Positive, PositiveFloat, Section, Split, distinct


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


class Digits(Section):
    """The generated dataset: handwritten digits on photographs."""

    train: Positive
    val: Positive
    test: Positive
    size: Annotated[int, Field(ge=64)]
    objects: tuple[Count, Count]
    side: tuple[Positive, Positive]


class SplitShares(Section):
    """Shares of the images for a dataset that names no splits; the rest is for training."""

    val: Fraction
    test: Fraction


class Coco(Section):
    """Where a COCO dataset keeps its files, below ``data.root``."""

    images: str
    annotations: str | dict[Split, str]


class Data(Section):
    """Which images, which classes, which splits."""

    source: Literal["digits", "voc", "coco", "voc2007", "voc2012"]
    root: str
    classes: Annotated[tuple[str, ...], AfterValidator(distinct)] | None
    fit_splits: Annotated[tuple[Literal["train", "val"], ...], Field(min_length=1), AfterValidator(distinct)]
    split: SplitShares
    skip_unreadable: bool
    coco: Coco
    digits: Digits
    mirror: str | None


class SelectiveSearch(Section):
    """Settings of the ``selectivesearch`` engine: the union over several segmentation scales."""

    scales: Annotated[tuple[Positive, ...], Field(min_length=1)]
    sigma: PositiveFloat


class OpenCV(Section):
    """Settings of the ``opencv`` engine; the defaults are the fast mode of the selective search paper."""

    colours: Annotated[tuple[Literal["hsv", "lab", "rgb", "grey"], ...], Field(min_length=1)]
    k: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)]
    similarities: Annotated[
        tuple[Annotated[str, Field(pattern="^[ctsf]+$"), AfterValidator(distinct)], ...], Field(min_length=1)
    ]
    sigma: PositiveFloat


class Proposals(Section):
    """Region proposals: engine, number, filter."""

    engine: Literal["selectivesearch", "opencv"]
    max_per_image: Positive
    min_side: Count
    selectivesearch: SelectiveSearch
    opencv: OpenCV


class Bootstrap(Section):
    """Intervals of the mean APs over samples of the test images."""

    samples: Positive
    level: Annotated[float, Field(gt=0, lt=1)]


class Evaluation(Section):
    """How detections are judged."""

    iou: Fraction
    bootstrap: Bootstrap
    similar: dict[str, tuple[str, ...]]


class Timing(Section):
    """How test times are measured."""

    images: Positive
    warmup: Count
    batches: Annotated[tuple[Positive, ...], AfterValidator(distinct)]


class Report(Section):
    """What the report page shows."""

    images: Count
    min_score: float | None


class Runtime(Section):
    """Where things run. No stage depends on it: it changes no byte of any output."""

    device: str
    workers: Count
    image_cache_mb: Count


class SquareDetection(Section):
    """From boxes and scores of a single-shot network to detections (YOLO and SSD)."""

    batch: Positive
    min_score: Fraction
    max_per_class: Positive
    nms: Fraction
    max_per_image: Positive
