"""Anchors and their training targets (RetinaNet, section 4; ``generate_anchors.py`` and ``roi_data/retinanet.py``).

Anchors are a few sizes and shapes around the centre of every cell of each level. All lengths are pixels of the square
that the network sees; boxes may reach beyond it, and those that do take part.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.core.boxes import Boxes, best_column, encode, iou
from pipeline.nets.geometry import Geometry

IGNORED = -1


def anchor_shapes(stride: int, scale: float, octaves: int, ratios: Sequence[float]) -> NDArray[np.float64]:
    """Return width and height of the anchors of a level, ``(octaves * ratios, 2)``, octave by octave.

    A ratio is height over width. As in the official code the shape is rounded to whole pixels at the area of one cell
    and then enlarged, so areas differ a little: 32 x 32, 24 x 48 and 44 x 24 on stride 8. NumPy rounds halves to even
    in both. A side that would be rounded to 0 has one pixel.
    """
    width = np.maximum(1, np.round(stride / np.sqrt(np.array(ratios))))
    shapes = np.stack([width, np.maximum(1, np.round(width * ratios))], axis=1)
    enlargements = scale * 2 ** (np.arange(octaves) / octaves)
    return np.asarray((enlargements[:, None, None] * shapes).reshape(-1, 2))


def level_anchors(shapes: NDArray[np.float64], geometry: Geometry, side: int) -> Boxes:
    """Return the anchors of a level in a square of ``side`` pixels: row, column, then ``shapes``, ``(A, 4)``.

    They are centred on the cells' receptive fields; see docs/retinanet.md.
    """
    centre = geometry.offset + geometry.stride * np.arange(geometry.size(side))
    x, y = np.meshgrid(centre, centre)
    centres = np.stack([x, y], axis=-1).reshape(-1, 1, 2)
    boxes = np.concatenate([centres - shapes / 2, centres + shapes / 2], axis=2)
    return boxes.reshape(-1, 4).astype(np.float32)


@dataclass(frozen=True)
class Targets:
    """The targets of ``A`` anchors.

    Attributes:
        labels: ``(A,)`` int64 category, 0 for background, -1 for neither.
        offsets: ``(A, 4)`` float32 of `boxes.encode`; 0 but for objects.
        positives: what the losses of the image are divided by; see `targets`.
    """

    labels: NDArray[np.int64]
    offsets: NDArray[np.float32]
    positives: int


def match(anchors: Boxes, truth: Boxes, positive: float, negative: float) -> tuple[NDArray[np.int64], int]:
    """Return the object of each of ``anchors`` (A, 4), and the number of `Targets.positives`.

    An anchor belongs to the object of ``truth`` (G, 4) that it overlaps most: by ``positive`` or more, or by
    ``negative`` or more where no anchor overlaps some object more, ties included. The official code calls the best
    anchors of an object positive at any overlap, counts, and only then makes background of all below ``negative``. So
    an object whose best anchor is below it trains nothing. One is added to the count, which is never 0. An object that
    no anchor overlaps has no best one here; there every anchor would count.

    Returns:
        Positions ``(A,)`` int64, -1 for background, -2 for anchors that train nothing; and the count.
    """
    overlaps = iou(anchors, truth)
    nearest, overlap = best_column(overlaps)
    highest = overlaps.max(axis=0, initial=0)
    best_of_some = ((overlaps == highest) & (highest > 0)).any(axis=1)
    objects = (overlap >= positive) | best_of_some
    matched = np.where(objects, nearest, -2)
    matched[overlap < negative] = -1
    return matched, int(objects.sum()) + 1


def targets(anchors: Boxes, truth: Boxes, labels: NDArray[np.int64], positive: float, negative: float) -> Targets:
    """Return the targets of ``anchors`` (A, 4) for the objects ``truth`` (G, 4) with ``labels`` (G,); see `match`."""
    matched, positives = match(anchors, truth, positive, negative)
    result = Targets(np.where(matched == -1, 0, IGNORED), np.zeros((len(anchors), 4), np.float32), positives)
    rows = np.flatnonzero(matched >= 0)
    result.labels[rows] = labels[matched[rows]]
    result.offsets[rows] = encode(anchors[rows], truth[matched[rows]])
    return result
