"""Default boxes that overlap the objects of a dataset, and a square in which these span enough cells."""

from collections.abc import Sequence
from dataclasses import replace
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
from pipeline.systems.ssd.boxes import MapBoxes, default_boxes
from pipeline.systems.ssd.params import Ssd as SsdParams
from pipeline.systems.ssd.reach import without_weights

if TYPE_CHECKING:
    from pipeline.params import Params


def fit(params: "Params", indices: Sequence[Index]) -> list[Fitted]:
    """Return the values; see `pipeline.registry.System.fit`."""
    section = params.section(SsdParams)
    objects = Objects.of(indices, section.train.difficult)
    classes = len(indices[0].classes)
    finest = without_weights(section, classes).map_boxes()[0]
    larger = larger_square(section.side, objects, finest.step, "ssd.side")
    square = section.model_copy(update={"side": larger[0].value}) if larger else section
    maps = without_weights(square, classes).map_boxes()
    return [
        *larger,
        *fit_boxes(maps, see(objects.sample(), square.side, maps), square.side, section.train.match_iou),
        *raised_limit(section.detect.max_per_class, indices, "ssd.detect.max_per_class"),
        *raised_room(section.detect.max_per_image, indices, "ssd.detect.max_per_image"),
    ]


def see(objects: Objects, side: int, maps: Sequence[MapBoxes]) -> Seen:
    """Return the objects as the cells of ``maps`` see them in a square of ``side`` pixels."""
    return seen_in_square(objects, side, [(each.first, each.step, each.cells) for each in maps])


def fit_boxes(maps: Sequence[MapBoxes], seen: Seen, side: int, trains: float) -> list[Fitted]:
    """Return as many sides and ratios as at present that overlap the objects better, sides rising from map to map.

    A finer map would place boxes of any size more exactly; large ones stay on the deep maps, whose cells see enough.
    """
    count = len(maps) + 1
    ends = np.cumsum([count, *(len(each.ratios) for each in maps)])

    def rounded(values: Values) -> Values:
        sides, *ratios = np.split(values, ends[:-1])
        inverted = [np.round(np.maximum(several, 1 / several), 2) for several in ratios]  # each stands for its inverse
        return np.concatenate([np.sort(np.rint(sides)), *map(np.sort, inverted)])

    def boxes_of(values: Values) -> list[MapBoxes]:
        sides, *ratios = np.split(values, ends[:-1])
        return [
            replace(each, side=small, next_side=large, ratios=tuple(several))
            for each, small, large, several in zip(maps, sides[:-1], sides[1:], ratios, strict=True)
        ]

    def shapes_of(values: Values) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        around = [default_boxes([replace(each, cells=1)]) for each in boxes_of(values)]
        shapes = np.concatenate([boxes[:, 2:] - boxes[:, :2] for boxes in around])
        return shapes, np.repeat(np.arange(len(maps)), [len(boxes) for boxes in around])

    ratios = [ratio for each in maps for ratio in each.ratios]
    now = np.array([*(each.side for each in maps), maps[-1].next_side, *ratios])
    spread = [*quantiles(np.sqrt(seen.sizes.prod(axis=1)), count), *ratios]
    said = f"in a square of {side}; the best default box"
    fitted = better(now, np.array(spread), rounded, shapes_of, seen, trains, said)
    if fitted is None:
        return []
    found, reason = fitted
    sides, *by_map = np.split(found, ends[:-1])
    return [
        Fitted("ssd.default_boxes.sides", sides.astype(int).tolist(), reason),
        Fitted("ssd.default_boxes.ratios", [each.tolist() for each in by_map], "as the sides"),
    ]
