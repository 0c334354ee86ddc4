"""The regions of a split: which boxes are looked at, of which images, and which of them are ground truth."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.boxes import Boxes


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
