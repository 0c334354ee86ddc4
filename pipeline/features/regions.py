"""The regions of a split: their boxes in cache order, their features, and the labelled ones for fine-tuning.

A proposal is a box to judge, a region what the network sees there. `RegionFeatures` is what SVMs, box regressors and
detection need of features, wherever these come from.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.core.boxes import Boxes, assign, in_crowd
from pipeline.core.errors import InputError
from pipeline.core.sections import RegionSampling
from pipeline.data.index import ImageRecord


@dataclass(frozen=True)
class Regions:
    """The regions of a split in cache order: per image its ground-truth boxes first, then its proposals, best first.

    Attributes:
        image_ids: ``(images,)`` int64.
        files: the images, one path each.
        offsets: ``(images + 1,)`` int64, rows of each image.
        boxes: ``(rows, 4)`` float32.
        is_ground_truth: ``(rows,)`` bool.
    """

    image_ids: NDArray[np.int64]
    files: Sequence[Path]
    offsets: NDArray[np.int64]
    boxes: Boxes
    is_ground_truth: NDArray[np.bool_]

    def tables(self) -> dict[str, NDArray]:
        """Return the small arrays that the cache holds beside the features."""
        return {
            "offsets": self.offsets,
            "image_ids": self.image_ids,
            "boxes": self.boxes,
            "is_ground_truth": self.is_ground_truth,
        }


def gather(
    image_ids: Sequence[int], files: Sequence[Path], truth: Sequence[Boxes], proposals: Sequence[Boxes]
) -> Regions:
    """Put the ground truth and the proposals of each image one after the other."""
    counts = [len(t) + len(p) for t, p in zip(truth, proposals, strict=True)]
    empty = np.zeros((0, 4), np.float32)
    return Regions(
        image_ids=np.array(image_ids, np.int64),
        files=files,
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        boxes=np.concatenate([empty, *(b for pair in zip(truth, proposals, strict=True) for b in pair)]),
        is_ground_truth=np.concatenate(
            [
                np.zeros(0, np.bool_),
                *(np.arange(len(t) + len(p)) < len(t) for t, p in zip(truth, proposals, strict=True)),
            ]
        ),
    )


class RegionFeatures(Protocol):
    """The features of the regions of a split, image by image: R-CNN's cache, or SPP-net's computed from cached maps.

    Attributes:
        path: the file behind them, for messages.
        offsets: ``(images + 1,)`` int64; rows ``offsets[i]:offsets[i + 1]`` belong to image ``i``, the ground truth
            before the proposals.
        image_ids: ``(images,)`` int64.
    """

    path: Path
    offsets: NDArray[np.int64]
    image_ids: NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of images."""
        ...

    def table(self, name: str) -> NDArray:
        """Return ``boxes`` ``(rows, 4)`` or ``is_ground_truth`` ``(rows,)``."""
        ...

    def rows(self, position: int, layer: str, which: NDArray[np.int64]) -> NDArray:
        """Return the features of some regions of one image, ``(len(which), width)``; ``which`` counts within it."""
        ...

    def image(self, position: int, layer: str) -> NDArray:
        """Return the features of all regions of one image, ``(N, width)``; the caller must not change them."""
        ...

    def images(self, layer: str) -> Iterator[tuple[int, NDArray]]:
        """Yield each image's position and features, in order."""
        ...


@dataclass(frozen=True)
class RegionSamples:
    """Labelled regions of many images, what a region classifier is fine-tuned on.

    Attributes:
        images: ``(N,)`` int64 positions of their images.
        boxes: ``(N, 4)`` float32.
        labels: ``(N,)`` int64, 0 for background.
        mirrored: ``(N,)`` bool, whether the region is shown mirrored.
    """

    images: NDArray[np.int64]
    boxes: Boxes
    labels: NDArray[np.int64]
    mirrored: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[np.int64], mirrored: NDArray[np.bool_]) -> "RegionSamples":
        """Return the samples at ``rows``, ``mirrored`` as given."""
        return RegionSamples(self.images[rows], self.boxes[rows], self.labels[rows], mirrored)

    @classmethod
    def join(cls, parts: Sequence["RegionSamples"]) -> "RegionSamples":
        """Put samples one after another; of no part, none."""
        parts = [_samples(0, np.zeros((0, 4), np.float32), np.zeros(0, np.int64)), *parts]
        return cls(
            np.concatenate([part.images for part in parts]),
            np.concatenate([part.boxes for part in parts]),
            np.concatenate([part.labels for part in parts]),
            np.concatenate([part.mirrored for part in parts]),
        )


def label_proposals(
    images: Sequence[ImageRecord], proposals: Sequence[Boxes], settings: RegionSampling, *, difficult: bool = True
) -> tuple[RegionSamples, RegionSamples]:
    """Return the foreground and the background samples of all images.

    The ground truth counts among the proposals, with difficult objects where ``difficult`` says so, and without crowds.
    Foreground overlaps an object by ``foreground_iou`` or more and has the label of the one it overlaps most;
    background has its best overlap in ``background_iou``, upper end excluded. Proposals inside a crowd are neither
    (`in_crowd`). Source: R-CNN, appendix B; the window files of the official code.
    """
    foreground, background = [], []
    for position, (image, boxes) in enumerate(zip(images, proposals, strict=True)):
        used = image.trained(difficult)
        boxes = np.concatenate([image.boxes[used], boxes[~in_crowd(boxes, image.crowds)]])
        assigned = assign(boxes, image.boxes[used], settings.foreground_iou, settings.background_iou)
        labels = image.labels[used][assigned.truth[assigned.foreground]]
        foreground.append(_samples(position, boxes[assigned.foreground], labels))
        others = boxes[assigned.background]
        background.append(_samples(position, others, np.zeros(len(others), np.int64)))
    return RegionSamples.join(foreground), RegionSamples.join(background)


def _samples(position: int, boxes: Boxes, labels: NDArray[np.int64]) -> RegionSamples:
    count = len(boxes)
    return RegionSamples(np.full(count, position, np.int64), boxes, labels, np.zeros(count, np.bool_))


class RegionSampler:
    """Draws the samples of a step evenly from all foreground and from all background.

    Images with many samples thus weigh more, as in the official code. Background may be missing.

    Raises:
        InputError: there is no foreground; ``stage`` is named.
    """

    def __init__(
        self, foreground: RegionSamples, background: RegionSamples, settings: RegionSampling, stage: str
    ) -> None:
        if not len(foreground):
            raise InputError(f"{stage}: no proposal overlaps an object; the training splits need annotated objects.")
        self._kinds = ((foreground, settings.foreground), (background, settings.background))

    def __call__(self, rng: np.random.Generator, flip: bool) -> RegionSamples:
        """Return the samples that ``rng`` draws, half of them mirrored where ``flip`` is set."""
        drawn = []
        for samples, count in self._kinds:
            if len(samples):
                rows = rng.integers(len(samples), size=count)
                mirrored = (rng.random(count) < 0.5) & flip
                drawn.append(samples.take(rows, mirrored))
        return RegionSamples.join(drawn)
