"""A random view of an image: larger, of which a part is seen, or smaller, with grey around it; perhaps mirrored.

RetinaNet's and OverFeat's codes resize the image instead. A square has one size, so here the view changes.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.core.boxes import Boxes, area, clip
from pipeline.core.runtime import opencv
from pipeline.imaging import mirror
from pipeline.nets.backbones import MEAN
from pipeline.systems.square_batches import Sample

FILL = tuple(round(255 * mean) for mean in MEAN)


@dataclass(frozen=True)
class RandomView:
    """An `Augment` of `pipeline.systems.square_batches`.

    Attributes:
        scale: least and greatest size.
        flip: whether half of the images are mirrored.
    """

    scale: tuple[float, float]
    flip: bool

    def __call__(
        self, image: NDArray[np.uint8], boxes: Boxes, labels: NDArray[np.int64], rng: np.random.Generator
    ) -> Sample:
        """Return a view of the image and of the objects with their centre in it, clipped."""
        view, (x, y) = _view(image, rng.uniform(*self.scale), rng)
        height, width = view.shape[:2]
        moved = boxes - np.array([x, y, x, y], np.float32)
        centres = (moved[:, :2] + moved[:, 2:]) / 2
        moved = clip(moved, width, height)
        kept = ((centres >= 0) & (centres < (width, height))).all(axis=1) & (area(moved) > 0)
        moved, labels = moved[kept], labels[kept]
        if self.flip and rng.random() < 0.5:
            view, moved = view[:, ::-1], mirror(moved, width)
        return view, moved, labels


def _view(
    image: NDArray[np.uint8], factor: float, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return a random part of ``image`` (H, W, 3), or it in grey, in which it is ``factor`` times as large; its corner.

    The corner is x and y in pixels of the image.
    """
    cv2 = opencv()
    size = np.array(image.shape[1::-1])
    seen = np.maximum(1, np.rint(size / factor)).astype(np.int64)
    room = size - seen
    corner = np.floor(rng.random(2) * (np.abs(room) + 1)).astype(np.int64) * np.sign(room)
    before, after = np.maximum(0, -corner), np.maximum(0, seen - size + corner)
    canvas = cv2.copyMakeBorder(
        image, before[1], after[1], before[0], after[0], borderType=cv2.BORDER_CONSTANT, value=FILL
    )
    x, y = np.maximum(0, corner)
    return np.asarray(canvas[y : y + seen[1], x : x + seen[0]], np.uint8), corner
