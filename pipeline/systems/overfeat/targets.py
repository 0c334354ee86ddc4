"""What each window is trained to say (OverFeat, sections 4.2 and 5)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.core.boxes import Boxes, best_match

IGNORED = -1


@dataclass(frozen=True)
class Targets:
    """The targets of ``W`` windows.

    Attributes:
        labels: ``(W,)`` int64 category, 0 for background, `IGNORED` for neither.
        edges: ``(W, 4)`` float32 of the object's box, from the window's corner in its sides; 0 but for objects.
    """

    labels: NDArray[np.int64]
    edges: NDArray[np.float32]


def targets(windows: Boxes, truth: Boxes, labels: NDArray[np.int64], positive: float, negative: float) -> Targets:
    """Return the targets of ``windows`` (W, 4) for the objects ``truth`` (G, 4) with ``labels`` (G,).

    A window belongs to the object that it overlaps most, if by ``positive`` or more; it is background where it overlaps
    each by less than ``negative``.
    """
    nearest, overlap = best_match(windows, truth)
    found = np.where(overlap < negative, 0, IGNORED).astype(np.int64)
    edges = np.zeros((len(windows), 4), np.float32)
    rows = np.flatnonzero((overlap >= positive) & (overlap > 0))
    found[rows] = labels[nearest[rows]]
    side = windows[rows, 2:3] - windows[rows, :1]
    edges[rows] = (truth[nearest[rows]] - np.tile(windows[rows, :2], 2)) / side
    return Targets(found, edges)
