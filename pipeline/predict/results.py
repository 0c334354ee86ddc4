"""What is said of one picture, and what listens to it."""

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.core.boxes import area, clip
from pipeline.evaluation.detections import Detections
from pipeline.predict.pictures import Picture
from pipeline.predict.reading import Seen, Unread


@dataclass(frozen=True)
class Result:
    """What was found in one picture, best first.

    Attributes:
        number: its place in the list, from 1: the COCO image id.
        picture: the file.
        size: ``(width, height)`` in pixels, upright.
        found: boxes in those pixels.
        image: ``(height, width, 3)`` uint8 RGB, or None where no listener needs it.
    """

    number: int
    picture: Picture
    size: tuple[int, int]
    found: Detections
    image: NDArray[np.uint8] | None

    @classmethod
    def of(cls, seen: Seen, found: Detections, least: float) -> "Result":
        """Keep what scores at least ``least`` and lies in the picture, in the pixels of the full one."""
        boxes = clip(found.boxes * np.array(seen.factors * 2, np.float32), *seen.size)
        good = (found.scores >= np.float32(least)) & (area(boxes) > 0)
        kept = replace(found, boxes=boxes).take(good)
        return cls(seen.number, seen.picture, seen.size, kept, seen.full)


class Listener(Protocol):
    """Something that puts results down, one by one."""

    def add(self, result: Result) -> None:
        """Take what was found in one picture."""
        ...

    def fail(self, unread: Unread) -> None:
        """Take note of a picture that could not be read."""
        ...


def whole_boxes(found: Detections, size: tuple[int, int]) -> list[tuple[int, int, int, int]]:
    """Return the boxes with corners rounded to whole pixels, inside the picture, each at least one pixel wide and high.

    Half-open as all boxes here, so that VOC's corners follow by `pipeline.core.boxes.to_voc`.
    """
    corners = np.rint(found.boxes).astype(np.int64)
    low = np.clip(corners[:, :2], 0, np.array(size) - 1)
    high = np.clip(corners[:, 2:], low + 1, np.array(size))
    return [tuple(row) for row in np.concatenate([low, high], axis=1).tolist()]
