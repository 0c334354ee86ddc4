"""The regions that SVMs and box regressors learn from: cached features beside the objects of their images."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.core.boxes import Boxes, in_crowd, iou
from pipeline.core.errors import InputError
from pipeline.core.runtime import item_rng
from pipeline.data.index import ImageRecord, Index
from pipeline.features.regions import RegionFeatures

HELD_OUT = "val"


@dataclass(frozen=True)
class ImageRegions:
    """The regions of one image beside its objects.

    Attributes:
        key: ``(cache, image)``, positions that name the image over all caches.
        boxes: ``(N, 4)`` float32, the ground truth first.
        truth: ``(G, 4)`` float32, the objects that are trained on.
        labels: ``(G,)`` int64 category ids.
        rows: ``(G,)`` int64, positions of these objects among the regions.
        usable: ``(N,)`` bool, regions that may train at all: no ground truth but these objects, and nothing in a crowd.
    """

    key: tuple[int, int]
    boxes: Boxes
    truth: Boxes
    labels: NDArray[np.int64]
    rows: NDArray[np.int64]
    usable: NDArray[np.bool_]

    @classmethod
    def of(cls, key: tuple[int, int], boxes: Boxes, image: ImageRecord, difficult: bool) -> "ImageRegions":
        """Return the regions ``boxes`` of ``image``, whose ground truth they start with."""
        used = image.trained(difficult)
        usable = np.concatenate([used, ~in_crowd(boxes[len(used) :], image.crowds)])
        return cls(key, boxes, image.boxes[used], image.labels[used], np.flatnonzero(used), usable)

    def overlaps(self, classes: int) -> NDArray[np.float32]:
        """Return each region's best overlap with an object of each class, ``(N, classes)``."""
        overlaps = iou(self.boxes, self.truth)
        best = np.zeros((len(self.boxes), classes), np.float32)
        for column, label in enumerate(self.labels):
            np.maximum(best[:, label - 1], overlaps[:, column], out=best[:, label - 1])
        return best


class TrainingSet:
    """Several splits' caches, each beside its index, read image by image.

    Args:
        caches: the features of each split.
        indices: of the same images.
        difficult: whether difficult objects are trained on, as R-CNN and SPP-net do; else they are background.

    Raises:
        InputError: a cache holds other images than its index.
    """

    def __init__(self, caches: Sequence[RegionFeatures], indices: Sequence[Index], *, difficult: bool = True) -> None:
        self.classes = indices[0].classes
        self.caches, self.indices, self._difficult = caches, indices, difficult
        self._regions: list[list[ImageRegions]] = []
        for position, (cache, index) in enumerate(zip(caches, indices, strict=True)):
            if [image.id for image in index.images] != cache.image_ids.tolist():
                raise InputError(f"{cache.path}: the cache holds other images than the index; dvc repro renews it.")
            boxes = cache.table("boxes")
            self._regions.append(
                [
                    ImageRegions.of((position, i), boxes[a:b], image, difficult)
                    for i, (image, a, b) in enumerate(
                        zip(index.images, cache.offsets[:-1], cache.offsets[1:], strict=True)
                    )
                ]
            )

    def part(self, which: Sequence[int]) -> "TrainingSet":
        """Return the regions of the splits at the positions ``which`` alone."""
        caches, indices = [self.caches[position] for position in which], [self.indices[position] for position in which]
        return TrainingSet(caches, indices, difficult=self._difficult)

    def __len__(self) -> int:
        return sum(len(regions) for regions in self._regions)

    def regions(self) -> Iterator[ImageRegions]:
        """Yield the regions of each image, without features."""
        for regions in self._regions:
            yield from regions

    def images(self, layer: str) -> Iterator[tuple[ImageRegions, NDArray]]:
        """Yield the regions of each image with their features, ``(N, width)`` in the cache's type."""
        for cache, regions in zip(self.caches, self._regions, strict=True):
            for position, features in cache.images(layer):
                yield regions[position], features

    def rows(self, key: tuple[int, int], layer: str, which: NDArray[np.int64]) -> NDArray:
        """Return the features of some regions, ``(len(which), width)``, of the image with this ``key``."""
        return self.caches[key[0]].rows(key[1], layer, which)

    def width(self, layer: str) -> int:
        """Return the number of values of a region; 0 where there is no image."""
        return next((self.rows(image.key, layer, np.arange(0)).shape[1] for image in self.regions()), 0)

    def objects(self, layer: str) -> Iterator[tuple[ImageRegions, NDArray]]:
        """Yield the regions of each image with the features of its objects alone, ``(G, width)``."""
        for image in self.regions():
            yield image, self.rows(image.key, layer, image.rows)

    def check(self, image: ImageRegions, layer: str, values: NDArray) -> None:
        """Check features of the regions of ``image``, or what was computed from them.

        Raises:
            InputError: a value is NaN or infinite.
        """
        if not np.isfinite(values).all():
            cache, position = self.caches[image.key[0]], image.key[1]
            raise InputError(
                f"{cache.path}: features of layer {layer} of image {cache.image_ids[position]} are not finite numbers; "
                f"the training of the network before them diverged, and a smaller learning rate would be right."
            )

    def mean_norm(
        self, layer: str, seed: int, images: int = 200, boxes: int = 200, *, all_follow: bool = False
    ) -> float:
        """Return the mean L2 norm of at most ``boxes`` random regions of each of at most ``images`` random images.

        Source: ``rcnn_feature_stats.m``.

        Where the features of all regions follow, those of whole images are asked for: computed ones are then there.
        """
        filled = [r for r in self.regions() if len(r.boxes)]
        chosen = item_rng(seed, "norm", layer).permutation(len(filled))[:images]
        norms = []
        for region in (filled[i] for i in sorted(chosen)):
            cache, image = region.key
            rows = np.sort(item_rng(seed, "norm", layer, cache, image).permutation(len(region.boxes))[:boxes])
            split = self.caches[cache]
            values = split.image(image, layer)[rows] if all_follow else split.rows(image, layer, rows)
            features = values.astype(np.float32)
            self.check(region, layer, features)
            norms.append(np.linalg.norm(features, axis=1))
        mean = float(np.concatenate(norms).mean()) if norms else 0.0
        if not mean > 0:
            raise InputError(
                f"features of layer {layer}: all are zero; the network before them has not learned anything."
            )
        return mean


def held_out(regions: TrainingSet, splits: Sequence[str], key: str) -> tuple[TrainingSet, TrainingSet]:
    """Return the regions of all splits but val, and those of val, by which the parameter ``key`` is chosen.

    ``splits`` names the caches of ``regions``.

    Raises:
        InputError: val is not among the splits, is the only one, or holds no object.
    """
    fitted = [position for position, split in enumerate(splits) if split != HELD_OUT]
    if HELD_OUT not in splits or not fitted:
        raise InputError(f"{key} is auto, which needs train and val in data.fit_splits; a number would be right.")
    train, val = regions.part(fitted), regions.part([splits.index(HELD_OUT)])
    if not any((~image.ignore).any() for image in val.indices[0].images):
        raise InputError(f"{key} is auto, but val has no object to judge by; a number would be right.")
    return train, val
