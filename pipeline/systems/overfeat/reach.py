"""What share of the objects OverFeat's windows overlap, over all scales."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from pipeline.core.boxes import coverage
from pipeline.data.index import ImageRecord, Index
from pipeline.imaging import to_square
from pipeline.reach import Reach, room_reach
from pipeline.systems.overfeat.network import Overfeat, OverfeatShape
from pipeline.systems.overfeat.params import Overfeat as OverfeatParams
from pipeline.systems.overfeat.params import OverfeatTraining

if TYPE_CHECKING:
    from pipeline.params import Params


def window_reach(records: Sequence[ImageRecord], network: Overfeat, settings: OverfeatTraining) -> Reach:
    """Return the share of the objects that a window of some scale overlaps by `positive_iou` or more."""
    scales = network.shape.scales
    # As they lie in a square of side 1.
    windows = np.concatenate([network.windows(side) / np.float32(side) for side in scales])
    squares = (
        to_square(record.boxes[record.trained(settings.difficult)], record.width, record.height, 1)
        for record in records
    )
    (share,) = coverage(((windows, square) for square in squares), [settings.positive_iou])
    what = f"are overlapped by {settings.positive_iou} or more by a window; others train nothing"
    return Reach(what, share, "overfeat.scales", "other scales, greater ones for small objects")


def without_weights(section: OverfeatParams, classes: int) -> Overfeat:
    """Return the network that the parameters describe, for its windows alone."""
    with torch.device("meta"):
        return Overfeat(OverfeatShape.from_params(section, classes))


def reach(params: "Params", indices: Sequence[Index]) -> list[Reach]:
    """Return the shares; see `pipeline.registry.System.reach`."""
    section = params.section(OverfeatParams)
    records = [image for index in indices for image in index.images]
    return [
        window_reach(records, without_weights(section, len(indices[0].classes)), section.train),
        room_reach(section.detect.max_per_image, indices, "overfeat.detect.max_per_image"),
    ]
