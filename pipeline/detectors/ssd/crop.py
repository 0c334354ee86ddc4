"""Which part of the image a training sample shows: expansion and constrained crop (SSD, section 2.2).

A window is ``(x1, y1, x2, y2)`` in whole pixels of the image and may reach beyond it: expansion and crop need no pixels
until both are chosen. Sources: ``annotated_data_layer.cpp``, ``im_transforms.cpp``, ``sampler.cpp``. torchvision's
``RandomZoomOut`` expands alike; its ``RandomIoUCrop`` draws both sides of a crop independently and picks the constraint
before it knows which can be met.
"""

import numpy as np
from numpy.typing import NDArray

from pipeline.boxes import Boxes, iou

Window = NDArray[np.int64]

# Trials for each constraint, and the shapes of a crop: width over height, relative to the image's.
TRIALS = 50
ASPECT = (0.5, 2.0)


def expand(width: int, height: int, most: float, rng: np.random.Generator) -> Window:
    """Return a window around an image of ``width`` x ``height`` pixels, both sides 1 to ``most`` times as long.

    Half of the windows are the image itself.
    """
    if rng.random() < 0.5:
        return np.array([0, 0, width, height])
    outer = np.floor(np.array([width, height]) * rng.uniform(1, most))
    corner = np.floor(rng.random(2) * (outer - [width, height] + 1))
    return np.concatenate([-corner, outer - corner]).astype(np.int64)


def crop(
    window: Window, boxes: Boxes, overlaps: tuple[float, ...], scale: tuple[float, float], rng: np.random.Generator
) -> Window:
    """Return ``window`` itself or a part of it, all kinds of parts that were found being equally likely.

    A kind is an overlap of ``overlaps`` that one of ``boxes`` (n, 4) must have with the part, at least; 0 allows any
    part. Of each kind the first valid one of 50 random parts is taken, whose sides are in the geometric mean ``scale``
    times the window's. Without boxes no part is valid, as in the official code.
    """
    found = [window]
    for least in overlaps if len(boxes) else ():
        parts = _parts(window, scale, rng)
        valid = np.flatnonzero(iou(parts, boxes).max(axis=1) >= least)
        found += [parts[first] for first in valid[:1]]
    return found[rng.integers(len(found))]


def shown(window: Window, boxes: Boxes) -> NDArray[np.bool_]:
    """Return which of ``boxes`` (n, 4) have their centre in ``window``."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    inside = (centres >= window[:2]) & (centres < window[2:])
    return inside[:, 0] & inside[:, 1]


def _parts(window: Window, scale: tuple[float, float], rng: np.random.Generator) -> NDArray[np.int64]:
    """Return random parts of ``window``, ``(TRIALS, 4)``, at least one pixel large."""
    share = rng.uniform(*scale, TRIALS)
    # Bounded so that neither side is longer than the window's.
    aspect = rng.uniform(np.maximum(ASPECT[0], share**2), np.minimum(ASPECT[1], share**-2))
    whole = (window[2:] - window[:2]).astype(np.float64)
    sides = np.stack([share * np.sqrt(aspect), share / np.sqrt(aspect)], axis=1) * whole
    sides = np.clip(np.floor(sides), 1, whole)
    corners = window[:2] + np.floor(rng.random((TRIALS, 2)) * (whole - sides + 1))
    return np.concatenate([corners, corners + sides], axis=1).astype(np.int64)
