"""Decoded images kept in memory for training, where every step draws from many of them."""

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.data.images import read_image


class ImageCache:
    """The most recently used images of ``files``, as many as fit into ``megabytes``."""

    def __init__(self, files: Sequence[Path], megabytes: float) -> None:
        self._files = files
        self._room = int(megabytes * (1 << 20))
        self._images: OrderedDict[int, NDArray[np.uint8]] = OrderedDict()

    def __getitem__(self, position: int) -> NDArray[np.uint8]:
        """Return the image at ``position``, ``(H, W, 3)`` uint8 RGB."""
        if position in self._images:
            self._images.move_to_end(position)
            return self._images[position]
        image = read_image(self._files[position])
        self._images[position] = image
        self._room -= image.nbytes
        while self._room < 0 and len(self._images) > 1:
            self._room += self._images.popitem(last=False)[1].nbytes
        return image
