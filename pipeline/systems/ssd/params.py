"""SSD's section of ``params.yaml``."""

from typing import Annotated

from pydantic import AfterValidator, Field

from pipeline.core.params import Count, Fraction, NonNegative, Positive, PositiveFloat, Schedule, Section, distinct
from pipeline.core.sections import Network, SquareDetection

Share = Annotated[float, Field(gt=0, le=1)]


class DefaultBoxes(Section):
    """Sizes and shapes of the default boxes, map by map (SSD, section 2.2)."""

    sides: tuple[PositiveFloat, ...] | None = (28, 44, 64, 90)
    """Side of each map's small square in pixels, and a last one; empty: by scales."""
    scales: tuple[PositiveFloat, PositiveFloat] = (0.2, 0.9)
    """Without sides: share of the input's side on the first and on the last map, the others evenly between."""
    ratios: tuple[tuple[PositiveFloat, ...], ...] = ((1.5,), (1.5,), (1.5,))
    """Width over height, beside the two squares; each adds its inverse too."""
    steps: tuple[PositiveFloat, ...] | None = None
    """Pixels between neighbouring boxes, the first at half of that; empty: around the centres of what the cells see."""


class SsdAugmentation(Section):
    """How a training sample is drawn from an image (SSD, sections 2.2 and 3.6)."""

    photometric: bool = True
    """Brightness, contrast, saturation, hue."""
    expand: Annotated[float, Field(ge=1)] = 1.5
    """Half of the images are shown up to so many times smaller; 1: none."""
    crop_overlaps: tuple[Fraction, ...] = (0.1, 0.3, 0.5, 0.7, 0.9, 0)
    """Parts of the image with at least this overlap with an object, or any part (0); all kinds are as likely as the
    whole. []: no parts."""
    crop_scale: tuple[Share, Share] = (0.5, 1.0)
    """Least and greatest side of a part."""
    flip: bool = False


class SsdTraining(Section):
    """Training of SSD, end to end (SSD, sections 2.2 and 3.1)."""

    batch: Positive = 8
    """Images in a batch."""
    match_iou: Fraction = 0.5
    """Least overlap of a default box with its object; each object has its best box in any case."""
    negatives: PositiveFloat = 3
    """Background boxes for each matched one, the hardest of each image."""
    difficult: bool = True
    """Train on difficult objects."""
    box_weight: NonNegative = 1
    frozen_layers: Count = 0
    """The first so many convolutions keep their weights."""
    new_layer_lr: PositiveFloat = 1
    """Layers behind the backbone learn this many times faster; the convolutions of a published backbone without batch
    normalisation need a low rate."""
    augment: SsdAugmentation = SsdAugmentation()
    schedule: Schedule = Schedule(steps=800, lr=0.01, decay_at=(640,), warmup=50)


class Ssd(Section):
    """SSD, stage by stage."""

    backbone: Network = "small"
    """One of the `backbones`."""
    side: Annotated[int, Field(ge=32)] = 192
    """Side of the square that every image is stretched to, in pixels."""
    taps: Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(distinct)] = ("conv5",)
    """Maps of the backbone that predict; deeper ones last. docs/backbones.md lists them; alexnet and vgg16 have fc7 as
    well (fc6 and fc7 become convolutions)."""
    extra: tuple[tuple[Positive, Positive, Positive, Positive, Count], ...] = ((48, 96, 3, 2, 1), (48, 96, 3, 2, 1))
    """Further maps, one convolution pair each: channels of the 1x1 one; channels, kernel, stride and padding of the
    second."""
    l2_scale: PositiveFloat = 8
    """Start of the learned norm of the backbone's maps (the paper: 20 at a rate of 0.001). A larger norm makes the
    backbone learn faster: with a higher rate, choose a smaller norm."""
    default_boxes: DefaultBoxes = DefaultBoxes()
    train: SsdTraining = SsdTraining()
    detect: SquareDetection = SquareDetection()
