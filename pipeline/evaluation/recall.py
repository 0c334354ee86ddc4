"""How well proposals cover the objects: recall, mean average best overlap (MABO), and recall by number of boxes.

As in the selective search paper (Uijlings et al., IJCV 2013, section 5): an object's best overlap is the highest IoU
that any proposal of its image has with it. Difficult objects are left out. Any proposals will do: these functions take
one ``(N, 4)`` array, best first, per image of the index.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.core.boxes import Boxes, iou
from pipeline.core.storage import write_csv
from pipeline.data.index import Index

CURVE_STEPS = (1, 2, 5, 10, 20, 50, 100, 200, 300, 500, 1000, 2000, 5000, 10000)


@dataclass(frozen=True, eq=False)
class Coverage:
    """How well each object is covered by the best boxes of its image.

    Attributes:
        counts: numbers of boxes per image, rising.
        overlaps: ``(len(counts), objects)`` float32, the best overlap within so many boxes; 0 without any box.
        labels: ``(objects,)`` int64, category ids.
        boxes_per_image: mean number of boxes.
    """

    counts: tuple[int, ...]
    overlaps: NDArray[np.float32]
    labels: NDArray[np.int64]
    boxes_per_image: float


def cover(index: Index, proposals: Iterable[Boxes], counts: Sequence[int]) -> Coverage:
    """Measure ``proposals``, the boxes of each image of ``index`` in its order, best first, at each of ``counts``."""
    overlaps, labels, total = [np.zeros((len(counts), 0), np.float32)], [np.zeros(0, np.int64)], 0
    for image, boxes in zip(index.images, proposals, strict=True):
        judged = ~image.ignore
        overlaps.append(best_overlaps(boxes, image.boxes[judged], counts))
        labels.append(image.labels[judged])
        total += len(boxes)
    return Coverage(
        counts=tuple(counts),
        overlaps=np.concatenate(overlaps, axis=1),
        labels=np.concatenate(labels),
        boxes_per_image=total / max(1, len(index.images)),
    )


def best_overlaps(boxes: Boxes, truth: Boxes, counts: Sequence[int]) -> NDArray[np.float32]:
    """Return the highest IoU of each of ``truth`` (M, 4) with the first ``count`` boxes: ``(len(counts), M)``."""
    best_so_far = np.maximum.accumulate(np.vstack([np.zeros((1, len(truth)), np.float32), iou(boxes, truth)]), axis=0)
    return best_so_far[np.minimum(np.asarray(counts, np.int64), len(boxes))]


def recall(overlaps: NDArray[np.float32], threshold: float) -> float:
    """Return the share of objects, ``overlaps`` (M,), with a best overlap of at least ``threshold``; 0 of none."""
    return float((overlaps >= threshold).mean()) if len(overlaps) else 0.0


def mabo(overlaps: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Return the mean over classes of the mean best overlap of the class's objects; 0 where there is no object."""
    if len(labels) == 0:
        return 0.0
    return float(np.mean([overlaps[labels == label].mean(dtype=np.float64) for label in np.unique(labels)]))


def curve_counts(most: int) -> tuple[int, ...]:
    """Return the numbers of boxes at which a curve is drawn: round steps up to ``most``, which is the last."""
    return (*(step for step in CURVE_STEPS if step < most), most)


def summary(coverage: Coverage) -> dict[str, float]:
    """Return the figures for all boxes: mean number of boxes, recall at 0.5 and at 0.7, MABO."""
    overlaps = coverage.overlaps[-1]
    figures = {
        "boxes_per_image": coverage.boxes_per_image,
        "recall_50": recall(overlaps, 0.5),
        "recall_70": recall(overlaps, 0.7),
        "mabo": mabo(overlaps, coverage.labels),
    }
    return {name: round(value, 4) for name, value in figures.items()}


def write_curve(path: Path, coverage: Coverage) -> None:
    """Write `curve` as CSV."""
    rows = curve(coverage)
    write_csv(path, list(rows[0]), [row.values() for row in rows])


def curve(coverage: Coverage) -> list[dict[str, float]]:
    """Return one row per number of boxes: ``boxes``, ``recall_50``, ``recall_70``."""
    return [
        {"boxes": count, "recall_50": round(recall(row, 0.5), 4), "recall_70": round(recall(row, 0.7), 4)}
        for count, row in zip(coverage.counts, coverage.overlaps, strict=True)
    ]
