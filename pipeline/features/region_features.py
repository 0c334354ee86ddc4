"""What SVMs, box regressors and detection need of region features, wherever these come from."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class RegionFeatures(Protocol):
    """The features of the regions of a split, image by image: R-CNN's cache, or SPP-net's computed from cached maps.

    Attributes:
        path: the file behind them, for messages.
        offsets: ``(images + 1,)`` int64; rows ``offsets[i]:offsets[i + 1]`` belong to image ``i``, the ground truth
            before the proposals.
        image_ids: ``(images,)`` int64.
    """

    path: Path
    offsets: NDArray[np.int64]
    image_ids: NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of images."""
        ...

    def table(self, name: str) -> NDArray:
        """Return ``boxes`` ``(rows, 4)`` or ``is_ground_truth`` ``(rows,)``."""
        ...

    def image(self, position: int, layer: str) -> NDArray:
        """Return the features of one image's regions, ``(rows of the image, width)``."""
        ...

    def images(self, layer: str) -> Iterator[tuple[int, NDArray]]:
        """Yield each image's position and features, in order."""
        ...
