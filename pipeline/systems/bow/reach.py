"""What share of the objects the grid of patches can see."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pipeline.data.index import Index
from pipeline.reach import Reach
from pipeline.systems.bow.params import Bow
from pipeline.systems.bow.words import Grid

if TYPE_CHECKING:
    from pipeline.params import Params

# Patches each way in an object that has words to be told by.
PATCHES = 3


def reach(params: "Params", indices: Sequence[Index]) -> list[Reach]:
    """Return the shares; see `pipeline.registry.System.reach`."""
    bow = params.section(Bow)
    large = total = 0
    for record in (image for index in indices for image in index.images):
        boxes = record.boxes[record.trained(bow.difficult)]
        cells = Grid.of(record.width, record.height, bow.words).cells(boxes)
        large += int((np.minimum(cells[:, 2] - cells[:, 0], cells[:, 3] - cells[:, 1]) >= PATCHES).sum())
        total += len(boxes)
    what = f"hold {PATCHES} x {PATCHES} patches or more; fewer words tell no class"
    return (
        [Reach(what, large / total, "bow.words.step", "a smaller step, or a larger bow.words.longest")] if total else []
    )
