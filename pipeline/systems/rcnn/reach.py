"""What share of the objects R-CNN's limits on boxes let through."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline.data.index import Index
from pipeline.reach import Reach, limit_reach
from pipeline.systems.rcnn.params import Rcnn

if TYPE_CHECKING:
    from pipeline.params import Params


def reach(params: "Params", indices: Sequence[Index]) -> list[Reach]:
    """Return the shares; see `pipeline.registry.System.reach`."""
    detect = params.section(Rcnn).detect
    return limit_reach(detect.max_per_class, detect.per_class_budget, indices, "rcnn.detect")
