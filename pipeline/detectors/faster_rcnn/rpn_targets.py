"""Which anchors train the proposal network, and towards what (Faster R-CNN, section 3.1.2)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.boxes import Boxes, encode, iou
from pipeline.params.faster_rcnn import RpnTraining

IGNORED = -1


@dataclass(frozen=True)
class AnchorTargets:
    """What each anchor should become.

    Attributes:
        labels: ``(A,)`` int64: 1 object, 0 background, -1 neither.
        truth: ``(A,)`` int64 position of the object that it overlaps most; read it for objects only.
    """

    labels: NDArray[np.int64]
    truth: NDArray[np.int64]


def inside(anchors: Boxes, height: float, width: float) -> NDArray[np.bool_]:
    """Return which ``anchors`` (A, 4) lie within an image of ``height`` x ``width`` pixels."""
    return (anchors[:, :2] >= 0).all(axis=1) & (anchors[:, 2] <= width) & (anchors[:, 3] <= height)


def label_anchors(anchors: Boxes, truth: Boxes, usable: NDArray[np.bool_], settings: RpnTraining) -> AnchorTargets:
    """Label ``anchors`` (A, 4) by their overlap with the objects ``truth`` (G, 4), which may be none.

    Object: an overlap of ``positive_iou`` or more with any object, or the highest overlap with some object, all ties
    included. Background: all overlaps below ``negative_iou``. Anchors that are not ``usable`` (A,) are neither and do
    not compete for the highest overlap. An object that no usable anchor touches has none; both official codes
    then take each anchor that misses it for a tie at 0, and so for an object.
    """
    labels = np.full(len(anchors), IGNORED, np.int64)
    nearest = np.zeros(len(anchors), np.int64)
    rows = np.flatnonzero(usable)
    if not len(truth):
        labels[rows] = 0
        return AnchorTargets(labels, nearest)
    overlaps = iou(anchors[rows], truth)
    best = overlaps.max(axis=1)
    nearest[rows] = overlaps.argmax(axis=1)
    own = np.full(len(rows), IGNORED, np.int64)
    own[best < settings.negative_iou] = 0
    highest = overlaps.max(axis=0, initial=0)
    own[((overlaps == highest) & (highest > 0)).any(axis=1)] = 1
    own[best >= settings.positive_iou] = 1
    labels[rows] = own
    return AnchorTargets(labels, nearest)


def draw_anchors(
    labels: NDArray[np.int64], settings: RpnTraining, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the positions of the drawn object anchors and of the drawn background anchors.

    At most ``positive_share`` of ``anchors`` are objects; background fills the rest.
    """
    positive = rng.permutation(np.flatnonzero(labels == 1))[: round(settings.anchors * settings.positive_share)]
    return positive, rng.permutation(np.flatnonzero(labels == 0))[: settings.anchors - len(positive)]


def anchor_offsets(
    anchors: Boxes, truth: Boxes, targets: AnchorTargets, rows: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return the offsets ``(len(rows), 4)`` from the object anchors at ``rows`` to their objects."""
    return np.asarray(encode(anchors[rows], truth[targets.truth[rows]]), np.float32).reshape(-1, 4)
