"""What share of the objects a window fits, and what the limits on boxes let through."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline.data.index import Index
from pipeline.linear.window_reach import share_in_windows
from pipeline.reach import Reach, limit_reach
from pipeline.systems.hog_svm.params import HogSvm

if TYPE_CHECKING:
    from pipeline.params import Params


def window_reach(indices: Sequence[Index], section: HogSvm) -> Reach:
    """Return the share of the objects that a window of their class and aspect overlaps by half or more."""
    return share_in_windows(
        indices, section.hog, section.window, difficult=section.difficult, title="window", key="hog_svm.hog"
    )


def reach(params: "Params", indices: Sequence[Index]) -> list[Reach]:
    """Return the shares; see `pipeline.registry.System.reach`."""
    section = params.section(HogSvm)
    detect = section.detect
    return [
        window_reach(indices, section),
        *limit_reach(detect.max_per_class, detect.per_class_budget, indices, "hog_svm.detect"),
    ]
