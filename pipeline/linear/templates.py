"""The shapes of windows that fit a class's objects: groups of aspects, and a root filter's sides (voc-release5).

Source: ``split.m`` and ``root_model.m`` of voc-release5.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.core.boxes import Boxes
from pipeline.features.hog import BLOCK, CELL
from pipeline.features.hog_pyramid import WindowShape

_LOG_ASPECTS = np.arange(-100, 101) * 0.02
_SMOOTHING = np.exp(-(np.arange(-100, 101) ** 2) / 400)
_AREA_SHARE = 0.2


@dataclass(frozen=True)
class Component:
    """One look of a class: the label, and the shape of the window that such objects fill."""

    label: int
    shape: WindowShape


def components_of(
    boxes: Boxes, labels: NDArray[np.int64], groups: int, area: tuple[float, float], margin: int
) -> tuple[list[Component], NDArray[np.int64]]:
    """Return the components of all classes that have objects, and the component of each object, ``(N,)``.

    Args:
        boxes: ``(N, 4)``, of the objects that train.
        labels: ``(N,)``, theirs.
        groups: components of a class; one with fewer objects has one for each.
        area: see `root_cells`.
        margin: see `WindowShape`.
    """
    components: list[Component] = []
    assigned = np.zeros(len(labels), np.int64)
    sizes = boxes[:, 2:] - boxes[:, :2]
    for label in np.unique(labels).tolist():
        own = np.flatnonzero(labels == label)
        group = aspect_groups(sizes[own], min(groups, len(own)))
        assigned[own] = len(components) + group
        cells = [root_cells(sizes[own[group == each]], area) for each in range(int(group.max()) + 1)]
        components += [Component(label, WindowShape(*sides, margin)) for sides in cells]
    return components, assigned


def aspect_groups(sizes: NDArray[np.float32], groups: int) -> NDArray[np.int64]:
    """Return the group of each object, ``(N,)``, by its height over width: groups of equal count, the widest first.

    ``sizes`` ``(N, 2)`` are widths and heights, above 0.
    """
    rank = np.argsort(np.argsort(sizes[:, 1] / sizes[:, 0], kind="stable"), kind="stable")
    return rank * groups // max(1, len(sizes))


def root_cells(sizes: NDArray[np.float32], area: tuple[float, float]) -> tuple[int, int]:
    """Return the rows and columns of cells that objects of ``sizes`` ``(N, 2)``, N above 0, are seen in.

    The aspect is the most frequent one, the area that of the objects below which a fifth of them lie, but at least and
    at most ``area`` square pixels: smaller objects are seen enlarged. A side has two cells or more, those of a block.
    """
    width, height = sizes.T.astype(np.float64)
    bins = np.clip(np.round(np.log(height / width) / 0.02), -100, 100).astype(np.int64) + 100
    smoothed = np.convolve(np.bincount(bins, minlength=len(_LOG_ASPECTS)), _SMOOTHING, "same")
    aspect = np.exp(_LOG_ASPECTS[smoothed.argmax()])
    areas = np.sort(width * height)
    pixels = min(max(areas[max(int(len(areas) * _AREA_SHARE), 1) - 1], area[0]), area[1])
    across = np.sqrt(pixels / aspect)
    rows, columns = (max(BLOCK, int(side / CELL + 0.5)) for side in (across * aspect, across))
    return rows, columns
