"""Localisation by ILSVRC's rules: one object an image, found in one guess or in five (Russakovsky et al., section 4).

A guess is a detection: a class with a box. ILSVRC gives each image one class. Here it is that of the image's largest
object; an image without objects that count is left out. A guess is right in the class alone, for the classification
error, or also overlaps an object of that class, whichever, for the localisation error. The share of images without a
right guess among the best is the error: less is better.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.boxes import Boxes, area, best_match
from pipeline.data.index import Index
from pipeline.evaluation.bootstrap import BLOCK, draws
from pipeline.evaluation.detections import Detections
from pipeline.evaluation.voc import rows_by_image

GUESSES = (1, 5)
NAMES = (
    "classification_error_top1",
    "classification_error_top5",
    "localisation_error_top1",
    "localisation_error_top5",
)


def largest(boxes: Boxes, among: NDArray[np.bool_]) -> int | None:
    """Return the position of the largest of ``boxes`` (N, 4) that ``among`` (N,) marks, of equal ones the first.

    None where it marks none.
    """
    places = np.flatnonzero(among)
    return int(places[area(boxes[places]).argmax()]) if len(places) else None


def metrics(index: Index, detections: Detections, iou: float) -> dict[str, Any]:
    """Return the errors by `NAMES`, to six decimals, and ``images``, the number of those that count.

    An error is None where no image counts, or there are fewer classes than guesses. The arguments are those of
    `mistakes`.
    """
    wrong = mistakes(index, detections, iou)
    known = ~np.isnan(wrong)
    figures: dict[str, Any] = {
        name: round(float(row[mask].mean()), 6) if mask.any() else None
        for name, row, mask in zip(NAMES, wrong, known, strict=True)
    }
    return figures | {"images": int(known.any(axis=0).sum())}


def sampled_errors(index: Index, detections: Detections, iou: float, *, samples: int, seed: int) -> NDArray[np.float64]:
    """Return the errors of `NAMES` on each bootstrap sample of the images: ``(4, samples)``.

    NaN where no image of a sample counts. The samples are those of `pipeline.evaluation.bootstrap.sampled_maps`.
    """
    return resampled(mistakes(index, detections, iou), samples, seed)


def resampled(wrong: NDArray[np.float64], samples: int, seed: int) -> NDArray[np.float64]:
    """Return the mean of each row of ``wrong`` (M, images) over the images of each sample: ``(M, samples)``."""
    known, counted = ~np.isnan(wrong), np.nan_to_num(wrong)
    blocks = []
    for first in range(0, samples, BLOCK):
        times = draws(wrong.shape[1], range(first, min(first + BLOCK, samples)), seed)
        with np.errstate(invalid="ignore"):
            blocks.append((counted @ times.T) / (known @ times.T))
    return np.hstack(blocks)


def mistakes(index: Index, detections: Detections, iou: float) -> NDArray[np.float64]:
    """Return by `NAMES` and image 1 where no guess is right, 0 where one is: ``(4, images)``.

    NaN where an image has no object that counts, and in a row with more guesses than there are classes.

    Args:
        index: the ground truth; objects to ignore do not count.
        detections: of all classes; an image's best ones are its guesses, equal scores in their order.
        iou: overlap from which on a box is right.
    """
    ranked = detections.ranked()
    wrong = np.full((len(NAMES), len(index.images)), np.nan)
    for place, (image, rows) in enumerate(rows_by_image(index.images, ranked)):
        if (main := largest(image.boxes, ~image.ignore)) is None:
            continue
        label = image.labels[main]
        objects = image.boxes[(image.labels == label) & ~image.ignore]
        of_class = ranked.labels[rows] == label
        placed = of_class & (best_match(ranked.boxes[rows], objects)[1] >= iou)
        wrong[:, place] = [*_without(of_class), *_without(placed)]
    wrong[np.tile(GUESSES, 2) > len(index.classes)] = np.nan
    return wrong


def _without(right: NDArray[np.bool_]) -> Sequence[bool]:
    """Return for each number of `GUESSES` whether none of so many is ``right`` (guesses,)."""
    return [not right[:count].any() for count in GUESSES]
