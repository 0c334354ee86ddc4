"""Filters for windows of HOG pyramids: positives beside the objects, negatives mined over all windows.

As Dalal and Triggs (2005) train: first on random windows, then on those as well that the first SVM takes for objects.
Here windows are rows to the miner of `pipeline.linear.svm`, scored by one correlation a level and cut out when hard.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.core.boxes import Boxes, in_crowd, iou
from pipeline.core.errors import InputError
from pipeline.core.runtime import item_rng, progress
from pipeline.core.sections import Mining
from pipeline.data.index import Index
from pipeline.features.hog_pyramid import Descriptor, Pyramid, Windows
from pipeline.features.maps import ImageMaps, MapCache
from pipeline.linear.svm import Miner, SvmReport, Trainings
from pipeline.linear.templates import Component

# An object that no window overlaps by so much trains nothing.
LEAST_IOU = 0.5


@dataclass(frozen=True)
class ImageWindows:
    """The pyramid of one image beside its objects.

    Attributes:
        key: ``(cache, image)``, positions that name the image over all caches.
        pyramid: of the image, without the levels that the set leaves out.
        maps: all levels, as cached.
        truth: ``(G, 4)`` float32, the objects that are trained on.
        labels: ``(G,)`` int64 category ids.
        crowds: ``(M, 4)`` float32; what lies in one trains nothing.
    """

    key: tuple[int, int]
    pyramid: Pyramid
    maps: ImageMaps
    truth: Boxes
    labels: NDArray[np.int64]
    crowds: Boxes

    def background(self, component: Component, windows: Windows, below: float) -> NDArray[np.bool_]:
        """Return which windows overlap each object of the component's class by less than ``below``, ``(N,)``."""
        own = self.truth[self.labels == component.label]
        best = iou(windows.boxes, own).max(axis=1, initial=0)
        return (best < below) & ~in_crowd(windows.boxes, self.crowds)


class WindowSet:
    """The cached pyramids of several splits, each beside its index, read image by image.

    Args:
        caches: of the pyramids of each split.
        indices: of the same images.
        descriptor: of the pyramids.
        margin: see `Pyramid`.
        first: levels without windows, the finest ones.
        difficult: whether difficult objects are trained on; else they are background.

    Attributes:
        classes: of the dataset.
        indices: of the images.
        descriptor: of the pyramids.

    Raises:
        InputError: a cache holds other images than its index.
    """

    def __init__(
        self,
        caches: Sequence[MapCache],
        indices: Sequence[Index],
        *,
        descriptor: Descriptor,
        margin: int,
        first: int = 0,
        difficult: bool = True,
    ) -> None:
        for cache, index in zip(caches, indices, strict=True):
            if [image.id for image in index.images] != cache.image_ids.tolist():
                raise InputError(f"{cache.path}: the cache holds other images than the index; dvc repro renews it.")
        self.classes = indices[0].classes
        self._caches, self.indices = caches, indices
        self.descriptor, self._margin, self._difficult = descriptor, margin, difficult
        self._first = first

    def __len__(self) -> int:
        return sum(len(cache) for cache in self._caches)

    def objects(self) -> tuple[Boxes, NDArray[np.int64]]:
        """Return the boxes and labels of all objects that are trained on (`objects_of`)."""
        return objects_of(self.indices, self._difficult)

    def images(self) -> Iterator[ImageWindows]:
        """Yield each image, in order."""
        for number, (cache, index) in enumerate(zip(self._caches, self.indices, strict=True)):
            for position, (maps, image) in enumerate(zip(cache.images(), index.images, strict=True)):
                used = image.trained(self._difficult)
                yield ImageWindows(
                    (number, position),
                    Pyramid(maps, self.descriptor, self._margin, slice(self._first, None)),
                    maps,
                    image.boxes[used],
                    image.labels[used],
                    image.crowds,
                )


def objects_of(indices: Sequence[Index], difficult: bool) -> tuple[Boxes, NDArray[np.int64]]:
    """Return the boxes ``(N, 4)`` and labels ``(N,)`` of all objects that train, image by image."""
    images = [(image, image.trained(difficult)) for index in indices for image in index.images]
    return (
        np.concatenate([np.zeros((0, 4), np.float32), *(image.boxes[used] for image, used in images)]),
        np.concatenate([np.zeros(0, np.int64), *(image.labels[used] for image, used in images)]),
    )


@dataclass(frozen=True)
class Positives:
    """The windows that a component's objects are seen in.

    Attributes:
        vectors: ``(P, width)`` in the cache's type.
        windows: ``(P, 4)`` float32, their boxes.
        objects: ``(P, 4)`` float32, the object of each.
    """

    vectors: NDArray
    windows: Boxes
    objects: Boxes


def object_windows(
    images: WindowSet, components: Sequence[Component], assigned: NDArray[np.int64], least: float, most: int
) -> list[Positives]:
    """Return the positives of each component: windows that overlap an object by ``least``, or else its best one.

    Args:
        images: the training images.
        components: of all classes, each with an object.
        assigned: ``(N,)``, the component of each object of `WindowSet.objects`.
        least: overlap. An object that no window overlaps by `LEAST_IOU` has none.
        most: positives of a component. Each of its objects has an equal share, the windows that overlap it best, but
            one at least.
    """
    shares = [max(1, most // max(1, int((assigned == number).sum()))) for number in range(len(components))]
    found: list[list[tuple[NDArray, Boxes, Boxes]]] = [[] for _ in components]
    first = 0
    for image in progress(images.images(), "collecting objects", total=len(images)):
        own = assigned[first : first + len(image.truth)]
        first += len(own)
        for number in np.unique(own).tolist():
            windows = image.pyramid.windows(components[number].shape)
            for box in image.truth[own == number]:
                overlaps = iou(windows.boxes, box)[:, 0]
                rows = np.flatnonzero(overlaps >= max(LEAST_IOU, min(least, overlaps.max(initial=0))))
                rows = np.sort(rows[np.argsort(-overlaps[rows], kind="stable")[: shares[number]]])
                found[number].append((windows[rows], windows.boxes[rows], np.repeat(box[None], len(rows), axis=0)))
    columns = [zip(*parts, strict=True) for parts in found]
    return [Positives(*(np.concatenate(values) for values in each)) for each in columns]


@dataclass(frozen=True)
class Filter:
    """A component with its linear SVM.

    Attributes:
        component: whose windows it scores.
        weights: ``(h, w, channels)`` float32.
        bias: minus infinity where it could not be learned.
    """

    component: Component
    weights: NDArray[np.float32]
    bias: float


def train_filters(
    images: WindowSet,
    components: Sequence[Component],
    positives: Sequence[NDArray],
    settings: Mining,
    random_windows: int,
    *,
    seed: int,
    workers: int,
) -> tuple[list[Filter], SvmReport]:
    """Return the filter of each component and the course of the mining.

    Args:
        images: the training images.
        components: of all classes.
        positives: of each component, ``(P, h * w * channels)``.
        settings: of SVMs and mining.
        random_windows: negatives of each image and component that the first SVM sees.
        seed: of these windows and of the solver.
        workers: processes that train.

    A component without positives, or without a negative, is never detected.
    """
    miners = [Miner(number, settings, 1.0, seed, positives=each) for number, each in enumerate(positives)]
    trainings = Trainings(workers)
    for image in progress(images.images(), "drawing random windows", total=len(images)):
        for number, (component, miner) in enumerate(zip(components, miners, strict=True)):
            windows = image.pyramid.windows(component.shape)
            eligible = np.flatnonzero(image.background(component, windows, settings.negative_iou))
            drawn = np.zeros(len(windows), np.bool_)
            drawn[item_rng(seed, "random windows", *image.key, number).permutation(eligible)[:random_windows]] = True
            miner.look_at(windows, np.zeros(len(windows)), drawn, image.key)
    trainings.make([miner for miner in miners if miner.fresh])
    learned = [pair for pair in zip(components, miners, strict=True) if pair[1].weights is not None]
    for _ in range(settings.passes):
        title = f"mining hard negatives, {len(learned)} filters"
        for image in progress(images.images(), title, total=len(images)):
            scores = image.pyramid.scores([_filter(*pair, images.descriptor).weights for pair in learned])
            for (component, miner), values in zip(learned, scores, strict=True):
                windows = image.pyramid.windows(component.shape)
                background = image.background(component, windows, settings.negative_iou)
                miner.look_at(windows, values + miner.bias, background, image.key)
            trainings.make([miner for _, miner in learned if miner.due()])
        trainings.make([miner for _, miner in learned if miner.fresh])
    return [_filter(*pair, images.descriptor) for pair in zip(components, miners, strict=True)], SvmReport.of(miners)


def _filter(component: Component, miner: Miner, descriptor: Descriptor) -> Filter:
    shape = (*component.shape.grid(descriptor), descriptor.channels)
    weights = np.zeros(shape, np.float32) if miner.weights is None else miner.weights.reshape(shape)
    return Filter(component, weights, miner.bias)
