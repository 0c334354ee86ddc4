"""OverFeat's section of ``params.yaml``."""

from typing import Annotated

from pydantic import AfterValidator, Field

from pipeline.core.params import Count, Fraction, NonNegative, Positive, PositiveFloat, Schedule, Section, distinct
from pipeline.core.sections import Network

Widths = Annotated[tuple[Positive, ...], Field(min_length=1)]


class OverfeatView(Section):
    """Random views of training images (the paper: shifted by up to four pixels, mirrored)."""

    scale: tuple[PositiveFloat, PositiveFloat] = (0.8, 1.25)
    """Least and greatest size; of a larger image a part is seen, around a smaller one grey."""
    flip: bool = False
    """Mirror half of the images; digits have a side."""


class OverfeatTraining(Section):
    """Training of the classifier with the trunk, with a class for the background (OverFeat, sections 3.1 and 5)."""

    batch: Positive = 8
    """Images in a batch, all at one of the scales."""
    positive_iou: Fraction = 0.5
    """Windows that overlap an object by so much are trained to name it."""
    negative_iou: Fraction = 0.3
    """Windows that overlap each object by less are background; between the two they train nothing."""
    negatives: PositiveFloat = 3
    """Background windows for each of an object, the worst of the image; it gives so many at least."""
    difficult: bool = True
    """Train on difficult objects."""
    dropout: Fraction = 0.5
    """In the hidden layers."""
    frozen_layers: Count = 0
    """The first so many convolutions keep their weights."""
    new_layer_lr: PositiveFloat = 1
    """Layers behind the backbone learn this many times faster."""
    augment: OverfeatView = OverfeatView()
    schedule: Schedule = Schedule(steps=450, lr=0.015, decay_at=(360,), warmup=50, clip_norm=5)


class OverfeatBoxTraining(Section):
    """Training of the box regressor, all else fixed (OverFeat, section 4.2)."""

    batch: Positive = 8
    """Images in a batch, all at one of the scales."""
    positive_iou: Fraction = 0.5
    """Windows that overlap an object by so much take part."""
    augment: OverfeatView = OverfeatView()
    schedule: Schedule = Schedule(steps=400, lr=0.05, decay_at=(320,), warmup=50, clip_norm=5)


class OverfeatDetection(Section):
    """From windows to detections (OverFeat, section 4.3)."""

    batch: Positive = 8
    """Images in a batch; it changes nothing."""
    offsets: bool = True
    """Score a window on every cell of the map, by pooling at each offset; else one for each pooled cell."""
    top_classes: Positive | None = 5
    """Of each scale the classes with the best windows; empty: all."""
    min_score: Fraction = 0.3
    """Least probability of a window."""
    max_per_class: Positive = 200
    """Windows of a class that are merged."""
    merge_below: NonNegative = 0.8
    """Two boxes are merged while the distance of their centres in mean sides, and one less their overlap, sum up to
    less."""
    max_per_image: Positive = 100


class Overfeat(Section):
    """OverFeat, stage by stage."""

    backbone: Network = "small"
    """One of the `backbones`."""
    scales: Annotated[tuple[Annotated[int, Field(ge=32)], ...], Field(min_length=1), AfterValidator(distinct)] = (
        112,
        152,
        208,
        280,
    )
    """Sides of the squares that every image is stretched to, in pixels; a window has the same side in each."""
    pool: Positive = 2
    """Side of the last pooling, in cells of the map, and the number of its offsets along each axis (the paper: 3)."""
    window: Positive = 3
    """Side of a window in pooled cells, that of the first fully connected layer (the paper: 5)."""
    widths: Widths = (256, 256)
    """Of the classifier's hidden layers (the paper: 4096, 4096)."""
    box_widths: Widths = (256, 128)
    """Of the regressor's hidden layers (the paper: 4096, 1024)."""
    per_class: bool = False
    """The regressor's last layer once for each class (the paper found one for all better)."""
    train: OverfeatTraining = OverfeatTraining()
    box: OverfeatBoxTraining = OverfeatBoxTraining()
    detect: OverfeatDetection = OverfeatDetection()
