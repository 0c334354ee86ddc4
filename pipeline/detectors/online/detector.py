"""A detector as an object: pictures in, boxes out, no caches in between."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.boxes import Boxes
from pipeline.clock import NULL_CLOCK, Clock
from pipeline.data.images import read_image
from pipeline.evaluation.detections import Detections

Image = NDArray[np.uint8]
"""``(H, W, 3)`` RGB, as `pipeline.data.images.read_image` gives it."""
Picture = Image | Path | str
"""An image, or the file that holds one."""


def opened(picture: Picture, clock: Clock) -> Image:
    """Return ``picture``, read if it is a file.

    Raises:
        UnreadableImageError: the file is missing or broken.
    """
    if not isinstance(picture, Path | str):
        return picture
    with clock.phase("read"):
        return read_image(Path(picture))


@dataclass(frozen=True)
class Found:
    """What was found in one image, best first.

    Attributes:
        boxes: ``(N, 4)`` float32, in pixels of the image.
        labels: ``(N,)`` int64, from 1: places among the detector's ``classes``, counted so.
        scores: ``(N,)`` float32, greater is better; their range is the system's own (an SVM's may be negative).
    """

    boxes: Boxes
    labels: NDArray[np.int64]
    scores: NDArray[np.float32]

    @classmethod
    def of(cls, detections: Detections) -> "Found":
        """Take over the detections in one image."""
        ranked = detections.ranked()
        return cls(ranked.boxes, ranked.labels, ranked.scores)

    @classmethod
    def nothing(cls) -> "Found":
        """Return what is found where nothing is."""
        return cls.of(Detections.join([]))


class Detector(Protocol):
    """One of the systems, trained.

    Attributes:
        system: its name.
        classes: their names; label 1 is the first.
        batched: whether several images at once take less time than one after another.
    """

    system: str
    classes: tuple[str, ...]
    batched: bool

    def detect(self, images: Sequence[Picture], clock: Clock = NULL_CLOCK) -> list[Found]:
        """Return what is found in each image, an array or a file; ``clock`` learns where the time went.

        Raises:
            UnreadableImageError: a file is missing or broken.
        """
        ...
