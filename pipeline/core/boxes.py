"""Box algebra. A box is ``(x1, y1, x2, y2)``: float32, 0-based, half-open, in pixels of the original image.

Every function takes and returns arrays of shape ``(N, 4)`` and accepts ``N = 0``. `clip`, `encode`, `decode`,
`best_first` and `nms` work on NumPy arrays and on torch tensors alike: all systems share one formula, and boxes that a
GPU predicts stay there until they are chosen.
"""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Boxes = NDArray[np.float32]

CROWD_SHARE = np.float32(0.7)


def as_boxes(values: ArrayLike) -> Boxes:
    """Return ``values`` as a float32 array of shape ``(N, 4)``; an empty sequence becomes ``(0, 4)``."""
    boxes = np.asarray(values, dtype=np.float32)
    return boxes.reshape(-1, 4)


def from_voc(corners: ArrayLike) -> Boxes:
    """Convert VOC's 1-based inclusive corners: ``(xmin, ymin, xmax, ymax)`` to ``(xmin-1, ymin-1, xmax, ymax)``.

    Plain areas of the result equal the devkit's areas with their "+1".
    """
    return as_boxes(corners) - np.array([1, 1, 0, 0], np.float32)


def to_voc(boxes: ArrayLike) -> Boxes:
    """Invert `from_voc`."""
    return as_boxes(boxes) + np.array([1, 1, 0, 0], np.float32)


def from_xywh(xywh: ArrayLike) -> Boxes:
    """Convert ``(x, y, width, height)``, COCO's format, to corners."""
    boxes = as_boxes(xywh).copy()
    boxes[:, 2:] += boxes[:, :2]
    return boxes


def to_xywh(boxes: ArrayLike) -> Boxes:
    """Invert `from_xywh`."""
    xywh = as_boxes(boxes).copy()
    xywh[:, 2:] -= xywh[:, :2]
    return xywh


def area(boxes: ArrayLike) -> NDArray[np.float32]:
    """Return the areas, shape ``(N,)``, in square pixels; an inverted box has area 0."""
    boxes = as_boxes(boxes)
    return np.maximum(boxes[:, 2] - boxes[:, 0], 0) * np.maximum(boxes[:, 3] - boxes[:, 1], 0)


def clip(boxes: Any, width: float, height: float) -> Any:
    """Clip boxes to an image of ``width`` x ``height`` pixels; a tensor gives a tensor, all else an array."""
    if _namespace(boxes) is not np:
        return boxes.clamp(min=0).minimum(boxes.new_tensor([width, height, width, height]))
    return np.clip(as_boxes(boxes), 0, np.array([width, height, width, height], np.float32))


def intersection(a: ArrayLike, b: ArrayLike) -> NDArray[np.float32]:
    """Return the areas that each of ``a`` (N, 4) shares with each of ``b`` (M, 4), shape ``(N, M)``."""
    a, b = as_boxes(a), as_boxes(b)
    shared = _shared_side(a, b, 0)
    shared *= _shared_side(a, b, 1)
    return shared


def _shared_side(a: Boxes, b: Boxes, axis: int) -> NDArray[np.float32]:
    """Return how long each of ``a`` (N, 4) and each of ``b`` (M, 4) run side by side along ``axis``, ``(N, M)``.

    One axis at a time and in place: with both in one array, whose last axis has two values, NumPy takes several times
    as long.
    """
    shared = np.minimum(a[:, None, 2 + axis], b[:, 2 + axis])
    shared -= np.maximum(a[:, None, axis], b[:, axis])
    return np.maximum(shared, 0, out=shared)


def iou(a: ArrayLike, b: ArrayLike) -> NDArray[np.float32]:
    """Return the intersection over union of each of ``a`` (N, 4) with each of ``b`` (M, 4), shape ``(N, M)``.

    Areas are plain, without "+1": see `from_voc`. Two boxes without area have overlap 0.
    """
    shared = intersection(a, b)
    union = area(a)[:, None] + area(b)[None, :]
    union -= shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def in_crowd(boxes: ArrayLike, crowds: ArrayLike) -> NDArray[np.bool_]:
    """Return which of ``boxes`` (N, 4) have more than .7 of their area inside one of ``crowds`` (M, 4): ``(N,)``.

    Such a region may show an object that is not annotated, so it trains nothing: neither as background nor as the
    object beside the crowd that it overlaps. Source: ``_filter_crowd_proposals`` of py-faster-rcnn's COCO reader.
    """
    return np.asarray(intersection(boxes, crowds).max(axis=1, initial=0) > CROWD_SHARE * area(boxes))


def best_match(boxes: ArrayLike, truth: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return for each box the position of the truth box that it overlaps most, and that overlap.

    Both have shape ``(N,)``. Where nothing overlaps the position is 0 and the overlap 0; without any truth box
    the positions are -1.
    """
    return best_column(iou(boxes, truth))


def best_column(overlaps: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the column of the greatest value of each row of ``overlaps`` (N, G), and that value, both ``(N,)``.

    The first of equal values counts; without any column the positions are -1 and the values 0.
    """
    if overlaps.shape[1] == 0:
        return np.full(len(overlaps), -1, np.int64), np.zeros(len(overlaps), np.float32)
    best = overlaps.argmax(axis=1)
    return best, overlaps[np.arange(len(overlaps)), best]


def coverage(images: Iterable[tuple[ArrayLike, ArrayLike]], thresholds: Sequence[float]) -> list[float]:
    """Return for each of ``thresholds`` the share of all objects that a reference box overlaps by so much or more.

    A reference box is an anchor or a default box. What none overlaps by half trains few of them, and is hard to detect.

    Args:
        images: reference boxes (A, 4) and objects (G, 4) of each image; both may be none.
        thresholds: overlaps. Without any object all shares are 1.
    """
    overlaps = [iou(reference, objects).max(axis=0, initial=0) for reference, objects in images]
    best = np.concatenate([np.zeros(0, np.float32), *overlaps])
    return [float((best >= threshold).mean()) if len(best) else 1.0 for threshold in thresholds]


@dataclass(frozen=True)
class Assignment:
    """Which boxes train as objects and which as background; the others train nothing.

    Attributes:
        truth: ``(N,)`` int64, position of the truth box that each overlaps most; -1 without any truth box.
        foreground: ``(N,)`` bool.
        background: ``(N,)`` bool.
    """

    truth: NDArray[np.int64]
    foreground: NDArray[np.bool_]
    background: NDArray[np.bool_]


def assign(boxes: ArrayLike, truth: ArrayLike, foreground: float, background: tuple[float, float]) -> Assignment:
    """Assign ``boxes`` (N, 4) to the boxes ``truth`` (G, 4), which may be none, by their best overlap.

    Foreground overlaps by ``foreground`` or more. Background has its best overlap in the range ``background``, whose
    upper end is excluded, and is not foreground.
    """
    best, overlap = best_match(boxes, truth)
    objects = overlap >= foreground
    low, high = background
    return Assignment(best, objects, ~objects & (overlap >= low) & (overlap < high))


def encode(reference: Any, target: Any) -> Any:
    """Return the offsets ``(dx, dy, dw, dh)``, shape ``(N, 4)``, that turn ``reference`` boxes into ``target`` ones.

    ``dx = (gx - px) / pw``, ``dy`` alike, ``dw = log(gw / pw)``, ``dh`` alike, with centres and plain sides (R-CNN,
    appendix C). Both arguments are arrays, or both are tensors, of shape ``(N, 4)`` with positive sides.

    Half-open boxes give what py-faster-rcnn's "+1" sides give. The codes of R-CNN, SPP-net and Fast R-CNN take
    ``x2 - x1`` of last pixels for a side, which makes the offsets of small boxes a little larger.
    """
    xp = _namespace(reference)
    size, goal = reference[:, 2:] - reference[:, :2], target[:, 2:] - target[:, :2]
    centre, goal_centre = reference[:, :2] + size / 2, target[:, :2] + goal / 2
    return xp.concatenate([(goal_centre - centre) / size, xp.log(goal / size)], 1)


def decode(reference: Any, offsets: Any) -> Any:
    """Invert `encode`: apply ``offsets`` (N, 4) to ``reference`` boxes (N, 4).

    Growth is limited to a factor of 62.5 per side (torchvision's and detectron's limit, ``log(1000 / 16)``), so
    that a wild regressor gives a large box instead of an infinite one.
    """
    xp = _namespace(reference)
    size = reference[:, 2:] - reference[:, :2]
    centre = reference[:, :2] + size / 2 + offsets[:, :2] * size
    half = size * xp.exp(xp.clip(offsets[:, 2:], None, float(np.log(1000 / 16)))) / 2
    return xp.concatenate([centre - half, centre + half], 1)


def best_first(scores: Any) -> Any:
    """Return the positions of ``scores`` (N,), an array or a tensor, best first; equal scores keep their order."""
    return np.argsort(-scores, kind="stable") if _namespace(scores) is np else (-scores).argsort(stable=True)


def nms(boxes: Any, scores: Any, threshold: float, most: int | None = None) -> Any:
    """Return the positions kept by greedy non-maximum suppression, best score first; ``most`` of them at most.

    A box is dropped when its overlap with a kept box is greater than ``threshold``. Equal scores keep their order. Both
    arguments are tensors, and so is the result, on their device; else it is an array.

    Whether a box is kept depends on none behind it. Where ``most`` are wanted, only the first boxes are therefore
    compared, so many that enough of them are kept.
    """
    import torch

    from pipeline.core import operators

    if _namespace(scores) is np:
        boxes, scores = as_boxes(boxes), np.asarray(scores, dtype=np.float32)
    order = best_first(scores)
    ranked_boxes = torch.as_tensor(boxes[order])
    # Ties are settled before the operator sees them.
    rank = torch.arange(len(order), 0, -1, dtype=torch.float32, device=ranked_boxes.device)
    compared = len(order) if most is None else min(len(order), 2 * most)
    while True:
        kept = operators.nms(ranked_boxes[:compared], rank[:compared], threshold)[:most]
        if compared == len(order) or len(kept) == most:
            return order[kept.numpy() if _namespace(order) is np else kept]
        compared = min(len(order), 2 * compared)


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


def _namespace(array: Any) -> Any:
    """Return the module whose functions fit ``array``: torch for a tensor, else NumPy; torch is never imported."""
    torch = sys.modules.get("torch")
    return torch if torch is not None and isinstance(array, torch.Tensor) else np
