"""The batches of a training on squares (YOLO, SSD, RetinaNet, localisation, OverFeat).

A square is the image stretched to ``side`` pixels both ways, whatever its shape.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.core.boxes import Boxes
from pipeline.core.errors import InputError
from pipeline.core.part import WHOLE, Part
from pipeline.core.runtime import item_rng
from pipeline.data.images import ImageCache
from pipeline.data.index import ImageRecord
from pipeline.imaging import ImageOrder, as_images, stretch, to_square

Sample = tuple[NDArray[np.uint8], Boxes, NDArray[np.int64]]


class Augment(Protocol):
    """Makes another sample of a sample.

    It gets and returns an image ``(H, W, 3)`` uint8 RGB, boxes ``(n, 4)`` in pixels of that image and labels ``(n,)``;
    all three may change in size, and ``n`` may be 0. It must not change its arguments, which are cached. Boxes that it
    returns lie inside its image and have an area. Loader processes pickle it.
    """

    def __call__(
        self, image: NDArray[np.uint8], boxes: Boxes, labels: NDArray[np.int64], rng: np.random.Generator
    ) -> Sample:
        """Return the sample that ``rng`` draws."""
        ...


def unchanged(image: NDArray[np.uint8], boxes: Boxes, labels: NDArray[np.int64], rng: np.random.Generator) -> Sample:
    """Return the sample as it is, as detection sees its image; the `Augment` of held-out images."""
    return image, boxes, labels


@dataclass(frozen=True)
class SquareBatch:
    """A step's images and objects.

    Attributes:
        images: ``(N, 3, side, side)`` uint8 RGB, channels last in memory.
        boxes: of each image, ``(n, 4)`` float32 in pixels of the square.
        labels: of each image, ``(n,)`` int64, category ids from 1.
        image_ids: of the images.
    """

    images: torch.Tensor
    boxes: tuple[torch.Tensor, ...]
    labels: tuple[torch.Tensor, ...]
    image_ids: tuple[int, ...]


class SquareBatches:
    """Makes the batch of a step; an image without objects trains as well as any other.

    Args:
        records: the images that are trained on.
        images: their pixels.
        augment: applied to every image before it is stretched.
        side: of the square, in pixels.
        per_step: images in a batch.
        difficult: whether difficult objects are trained on; else they are background, as crowds always are.
        seed: decides order and augmentation.

    Raises:
        InputError: no image has an object to train on.
    """

    def __init__(
        self,
        records: Sequence[ImageRecord],
        images: ImageCache,
        augment: Augment,
        *,
        side: int,
        per_step: int,
        difficult: bool,
        seed: int,
    ) -> None:
        self._used = [record.trained(difficult) for record in records]
        if not any(used.any() for used in self._used):
            raise InputError("no image has an object to train on; the training splits need annotated objects.")
        self._records, self._images, self._augment = records, images, augment
        self._side, self._seed = side, seed
        self._order = ImageOrder(len(records), per_step, False, seed)

    def __call__(self, step: int, part: Part = WHOLE) -> SquareBatch:
        """Return the batch of ``step``, or a part of it."""
        places = part.of([(place, position) for place, (position, _) in enumerate(self._order(step))])
        samples = [self._sample(position, step, place) for place, position in places]
        return SquareBatch(
            as_images([image for image, _, _ in samples]),
            tuple(torch.from_numpy(boxes) for _, boxes, _ in samples),
            tuple(torch.from_numpy(labels) for _, _, labels in samples),
            tuple(self._records[position].id for _, position in places),
        )

    def _sample(self, position: int, step: int, place: int) -> Sample:
        record, used = self._records[position], self._used[position]
        rng = item_rng(self._seed, "square", step, place)
        image, boxes, labels = self._augment(self._images[position], record.boxes[used], record.labels[used], rng)
        height, width = image.shape[:2]
        return stretch(image, self._side), to_square(boxes, width, height, self._side), labels
