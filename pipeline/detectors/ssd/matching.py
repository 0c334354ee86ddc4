"""Which default boxes are trained towards which object (SSD, section 2.2; ``bbox_util.cpp``)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.boxes import Boxes, encode, iou

# Offsets are divided by these, centres and sides apart (``prior_box_layer.cpp``).
VARIANCES = np.array([0.1, 0.1, 0.2, 0.2], np.float32)


@dataclass(frozen=True)
class Targets:
    """What each of ``A`` default boxes should become.

    Attributes:
        labels: ``(A,)`` int64 category, 0 for background.
        offsets: ``(A, 4)`` float32 of `boxes.encode`, divided by `VARIANCES`; 0 for background.
    """

    labels: NDArray[np.int64]
    offsets: NDArray[np.float32]


def match(defaults: Boxes, truth: Boxes, threshold: float) -> NDArray[np.int64]:
    """Return for each of ``defaults`` (A, 4) the position of its object among ``truth`` (G, 4); -1 for none.

    First every object gets a box of its own: of all pairs left the one that overlaps most, again and again, so that
    no object loses its box to another; an object that touches no box gets none. Then each box left joins the object
    that it overlaps most, where that is ``threshold`` or more.
    """
    matched = np.full(len(defaults), -1, np.int64)
    if not len(truth):
        return matched
    overlaps = iou(defaults, truth)
    best, most = overlaps.argmax(axis=1), overlaps.max(axis=1)
    matched[most >= threshold] = best[most >= threshold]
    for _ in range(len(truth)):
        box, own = np.unravel_index(overlaps.argmax(), overlaps.shape)
        if overlaps[box, own] <= 0:
            break
        matched[box] = own
        overlaps[box, :] = overlaps[:, own] = -1
    return matched


def targets(defaults: Boxes, truth: Boxes, labels: NDArray[np.int64], threshold: float) -> Targets:
    """Return what ``defaults`` (A, 4) should become for the objects ``truth`` (G, 4) with ``labels`` (G,)."""
    matched = match(defaults, truth, threshold)
    rows = np.flatnonzero(matched >= 0)
    result = Targets(np.zeros(len(defaults), np.int64), np.zeros((len(defaults), 4), np.float32))
    result.labels[rows] = labels[matched[rows]]
    result.offsets[rows] = encode(defaults[rows], truth[matched[rows]]) / VARIANCES
    return result


def coverage(defaults: Boxes, truths: Sequence[Boxes], threshold: float) -> float:
    """Return the share of the objects of all images that ``defaults`` (A, 4) overlap by ``threshold`` or more.

    The other objects train one box each, the nearest, and are hard to find. Without any object the share is 1.
    """
    best = [iou(defaults, truth).max(axis=0) for truth in truths if len(truth)]
    return float((np.concatenate(best) >= threshold).mean()) if best else 1.0
