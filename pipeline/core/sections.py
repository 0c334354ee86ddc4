"""The sections of ``params.yaml`` that no system owns, and blocks that several systems' sections share."""

import math
import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from pipeline.core.params import (
    Count,
    Fraction,
    Layer,
    Limit,
    Positive,
    PositiveFloat,
    PositiveOrAuto,
    Schedule,
    Section,
    Split,
    distinct,
)

Distinct = AfterValidator(distinct)
NotEmpty = Field(min_length=1)
Similarity = Annotated[str, Field(pattern="^[ctsf]+$"), Distinct]
Precision = Literal["auto", "fp32", "tf32", "bf16"]
CachePrecision = Literal["auto", "fp32", "fp16", "bf16"]
Network = Literal[
    "small", "squeezenet1_0", "alexnet", "vgg16", "mobilenet_v2", "resnet18", "resnet50", "extraction", "darknet"
]
"""The networks of `pipeline.nets.backbones`."""


class Digits(Section):
    """Source digits: handwritten digits on photographs, generated here."""

    train: Positive = 160
    val: Positive = 40
    test: Positive = 80
    size: Annotated[int, Field(ge=64)] = 192
    """Side of the square images in pixels."""
    objects: tuple[Count, Count] = (2, 6)
    """Least and greatest number of digits in an image."""
    side: tuple[Positive, Positive] = (28, 80)
    """Least and greatest side of a digit in pixels."""


class SplitShares(Section):
    """Shares of the images for a dataset that names no splits of its own; the rest is for training."""

    val: Fraction = 0.2
    test: Fraction = 0.2


class Coco(Section):
    """Source coco: paths below root."""

    images: str = "images"
    annotations: str | dict[Split, str] = "annotations.json"
    """One file, or one for each split: {train: ..., val: ..., test: ...}. auto: found, and the images' folders with
    them."""


class Data(Section):
    """Which images, which classes, which splits."""

    source: Literal[
        "digits", "auto", "voc", "coco", "yolo", "labelme", "via", "csv", "masks", "voc2007", "voc2012", "voc0712"
    ] = "digits"
    """digits (generated here) | auto (a folder in any layout of docs/formats.md) | voc, coco, yolo, labelme, via, csv
    or masks (a folder in that one) | voc2007 | voc2012 | voc0712 (trainval of both years, test of 2007)"""
    root: str = "data/fetched"
    """The folder with images and annotations; data/fetched is where the fetch stage puts what it makes or downloads."""
    classes: Annotated[tuple[str, ...], Distinct] | None = None
    """Empty: all classes in the data, sorted by name. A list: these, in this order; any other is an error."""
    fit_splits: Annotated[tuple[Literal["train", "val"], ...], NotEmpty, Distinct] = ("train", "val")
    """The splits that classifiers and regressors are fitted on; test is never among them."""
    split: SplitShares = SplitShares()
    seed: int = 1
    """Of the digits that are drawn, and of the images that fall into a split by its share."""
    skip_unreadable: bool = False
    """false: a truncated image is an error. true: it is dropped, counted and listed."""
    coco: Coco = Coco()
    digits: Digits = Digits()
    mirror: str | None = None
    """Sources voc2007, voc2012 and voc0712: a base address to download from instead of the official one."""


class SelectiveSearch(Section):
    """Engine selectivesearch: the union of its regions over several segmentation scales."""

    scales: Annotated[tuple[Positive, ...], NotEmpty] = (100, 150, 300)
    sigma: PositiveFloat = 0.8


class OpenCV(Section):
    """Engine opencv: one hierarchy for each colour space, k and similarity; the defaults are the paper's fast mode."""

    colours: Annotated[tuple[Literal["hsv", "lab", "rgb", "grey"], ...], NotEmpty] = ("hsv", "lab")
    k: Annotated[tuple[PositiveFloat, ...], NotEmpty] = (50, 100)
    similarities: Annotated[tuple[Similarity, ...], NotEmpty] = ("ctsf", "tsf")
    """One letter a term: c colour, t texture, s size, f fill."""
    sigma: PositiveFloat = 0.8


class Proposals(Section):
    """Region proposals: engine, number, filter."""

    engine: Literal["selectivesearch", "opencv"] = "selectivesearch"
    """selectivesearch | opencv"""
    max_per_image: Positive = 300
    """The best of an image (the papers: all, some 2,000)."""
    max_width: Positive | None = None
    """Wider images are searched at this width; empty: at their own, as the papers' wrapper does for VOC (for ILSVRC:
    500)."""
    min_side: Count = 12
    """Boxes with a shorter side are dropped, in pixels of what is searched (the papers' wrapper: 20)."""
    selectivesearch: SelectiveSearch = SelectiveSearch()
    opencv: OpenCV = OpenCV()


class Backbone(Section):
    """Where a network that systems start from has its weights from."""

    init: Literal["random", "published"]
    weights: str


class Training(Section):
    """What all trainings have in common."""

    precision: Precision = "auto"
    """fp32 | tf32 (matrix products on a GPU) | bf16 (the networks' passes; weights and losses stay float32) | auto
    (bf16 where processor or GPU have instructions for it, else fp32)"""
    processes: Positive = 1
    """That share the items of each step, on a GPU each where they train on GPUs (docs/scaling.md); their number changes
    last bits."""


class Pretrain(Section):
    """Classification of object crops, for a network without published weights."""

    sizes: Annotated[tuple[Positive, ...], NotEmpty] = (48, 36)
    """Input sizes of the crops; the weights are shared (SPP-net, section 2.3)."""
    size_choice: Literal["alternate", "range"] = "alternate"
    """alternate: whole passes at one size, then at the next | range: each pass draws a size in between."""
    compare_single_size: bool = False
    """Train a second network at the largest size alone, for as long again, to compare accuracies."""
    pyramid: Annotated[tuple[Positive, ...], NotEmpty] = (6, 3, 2, 1)
    """Levels of the pyramid head."""
    fc_width: Positive = 256
    batch: Positive = 64
    background: Fraction = 0.25
    """Share of background crops in a batch."""
    flip: bool = False
    """Mirror half of the crops; digits have a side."""
    schedule: Schedule = Schedule(steps=600, lr=0.02, decay_at=(480,), warmup=50)


class Bootstrap(Section):
    """Intervals of the mean APs: the share inside, from so many samples of the test images, drawn with replacement."""

    samples: Positive = 1000
    level: Annotated[float, Field(gt=0, lt=1)] = 0.95


class Evaluation(Section):
    """How detections are judged."""

    iou: Fraction = 0.5
    bootstrap: Bootstrap = Bootstrap()
    similar: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Sets of similar classes for the error types, by name: {animals: [cat, dog]}."""


class Timing(Section):
    """How test times are measured."""

    batches: Annotated[tuple[Positive, ...], Distinct] = (8,)
    """Batch sizes at which images per second are measured, for systems that take several images at once."""
    images: Positive = 20
    """Test images that each system is timed on, one by one."""
    warmup: Count = 2
    """How many of them it sees once before, untimed."""


class Report(Section):
    """What the report page shows."""

    images: Count | None = None
    """Number of test images on the page; empty: as many as it has room for."""
    min_score: float | None = None
    """Least score of a drawn box; empty: that of each class with the best F1."""


def _cluster(value: str) -> str:
    if not re.fullmatch(r"processes|dask|dask://[^/:\s]+:\d+", value):
        raise ValueError("processes, dask or dask://HOST:PORT would be right")
    return value


Cluster = Annotated[str, AfterValidator(_cluster)]


def _store_url(value: str) -> str:
    if not re.fullmatch(r"s3://[^/\s]+(/[^/\s]+)+/?", value):
        raise ValueError("s3://BUCKET/PREFIX, or nothing for this folder, would be right")
    return value


def _endpoint(value: str) -> str:
    if not re.fullmatch(r"https?://[^/\s]+/?", value):
        raise ValueError("http://HOST:PORT, or nothing for AWS, would be right")
    return value


class Store(Section):
    """Where caches of features and maps lie (docs/scaling.md); credentials come from the environment alone."""

    url: Annotated[str, AfterValidator(_store_url)] | None = None
    """s3://BUCKET/PREFIX; empty: this folder."""
    endpoint: Annotated[str, AfterValidator(_endpoint)] | None = None
    """Of a store other than AWS, http://HOST:PORT; AWS_ENDPOINT_URL in the environment goes before it."""


class Runtime(Section):
    """Where things run. No stage lists these keys: workers and clusters change no byte, another device does."""

    device: str = "auto"
    """auto | cpu | cuda | cuda:1"""
    workers: Count = 0
    """0: one per core."""
    cluster: Cluster = "processes"
    """processes | dask | dask://HOST:PORT (docs/scaling.md)"""
    store: Store = Store()
    image_cache_mb: Count = 1024
    """Decoded images, or maps, that a training holds in memory, all its processes together."""


def _trained_here() -> dict[Network, Backbone]:
    return {"small": Backbone(init="random", weights="data/weights/small")}


class Shared(Section):
    """All of ``params.yaml`` but the systems' own sections."""

    systems: Annotated[tuple[str, ...], Distinct] = ("rcnn", "sppnet", "fast_rcnn", "faster_rcnn", "yolo", "ssd")
    """The systems that `dvc repro` runs; each is a room in pipeline/systems/ with a section of its name below."""
    seed: int = 1
    data: Data = Data()
    proposals: Proposals = Proposals()
    backbones: dict[Network, Backbone] = Field(default_factory=_trained_here)
    """The networks that systems start from, by name (docs/backbones.md); a system's backbone is one of them. init:
    random (pretrain trains it) | published (trained on ImageNet). weights: data/weights/NETWORK, where fetch_weights
    puts published ones, or a safetensors file with torchvision's key names."""
    training: Training = Training()
    pretrain: Pretrain = Pretrain()
    evaluation: Evaluation = Evaluation()
    timing: Timing = Timing()
    report: Report = Report()
    runtime: Runtime = Runtime()


# --- blocks of several systems ------------------------------------------------------------------------------------


class Region(Section):
    """How a region becomes the network's input (R-CNN, appendix A)."""

    size: Annotated[int, Field(ge=16)] = 48
    """Side of the warped region in pixels."""
    padding: Count = 4
    """Context around the proposal, in pixels of the warped region."""
    mode: Literal["warp", "square"] = "warp"
    """warp | square (the aspect is kept)"""

    @field_validator("padding")
    @classmethod
    def _leaves_room(cls, padding: int, info: ValidationInfo) -> int:
        if 2 * padding >= info.data.get("size", math.inf):
            raise ValueError(f"it goes on each side, so less than half of size {info.data['size']} would be right")
        return padding


class RegionSampling(Section):
    """Which regions a classifier is fine-tuned on: so many foreground and background regions in a batch."""

    foreground: Positive = 32
    background: Count = 96
    foreground_iou: Fraction = 0.5
    background_iou: tuple[Fraction, Fraction] = (0.0, 0.5)
    new_layer_lr: PositiveFloat = 10
    """The new output layer learns this many times faster."""
    schedule: Schedule = Schedule(steps=300, lr=0.005, decay_at=(240,))


class Features(Section):
    """The feature cache."""

    layers: Annotated[tuple[Layer, ...], NotEmpty, Distinct] = ("pool5", "fc7")
    dtype: Literal["float16", "float32"] = "float16"
    precision: CachePrecision = "auto"
    """Of the network's pass: fp32 | fp16 | bf16 | auto (fp16 on a GPU, bf16 on a processor with instructions for it,
    else fp32)"""
    shard_mb: PositiveFloat = 64
    """Raw size of one shard; a shard is the unit of writing and of resuming."""
    batch: Count = 0
    """Regions in a forward pass; 0: by network and device (pipeline/nets/backbones.py)."""


class Mining(Section):
    """Linear SVMs with hard negative mining (R-CNN, section 2.3)."""

    C: PositiveOrAuto = 0.001
    """Weight of the errors against the margin; the larger, the closer the fit. auto: that of C_values with the greatest
    mAP on val (R-CNN and SPP-net)."""
    positive_weight: PositiveFloat = 2
    """Errors on objects weigh this many times more."""
    bias_scale: PositiveFloat = 10
    """The bias is the weight of a constant feature of this value."""
    negative_iou: Fraction = 0.3
    """Negatives overlap every object of the class by less."""
    hard_above: float = -1.0001
    """A negative with a greater score is hard and joins the training set."""
    evict_below: float = -1.2
    """A negative with a smaller score leaves it after a training."""
    retrain_after: Positive = 2000
    """So many new negatives start the next training."""
    max_negatives: Positive = 20000
    """Hardest negatives kept for each class; bounds the memory (rcnn_train.m: all)."""
    passes: Positive = 1
    """Passes over the images."""
    tolerance: PositiveFloat = 0.01
    """Of the solver; liblinear's default for this loss is 0.1."""
    max_iterations: Positive = 2000


class Svm(Mining):
    """Linear SVMs with hard negative mining (R-CNN, section 2.3)."""

    layer: Layer = "fc7"
    C_values: Annotated[tuple[PositiveFloat, ...], NotEmpty, Distinct] = (0.0001, 0.001, 0.01, 0.1)
    feature_norm: PositiveFloat = 20
    """Features are scaled so that their mean norm is this."""


class Hog(Section):
    """A pyramid of histograms of oriented gradients."""

    descriptor: Literal["dalal_triggs", "felzenszwalb"] = "dalal_triggs"
    """dalal_triggs (normalised blocks of cells) | felzenszwalb (the released DPM's 31 values)"""
    orientations: Annotated[int, Field(ge=2, le=36)] = 9
    """Of dalal_triggs: bins of a cell's histogram, over 180 degrees."""
    block: Annotated[int, Field(ge=1, le=2)] = 2
    """Of dalal_triggs: cells along a side of a block; neighbouring blocks share cells where it is 2."""
    finest: PositiveFloat = 2
    """Size of the finest level over the image's."""
    octaves: Positive = 2
    """So many times the size is halved."""
    per_octave: Positive = 5
    """Levels from one size to half of it (Dalal and Triggs: 1.2 from level to level, about 4)."""
    dtype: Literal["float16", "float32"] = "float16"
    shard_mb: PositiveFloat = 64


class BoxRegression(Section):
    """Ridge regression from proposals to boxes (R-CNN, appendix C)."""

    layer: Layer = "pool5"
    ridge: PositiveOrAuto = 1000
    """Weight of the penalty on the coefficients. auto: that of ridge_values after which proposals of val overlap their
    objects best."""
    ridge_values: Annotated[tuple[PositiveFloat, ...], NotEmpty, Distinct] = (100, 300, 1000, 4000)
    min_iou: Fraction = 0.6
    """Proposals that overlap an object by more are samples."""
    whiten: bool = True
    """Whiten the targets as the official code does; the paper does not mention it."""
    max_samples: Positive = 20000
    """Samples of each class; bounds the memory (the official codes: all)."""
    feature_norm: PositiveFloat = 20


class Detection(Section):
    """From region scores to detections."""

    min_score: float | None = None
    """Only scores above this; empty: any."""
    nms_before: bool = False
    """Suppress before box regression too."""
    max_per_class: Limit = "auto"
    """Boxes of a class in an image before the last suppression; empty: all; auto: the larger of 100 and 20 times the
    mean number of the class's objects in those training images that have any."""
    per_class_budget: Limit = "auto"
    """Boxes of a class before the last suppression, on average over the images; empty: all; auto: the larger of 40 and
    20 times the mean number of the class's objects in a training image."""
    nms: Fraction = 0.3
    box_regression: bool = True


class SquareDetection(Section):
    """From boxes and scores of a network on squares to detections."""

    batch: Positive = 8
    """Images in a batch; it changes nothing."""
    min_score: Fraction = 0.01
    max_per_class: Positive = 400
    """Boxes of a class before suppression."""
    nms: Fraction = 0.45
    max_per_image: Positive = 200
