"""Typed parameters: one frozen model per section of ``params.yaml``; a wrong key or value is named with its path.

The meaning of each key stands beside it in ``params.yaml``. Only ``stages/`` and ``pipeline/cli.py`` call `load`.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from pipeline.errors import InputError

PARAMS_FILE = Path("params.yaml")

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]
Split = Literal["train", "val", "test"]
Layer = Literal["conv5", "pool5", "fc6", "fc7"]


def _distinct(values: tuple) -> tuple:
    if len(set(values)) < len(values):
        raise ValueError("each value may stand only once")
    return values


class Section(BaseModel):
    """A part of the parameters: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


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
    classes: Annotated[tuple[str, ...], AfterValidator(_distinct)] | None
    fit_splits: Annotated[tuple[Literal["train", "val"], ...], Field(min_length=1), AfterValidator(_distinct)]
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
        tuple[Annotated[str, Field(pattern="^[ctsf]+$"), AfterValidator(_distinct)], ...], Field(min_length=1)
    ]
    sigma: PositiveFloat


class Proposals(Section):
    """Region proposals: engine, number, filter."""

    engine: Literal["selectivesearch", "opencv"]
    max_per_image: Positive
    min_side: Count
    selectivesearch: SelectiveSearch
    opencv: OpenCV


class Backbone(Section):
    """The convolutional network that all systems start from."""

    network: Literal["small", "squeezenet1_0", "alexnet", "vgg16"]
    init: Literal["random", "torchvision"]
    weights: str


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

    layers: Annotated[tuple[Layer, ...], Field(min_length=1), AfterValidator(_distinct)]
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

    scales: Annotated[tuple[Positive, ...], Field(min_length=1), AfterValidator(_distinct)]
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
    pyramid: Annotated[tuple[Positive, ...], Field(min_length=1), AfterValidator(_distinct)]
    fc_width: Positive
    finetune: PyramidFinetune
    svm: Svm
    bbox: BoxRegression
    detect: Detection
    classify: Classify


class ImageSize(Section):
    """At which size whole images are seen; a training step draws one of the short sides for each image."""

    short_sides: Annotated[tuple[Positive, ...], Field(min_length=1), AfterValidator(_distinct)]
    long_side: Positive


class RegionTraining(Section):
    """Training of the detector on regions of whole images (Fast R-CNN, section 2.3)."""

    images: Positive
    regions: Positive
    foreground: Fraction
    foreground_iou: Fraction
    background_iou: tuple[Fraction, Fraction]
    difficult: bool
    normalise_targets: bool
    box_sigma: PositiveFloat
    box_weight: Annotated[float, Field(ge=0)]
    dropout: Annotated[float, Field(ge=0, lt=1)]
    new_fc_lr: PositiveFloat
    frozen_layers: Count
    flip: bool
    schedule: Schedule


class Svd(Section):
    """Truncated singular value decomposition of fc6 and fc7 (Fast R-CNN, section 3.1); rank 0 leaves a layer alone."""

    fc6: Count
    fc7: Count


class RegionScoring(Section):
    """From scores and boxes of regions to detections: two published protocols."""

    protocol: Literal["budget", "threshold"]
    max_per_class: Positive
    per_class_budget: Positive
    min_score: Fraction
    max_per_image: Positive
    nms: Fraction
    box_regression: bool


class FastDetection(RegionScoring):
    """The same, by the network as it was trained or by the one with fewer values in fc6 and fc7."""

    compressed: bool


class FastRcnn(Section):
    """Fast R-CNN, stage by stage."""

    fc_width: Positive
    grid: Positive | None
    image: ImageSize
    train: RegionTraining
    classifier: Literal["softmax", "svm"]
    svm: Svm
    svd: Svd
    detect: FastDetection


class Anchors(Section):
    """Reference boxes on every cell of the map (Faster R-CNN, section 3.1.1)."""

    sides: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)]
    ratios: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)]


class RpnTraining(Section):
    """Training of the region proposal network (Faster R-CNN, sections 3.1.2 and 3.1.3)."""

    images: Positive
    anchors: Positive
    positive_share: Fraction
    positive_iou: Fraction
    negative_iou: Fraction
    drop_crossing: bool
    difficult: bool
    normalise_targets: bool
    box_sigma: PositiveFloat
    box_weight: Annotated[float, Field(ge=0)]
    box_normaliser: Literal["positions", "sampled"]
    frozen_layers: Count
    flip: bool
    schedule: Schedule


class RpnProposals(Section):
    """From scored anchors to proposals (Faster R-CNN, section 3.3)."""

    min_side: Count
    before: Count
    nms: Fraction
    after: Positive


class FasterDetection(RegionScoring):
    """Detection among the proposals that the network makes itself."""

    proposals: RpnProposals


class FasterRcnn(Section):
    """Faster R-CNN, stage by stage; both rounds have the same settings."""

    fc_width: Positive
    grid: Positive | None
    image: ImageSize
    anchors: Anchors
    rpn_width: Positive
    rpn: RpnTraining
    proposals: RpnProposals
    detector: RegionTraining
    detect: FasterDetection


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
    taps: Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(_distinct)]
    extra: tuple[tuple[Positive, Positive, Positive, Positive, Count], ...]
    l2_scale: PositiveFloat
    default_boxes: DefaultBoxes
    train: SsdTraining
    detect: SquareDetection


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
    batches: Annotated[tuple[Positive, ...], AfterValidator(_distinct)]


class Report(Section):
    """What the report page shows."""

    images: Count
    min_score: float | None


class Runtime(Section):
    """Where things run. No stage depends on it: it changes no byte of any output."""

    device: str
    workers: Count
    image_cache_mb: Count


class Params(Section):
    """All of ``params.yaml``."""

    seed: int
    data: Data
    proposals: Proposals
    backbone: Backbone
    pretrain: Pretrain
    rcnn: Rcnn
    sppnet: Sppnet
    fast_rcnn: FastRcnn
    faster_rcnn: FasterRcnn
    yolo: YoloV1
    ssd: Ssd
    evaluation: Evaluation
    timing: Timing
    report: Report
    runtime: Runtime


def load(path: Path = PARAMS_FILE) -> Params:
    """Read and check the parameters.

    Raises:
        InputError: the file is missing or is not YAML, or a key is unknown, missing or has a wrong value.
    """
    from ruamel.yaml import YAML, YAMLError

    try:
        content = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path}: the file does not exist; run this in the project's folder.") from error
    except YAMLError as error:
        raise InputError(f"{path}: not readable as YAML: {' '.join(str(error).split())}") from error
    return parse(content, str(path))


def parse(content: Any, source: str) -> Params:
    """Check ``content``, nested mappings as YAML gives them; ``source`` names it in errors.

    Raises:
        InputError: a key is unknown, missing or has a wrong value; the sentence names each such key.
    """
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        raise InputError(f"{source}: " + "; ".join(_sentences(error.errors()))) from None


def _sentences(errors: Iterable[Any]) -> Iterable[str]:
    for error in errors:
        key = ".".join(str(part) for part in error["loc"]) or "the file"
        if error["type"] == "extra_forbidden":
            yield f"{key} is no known parameter"
        elif error["type"] == "missing":
            yield f"{key} is missing"
        else:
            message = error["msg"][0].lower() + error["msg"][1:]
            yield f"{key} is {error['input']!r}: {message}"
