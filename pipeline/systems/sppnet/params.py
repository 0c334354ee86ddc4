"""SPP-net's section of ``params.yaml``."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator

from pipeline.core.params import Fraction, Positive, PositiveFloat, Schedule, Section, distinct
from pipeline.core.sections import BoxRegression, CachePrecision, Detection, Network, RegionSampling, Svm


class Maps(Section):
    """The cached convolutional maps of whole images (SPP-net, section 4)."""

    scales: Annotated[tuple[Positive, ...], Field(min_length=1), AfterValidator(distinct)] = (256,)
    """Shorter side of the image in pixels, one map for each (the paper: 480, 576, 688, 864, 1200; one scale: 688)."""
    dtype: Literal["float16", "float32"] = "float16"
    precision: CachePrecision = "auto"
    """See rcnn.features."""
    shard_mb: PositiveFloat = 64


class Window(Section):
    """From a window of the image to one of the map."""

    rule: Literal["paper", "released"] = "released"
    """Cells of a window, and choice among scales: paper | released (docs/sppnet.md)."""
    side: Positive = 48
    """A window uses the scale at which it comes nearest to a square of this side (paper 224, released code 208)."""


class PyramidFinetune(RegionSampling):
    """Fine-tuning of the fully connected layers on pooled windows (SPP-net, section 4.2)."""

    background_iou: tuple[Fraction, Fraction] = (0.1, 0.5)
    new_layer_lr: PositiveFloat = 10
    """The new output layer learns this many times faster, where fc6 and fc7 are not new as well."""
    schedule: Schedule = Schedule(steps=600, lr=0.005, decay_at=(480,), average=200)


class Classify(Section):
    """Classification of whole images from their cached maps (SPP-net, section 3.3)."""

    C: PositiveFloat = 1
    """Of the linear SVMs on whole images; their features have unit norm."""


class Sppnet(Section):
    """SPP-net, stage by stage."""

    backbone: Network = "small"
    """One of the `backbones`."""
    maps: Maps = Maps()
    window: Window = Window()
    pyramid: Annotated[tuple[Positive, ...], Field(min_length=1), AfterValidator(distinct)] = (6, 3, 2, 1)
    """n x n bins each: 6, 3, 2, 1 (50 bins), 4, 3, 2, 1, and so on."""
    fc_width: Positive = 256
    """Width of fc6 and fc7 where the network has none of its own. If it and the pyramid are pretrain's, fc6 and fc7
    start from there; published ones go to the level that is the network's pool5 (alexnet 6, vgg16 7)."""
    difficult: bool = True
    """Train on difficult objects, as the official code does; false: they count as background."""
    finetune: PyramidFinetune = PyramidFinetune()
    svm: Svm = Svm()
    bbox: BoxRegression = BoxRegression(ridge=4000, min_iou=0.5, max_samples=8000)
    detect: Detection = Detection(min_score=-1.5, nms_before=True, per_class_budget=None)
    classify: Classify = Classify()

    @field_validator("svm", "bbox")
    @classmethod
    def _of_a_region(cls, section: Svm | BoxRegression) -> Svm | BoxRegression:
        if section.layer == "conv5":
            raise ValueError("layer is conv5, the map of the whole image; of its regions there are pool5, fc6 and fc7")
        return section
