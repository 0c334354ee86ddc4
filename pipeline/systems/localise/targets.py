"""What an image is trained to say: the class of its largest object, and where this object's corners are.

Points are in sides of the square, from its corner: 0 to 1. A network cannot be asked for pixels at the learning rate of
its classifier, their squared errors would be ten thousand times larger.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.core.boxes import Boxes
from pipeline.evaluation.localisation import largest

# Of a box, the columns that hold the coordinates of its points: opposite corners, or all of them, clockwise.
COLUMNS = {2: (0, 1, 2, 3), 4: (0, 1, 2, 1, 2, 3, 0, 3)}


@dataclass(frozen=True)
class Target:
    """The target of one image.

    Attributes:
        label: category id, 0 where no object is in view.
        points: ``(2 * K,)`` float32, x and y of each; 0 without an object.
    """

    label: int
    points: NDArray[np.float32]


def target(boxes: Boxes, labels: NDArray[np.int64], side: int, points: int) -> Target:
    """Return the target of an image with the objects ``boxes`` (n, 4), in pixels of a square, and ``labels`` (n,).

    Args:
        boxes: those that train.
        labels: category ids.
        side: of the square, in pixels.
        points: 2 or 4.
    """
    main = largest(boxes, np.ones(len(boxes), np.bool_))
    if main is None:
        return Target(0, np.zeros(2 * points, np.float32))
    return Target(int(labels[main]), boxes[main, list(COLUMNS[points])] / np.float32(side))


def boxes_of(points: torch.Tensor) -> torch.Tensor:
    """Return the boxes ``(..., 4)`` of ``points`` (..., 2 * K); of four, each edge is the mean of its two corners.

    Where the corners have changed places, a box has no width or no height.
    """
    columns = torch.tensor(COLUMNS[points.shape[-1] // 2], device=points.device)
    corners = torch.stack([points[..., columns == edge].mean(dim=-1) for edge in range(4)], dim=-1)
    return torch.cat([corners[..., :2], torch.maximum(corners[..., :2], corners[..., 2:])], dim=-1)
