"""A training step's batch as a person sees it: pictures with marks, the same for all systems.

A room's ``batch_view.py`` makes the batches of its trainings without training and turns one into a `BatchView`, which
`boxline inspect batch` draws and counts.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.boxes import Boxes


class Role(StrEnum):
    """What a mark is to the training."""

    OBJECT = "object"
    """An object that something in the batch is trained to find."""
    WEAK = "weak"
    """An object whose examples all overlap it by less than the threshold, which tells them from background."""
    LOST = "lost"
    """An object that nothing in the batch is trained to find."""
    POSITIVE = "positive"
    """An example of an object: an anchor, a default box, a region."""
    CELL = "cell"
    """The same, where the example is a part of the picture."""
    NEGATIVE = "negative"
    """An example of background."""


@dataclass(frozen=True)
class Marks:
    """Boxes of one kind on a picture.

    Attributes:
        role: of all of them.
        name: of the kind, for legend and table.
        boxes: ``(N, 4)`` float32 in pixels of the picture; they may reach beyond it.
        group: tells positive kinds apart: category id, or number of the map, from 1.
        texts: to write at the boxes, one each; or none.
    """

    role: Role
    name: str
    boxes: Boxes
    group: int = 0
    texts: tuple[str, ...] = ()


@dataclass(frozen=True)
class SeenPicture:
    """A picture of a batch as the network sees it.

    Attributes:
        title: says what it is, in a word or two.
        pixels: ``(H, W, 3)`` uint8 RGB.
        marks: what is trained on it, the lowest first; a kind without boxes may stand here to be counted.
    """

    title: str
    pixels: NDArray[np.uint8]
    marks: tuple[Marks, ...]


@dataclass(frozen=True)
class SeenBatches:
    """How the batches of a training are made and shown.

    Attributes:
        steps: how many steps it has.
        make: makes the batch of a step, counted from 0, as the training gets it.
        view: returns the pictures of a step's batch.
    """

    steps: int
    make: Callable[[int], Any]
    view: Callable[[int], tuple[SeenPicture, ...]]


def object_marks(boxes: Boxes, texts: Sequence[str], *kinds: tuple[Role, str, NDArray[np.bool_]]) -> tuple[Marks, ...]:
    """Return the objects ``boxes`` (G, 4) with their ``texts``, for each kind those that its mask ``(G,)`` chooses."""
    return tuple(
        Marks(role, name, boxes[mask], texts=tuple(np.array(texts, object)[mask])) for role, name, mask in kinds
    )


def region_marks(boxes: Boxes, labels: NDArray[np.int64], classes: Sequence[str]) -> tuple[Marks, ...]:
    """Return regions ``boxes`` (R, 4) by their ``labels`` (R,), 0 for background; only kinds that there are."""
    return tuple(
        Marks(Role.POSITIVE, classes[label - 1], boxes[labels == label], label)
        if label
        else Marks(Role.NEGATIVE, "background", boxes[labels == 0])
        for label in np.unique(labels).tolist()
    )
