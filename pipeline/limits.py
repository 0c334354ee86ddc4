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
    classes = indices[0].classes
    objects, filled, everywhere = _counts(indices)
    return Limits(
        in_image=_limit(max_per_class, IN_IMAGE, objects, filled, classes, f"{key}.max_per_class"),
        on_average=_limit(per_class_budget, ON_AVERAGE, objects, everywhere, classes, f"{key}.per_class_budget"),
    )


def candidates_needed(indices: Sequence[Index]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the candidates that the objects of each class need: in an image that shows it, and on average over all.

    Both have shape ``(classes,)``.
    """
    objects, filled, everywhere = _counts(indices)
    return _needed(objects, filled), _needed(objects, everywhere)


def _counts(indices: Sequence[Index]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return for each class its objects, the images that show it, and all images: ``(classes,)`` each."""
    classes, images = indices[0].classes, [image for index in indices for image in index.images]
    counts = np.zeros((len(images), len(classes)), np.int64)
    for row, image in zip(counts, images, strict=True):
        row += np.bincount(image.labels[~image.crowd], minlength=len(classes) + 1)[1:]
    filled = (counts > 0).sum(axis=0)
    return counts.sum(axis=0), filled, np.full_like(filled, len(images))


def _needed(objects: NDArray[np.int64], images: NDArray[np.int64]) -> NDArray[np.int64]:
    return -(-PER_OBJECT * objects // np.maximum(images, 1))  # rounded up


def _limit(
    value: Limit,
    least: int,
    objects: NDArray[np.int64],
    images: NDArray[np.int64],
    classes: Sequence[str],
    key: str,
) -> tuple[int | None, ...]:
    """Return the limit of each class, which has so many ``objects`` in so many ``images``, both ``(classes,)``."""
    needed = _needed(objects, images)
    if value == "auto":
        return tuple(np.maximum(needed, least).tolist())
    if value is not None and (needed > value).any():
        worst = int(needed.argmax())
        mean = objects[worst] / images[worst]
        print(
            f"warning: {key} is {value}, which may cost right boxes of {classes[worst]} with its {mean:.1f} objects in "
            f"an image; auto gives it {max(needed[worst], least)}.",
            file=sys.stderr,
        )
    return (value,) * len(classes)
