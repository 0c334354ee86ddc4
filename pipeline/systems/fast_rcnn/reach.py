"""What share of the objects Fast R-CNN's limits on boxes let through."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline.data.index import Index
from pipeline.reach import Reach, limit_reach, room_reach
from pipeline.systems.fast_rcnn.params import FastRcnn, RegionScoring

if TYPE_CHECKING:
    from pipeline.params import Params


def scoring_reach(scoring: RegionScoring, indices: Sequence[Index], key: str) -> list[Reach]:
    """Return the shares that the limits of the section ``key`` let through, those of its protocol."""
    if scoring.protocol == "threshold":
        return [room_reach(scoring.max_per_image, indices, f"{key}.max_per_image")]
    return limit_reach(scoring.max_per_class, scoring.per_class_budget, indices, key)


def reach(params: "Params", indices: Sequence[Index]) -> list[Reach]:
    """Return the shares; see `pipeline.registry.System.reach`."""
    return scoring_reach(params.section(FastRcnn).detect, indices, "fast_rcnn.detect")
