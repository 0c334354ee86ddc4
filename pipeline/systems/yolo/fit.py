"""A square in which the objects of a dataset have cells of their own."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline.data.index import Index
from pipeline.fitting import MOST, Fitted, raised_limit, raised_room
from pipeline.reach import Reach
from pipeline.systems.yolo.params import YoloV1
from pipeline.systems.yolo.reach import cell_reach, without_weights

if TYPE_CHECKING:
    from pipeline.params import Params


def fit(params: "Params", indices: Sequence[Index]) -> list[Fitted]:
    """Return the values; see `pipeline.registry.System.fit`."""
    detect = params.section(YoloV1).detect
    return [
        *fit_side(params.section(YoloV1), indices),
        *raised_limit(detect.max_per_class, indices, "yolo.detect.max_per_class"),
        *raised_room(detect.max_per_image, indices, "yolo.detect.max_per_image"),
    ]


def fit_side(section: YoloV1, indices: Sequence[Index]) -> list[Fitted]:
    """Return the smallest larger square that loses few objects to shared cells, or the largest that is tried."""
    records, classes = [image for index in indices for image in index.images], len(indices[0].classes)
    step = round(section.side / without_weights(section, classes).grid)
    found: dict[int, Reach] = {}
    for side in range(section.side, round(MOST * section.side) + 1, step):
        square = section.model_copy(update={"side": side})
        found[side], _ = cell_reach(records, side, without_weights(square, classes).grid, section.train.difficult)
        if not found[side].few:
            break
    side, before = max(found), found[section.side].share
    return [Fitted("yolo.side", side, f"{found[side]}; at {section.side}: {before:.1%}")] if len(found) > 1 else []
