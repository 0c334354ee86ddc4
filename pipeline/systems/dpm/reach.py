"""What share of the objects the window of a root fits, and what the limits on boxes let through."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline.data.index import Index
from pipeline.linear.window_reach import share_in_windows
from pipeline.reach import Reach, limit_reach
from pipeline.systems.dpm.params import Dpm

if TYPE_CHECKING:
    from pipeline.params import Params


def window_reach(indices: Sequence[Index], section: Dpm) -> Reach:
    """Return the share of the objects that a root of their class and aspect overlaps by half or more."""
    return share_in_windows(
        indices,
        section.hog,
        section.root,
        difficult=section.difficult,
        title="root",
        key="dpm.hog",
        first=section.hog.per_octave,  # finer levels have parts alone
    )


def reach(params: "Params", indices: Sequence[Index]) -> list[Reach]:
    """Return the shares; see `pipeline.registry.System.reach`."""
    section = params.section(Dpm)
    detect = section.detect
    return [
        window_reach(indices, section),
        *limit_reach(detect.max_per_class, detect.per_class_budget, indices, "dpm.detect"),
    ]
