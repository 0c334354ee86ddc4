"""How many candidates of each class detection goes on with: the parameters' limits as numbers for a dataset.

The published numbers, 100 in an image and 40 on average over a split (``rcnn_test.m``), are far above the objects of a
class in VOC's images. On images full of objects they would cap recall, so ``auto`` raises them with the objects of the
training images: an object has some fifteen proposals that overlap it by more than a half.
"""

import sys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.core.params import Limit, Positive, Section
from pipeline.data.index import Index

# Candidates that each object of a class may need.
PER_OBJECT = 20
IN_IMAGE, ON_AVERAGE = 100, 40


class Limits(Section):
    """The most candidates of each class, the first being label 1; None: no limit."""

    in_image: tuple[Positive | None, ...]
    """In one image."""
    on_average: tuple[Positive | None, ...]
    """In a split, for each of its images."""


def class_limits(max_per_class: Limit, per_class_budget: Limit, indices: Sequence[Index], key: str) -> Limits:
    """Return the limits of each class that two parameters ask for.

    ``auto`` is, in an image, the larger of 100 and 20 times the mean number of the class's objects in those images
    that have any; on average the larger of 40 and 20 times the mean number over all images. Difficult objects count,
    as detections of them take places as well; crowds do not. A number below 20 times that mean is named on stderr, once
    for each parameter, with the class that it limits most.

    Args:
        max_per_class: in an image.
        per_class_budget: on average over the images of a split.
        indices: the images that the system was trained on.
        key: of the section that holds both parameters, for the warning.
    """
    classes, images = indices[0].classes, [image for index in indices for image in index.images]
    counts = np.zeros((len(images), len(classes)), np.int64)
    for row, image in zip(counts, images, strict=True):
        row += np.bincount(image.labels[~image.crowd], minlength=len(classes) + 1)[1:]
    objects, filled = counts.sum(axis=0), (counts > 0).sum(axis=0)
    everywhere = np.full_like(filled, len(images))
    return Limits(
        in_image=_limit(max_per_class, IN_IMAGE, objects, filled, classes, f"{key}.max_per_class"),
        on_average=_limit(per_class_budget, ON_AVERAGE, objects, everywhere, classes, f"{key}.per_class_budget"),
    )


def _limit(
    value: Limit,
    least: int,
    objects: NDArray[np.int64],
    images: NDArray[np.int64],
    classes: Sequence[str],
    key: str,
) -> tuple[int | None, ...]:
    """Return the limit of each class, which has so many ``objects`` in so many ``images``, both ``(classes,)``."""
    images = np.maximum(images, 1)
    needed = -(-PER_OBJECT * objects // images)  # rounded up
    if value == "auto":
        return tuple(np.maximum(needed, least).tolist())
    if value is not None and (needed > value).any():
        worst = int(needed.argmax())
        print(
            f"warning: {key} is {value}, which may cost right boxes of {classes[worst]} with its "
            f"{objects[worst] / images[worst]:.1f} objects in an image; auto gives it {max(needed[worst], least)}.",
            file=sys.stderr,
        )
    return (value,) * len(classes)
