"""The regions of a split: which boxes are looked at, their features, and which of them train a classifier.

`Regions` are boxes without features; `RegionFeatures` is what SVMs, box regressors and detection need of features,
wherever these come from; `label_windows` and `WindowDraws` choose what a region classifier is fine-tuned on.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.core.boxes import Boxes, best_match
from pipeline.core.errors import InputError
from pipeline.core.sections import WindowSampling
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
        """Return what the cache keeps beside the features."""
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

    def images(self, layer: str) -> Iterator[tuple[int, NDArray]]:
        """Yield each image's position and features, in order."""
        ...


@dataclass(frozen=True)
class Windows:
    """Labelled windows in images.

    Attributes:
        images: ``(N,)`` int64 positions of their images.
        boxes: ``(N, 4)`` float32.
        labels: ``(N,)`` int64, 0 for background.
        mirrored: ``(N,)`` bool, whether to flip the warped window.
    """

    images: NDArray[np.int64]
    boxes: Boxes
    labels: NDArray[np.int64]
    mirrored: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[np.int64], mirrored: NDArray[np.bool_]) -> "Windows":
        """Return the windows at ``rows``, some of them mirrored."""
        return Windows(self.images[rows], self.boxes[rows], self.labels[rows], mirrored)


def label_windows(
    images: Sequence[ImageRecord], proposals: Sequence[Boxes], settings: WindowSampling
) -> tuple[Windows, Windows]:
    """Return the foreground and the background windows of all images.

    Candidates are the proposals and the ground truth, difficult objects included. Foreground overlaps an object by
    ``foreground_iou`` or more and has the label of the one it overlaps most; background has its best overlap in
    ``background_iou``, upper end excluded. Source: R-CNN, appendix B; the window files of the official code.
    """
    low, high = settings.background_iou
    parts = []
    for position, (image, boxes) in enumerate(zip(images, proposals, strict=True)):
        candidates = np.concatenate([image.boxes, boxes])
        best, overlap = best_match(candidates, image.boxes)
        labels = image.labels[best] if len(image.labels) else np.zeros(len(candidates), np.int64)
        parts.append((np.full(len(candidates), position, np.int64), candidates, labels, overlap))
    where, boxes, labels, overlap = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    foreground = overlap >= settings.foreground_iou
    background = ~foreground & (overlap >= low) & (overlap < high)
    still = np.zeros(len(where), np.bool_)
    return (
        Windows(where[foreground], boxes[foreground], labels[foreground], still[foreground]),
        Windows(where[background], boxes[background], np.zeros(background.sum(), np.int64), still[background]),
    )


class WindowDraws:
    """Draws the windows of a step evenly from all foreground and from all background windows.

    Images with many windows thus weigh more, as in the official code. A kind that does not exist is left out.

    Raises:
        InputError: there is no foreground window; ``stage`` is named.
    """

    def __init__(self, foreground: Windows, background: Windows, settings: WindowSampling, stage: str) -> None:
        if not len(foreground):
            raise InputError(f"{stage}: no window overlaps an object; the training splits need annotated objects.")
        self._kinds = ((foreground, settings.foreground), (background, settings.background))

    def __call__(self, rng: np.random.Generator, flip: bool) -> Windows:
        """Return the windows that ``rng`` draws, half of them mirrored where ``flip`` is set."""
        drawn = []
        for windows, count in self._kinds:
            if len(windows):
                rows = rng.integers(len(windows), size=count)
                mirrored = (rng.random(count) < 0.5) & flip
                drawn.append(windows.take(rows, mirrored))
        return Windows(
            np.concatenate([w.images for w in drawn]),
            np.concatenate([w.boxes for w in drawn]),
            np.concatenate([w.labels for w in drawn]),
            np.concatenate([w.mirrored for w in drawn]),
        )
