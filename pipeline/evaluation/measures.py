"""What a system is judged and compared by: the measures of its task."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.data.index import Index
from pipeline.evaluation import bootstrap, localisation
from pipeline.evaluation.detections import Detections

Task = Literal["detect", "localise"]
"""``detect``: all objects of an image. ``localise``: the one that an image is of, in a few guesses."""


@dataclass(frozen=True)
class Measures:
    """The measures of a task.

    Attributes:
        names: in the metrics of a system, as shares from 0 to 1.
        compared: those by which runs are compared in Git.
        sampled: returns them on bootstrap samples of the test images, ``(names, samples)``, as
            `pipeline.evaluation.bootstrap.sampled_maps` does, whose arguments it takes.
    """

    names: tuple[str, ...]
    compared: tuple[str, ...]
    sampled: Callable[..., NDArray[np.float64]]

    def intervals(
        self, index: Index, detections: Detections, iou: float, *, samples: int, level: float, seed: int
    ) -> dict[str, dict[str, float] | None]:
        """Return the interval of each measure under a bootstrap over the images (`bootstrap.intervals`)."""
        sampled = self.sampled(index, detections, iou, samples=samples, seed=seed)
        return bootstrap.intervals(self.names, sampled, level)


MEASURES: Mapping[Task, Measures] = {
    "detect": Measures(bootstrap.NAMES, ("map_voc07", "map_coco"), bootstrap.sampled_maps),
    "localise": Measures(
        localisation.NAMES, ("localisation_error_top1", "localisation_error_top5"), localisation.sampled_errors
    ),
}
