"""Suppression by another measure than the intersection over union of `pipeline.core.boxes.nms`."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.core.boxes import area, as_boxes, best_first, intersection


def suppress_covered(boxes: ArrayLike, scores: ArrayLike, threshold: float) -> NDArray[np.int64]:
    """Return the positions that are kept, best score first, where a better box covers little of each.

    A box is dropped when a kept box covers more than ``threshold`` of its own area, as in DPM (``test/nms.m``): a small
    box in a better large one goes, a large one around a better small one stays. Equal scores keep their order; a box
    without area is covered by none.

    Args:
        boxes: ``(N, 4)``.
        scores: ``(N,)``.
        threshold: share of the area.
    """
    order = best_first(np.asarray(scores, np.float32))
    ranked = as_boxes(boxes)[order]
    areas, kept = area(ranked), np.ones(len(order), np.bool_)
    for position in range(len(order)):
        if kept[position]:
            behind = slice(position + 1, None)
            shared = intersection(ranked[position], ranked[behind])[0]
            kept[behind] &= shared <= np.float32(threshold) * areas[behind]
    return np.asarray(order[kept])
