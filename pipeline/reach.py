"""What share of the objects a setting can reach: the figure, and the parameter that would change it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.core.params import Limit
from pipeline.data.index import Index
from pipeline.limits import PER_OBJECT, candidates_needed

ENOUGH = 0.95


@dataclass(frozen=True)
class Reach:
    """A share of the objects that train.

    Attributes:
        what: of them, as the end of the sentence "95 % of the objects ...".
        share: from 0 to 1.
        parameter: the key that would change it; empty where none does.
        advice: what helps where the share is small.
        judged: whether a share below `ENOUGH` is a fault. At an overlap of .7 it is none: an object that no box
            overlaps so well trains its best one all the same.
    """

    what: str
    share: float
    parameter: str
    advice: str
    judged: bool = True

    @property
    def few(self) -> bool:
        """Whether the share is a fault."""
        return self.judged and self.share < ENOUGH

    def __str__(self) -> str:
        return f"{self.share:.1%} of the objects {self.what}"


def summary(figures: Sequence[Reach]) -> str:
    """Return the figures in a line, and what helps where one is a fault."""
    warnings = [f"; warning: below {ENOUGH:.0%}, so {each.advice} would help" for each in figures if each.few]
    return "; ".join(map(str, figures)) + "".join(dict.fromkeys(warnings))


def limit_reach(max_per_class: Limit, per_class_budget: Limit, indices: Sequence[Index], key: str) -> list[Reach]:
    """Return what share of the candidates that objects need two limits let through, for the class that needs most.

    A limit that is ``auto`` follows the objects and one that is off lets all through: neither has a figure.

    Args:
        max_per_class: candidates of a class in an image.
        per_class_budget: the same on average over the images of a split.
        indices: the images that the system is trained on.
        key: of the section that holds both parameters.
    """
    limits = {"max_per_class": max_per_class, "per_class_budget": per_class_budget}
    return [
        _let_through(limit, needed, indices[0].classes, f"{key}.{name}")
        for (name, limit), needed in zip(limits.items(), candidates_needed(indices), strict=True)
        if isinstance(limit, int)
    ]


def _let_through(limit: int, needed: NDArray[np.int64], classes: Sequence[str], key: str) -> Reach:
    most = int(needed.argmax())
    share = min(1.0, limit / max(1, int(needed[most])))
    what = f"of {classes[most]} have {PER_OBJECT} candidates each, as many as they may need"
    return Reach(what, share, key, f"{needed[most]} or more")


def room_reach(most: int, indices: Sequence[Index], key: str) -> Reach:
    """Return the share of the objects that ``most`` detections in an image, of all classes, leave room for."""
    counts = np.array([np.count_nonzero(~image.crowd) for index in indices for image in index.images], np.int64)
    share = float(np.minimum(counts, most).sum() / max(1, counts.sum()))
    return Reach("have room among an image's detections", share, key, f"{counts.max(initial=1)} or more")
