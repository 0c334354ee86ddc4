"""Anchors that overlap the objects of a dataset, and a square in which these span enough cells."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.data.index import Index
from pipeline.fitting import (
    Fitted,
    Objects,
    Seen,
    Values,
    better,
    larger_square,
    quantiles,
    raised_limit,
    raised_room,
    seen_in_square,
)
from pipeline.nets.geometry import Geometry
from pipeline.systems.retinanet.anchors import anchor_shapes
from pipeline.systems.retinanet.params import Retinanet as RetinanetParams
from pipeline.systems.retinanet.params import RetinanetAnchors
from pipeline.systems.retinanet.reach import without_weights

if TYPE_CHECKING:
    from pipeline.params import Params


def fit(params: "Params", indices: Sequence[Index]) -> list[Fitted]:
    """Return the values; see `pipeline.registry.System.fit`."""
    section = params.section(RetinanetParams)
    objects = Objects.of(indices, section.train.difficult)
    levels = without_weights(section, len(indices[0].classes)).geometries()
    larger = larger_square(section.side, objects, levels[0].stride, "retinanet.side")
    side = larger[0].value if larger else section.side
    return [
        *larger,
        *fit_anchors(section.anchors, levels, see(objects.sample(), side, levels), side, section.train.positive_iou),
        *raised_limit(section.detect.max_per_class, indices, "retinanet.detect.max_per_class"),
        *raised_room(section.detect.max_per_image, indices, "retinanet.detect.max_per_image"),
    ]


def see(objects: Objects, side: int, levels: Sequence[Geometry]) -> Seen:
    """Return the objects as the cells of ``levels`` see them in a square of ``side`` pixels."""
    return seen_in_square(objects, side, [(each.offset, each.stride, each.size(side)) for each in levels])


def fit_anchors(
    present: RetinanetAnchors, levels: Sequence[Geometry], seen: Seen, side: int, trains: float
) -> list[Fitted]:
    """Return a scale and as many ratios as at present that overlap the objects better; none where there are none."""

    def rounded(values: Values) -> Values:
        return np.concatenate([np.round(values[:1], 1), np.sort(np.round(values[1:], 2))])

    def shapes_of(values: Values) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        shapes = [anchor_shapes(each.stride, values[0], present.octaves, values[1:].tolist()) for each in levels]
        return np.concatenate(shapes).astype(np.float32), np.repeat(np.arange(len(levels)), [*map(len, shapes)])

    width, height = seen.sizes.T
    smallest = quantiles(np.sqrt(width * height), len(levels) * present.octaves)[0] / levels[0].stride
    spread = np.array([smallest, *quantiles(height / width, len(present.ratios))])
    now = np.array([present.scale, *present.ratios])
    fitted = better(now, spread, rounded, shapes_of, seen, trains, f"in a square of {side}; the best anchor")
    if fitted is None:
        return []
    found, reason = fitted
    return [
        Fitted("retinanet.anchors.scale", float(found[0]), reason),
        Fitted("retinanet.anchors.ratios", found[1:].tolist(), "as the scale"),
    ]
