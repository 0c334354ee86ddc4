"""What share of the objects a localiser is trained on and asked for: of each image the largest."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pipeline.data.index import ImageRecord, Index
from pipeline.reach import Reach
from pipeline.systems.localise.params import Localise as LocaliseParams

if TYPE_CHECKING:
    from pipeline.params import Params


def main_reach(records: Sequence[ImageRecord], *, difficult: bool) -> Reach:
    """Return the share of the objects that may train which are the largest of their image.

    No parameter changes it, so a small share is no fault: such images have no one object to be of.
    """
    counts = np.array([record.trained(difficult).sum() for record in records], np.int64)
    share = float(np.count_nonzero(counts) / max(1, counts.sum()))
    return Reach("are the largest of their image, the one that it is of; others train nothing", share, "", "", False)


def reach(params: "Params", indices: Sequence[Index]) -> list[Reach]:
    """Return the shares; see `pipeline.registry.System.reach`."""
    difficult = params.section(LocaliseParams).train.difficult
    return [main_reach([image for index in indices for image in index.images], difficult=difficult)]
