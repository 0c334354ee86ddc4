"""Rows of a cache as pictures: what the network saw of them."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.core.boxes import Boxes
from pipeline.core.sections import Region
from pipeline.data.images import read_image
from pipeline.data.index import Index
from pipeline.features.warp import warp
from pipeline.inspect.reading.cached_rows import CachedRows

# A cell's receptive field is shown at this size; it has no size of its own, as maps are made at several scales.
CELL_SIDE = 64


def crop_region(rows: CachedRows) -> Region:
    """Return how rows become squares: as they were warped for the network, or the plain receptive fields of cells."""
    if rows.of_regions:
        return Region(**rows.cache.attributes["region"])
    return Region(size=CELL_SIDE, padding=0, mode="warp")


def crops(image_ids: NDArray[np.int64], boxes: Boxes, region: Region, index: Index, root: Path) -> NDArray[np.uint8]:
    """Return the warped square of each box, ``(N, size, size, 3)`` RGB; black lies outside the image.

    Args:
        image_ids: ``(N,)``.
        boxes: ``(N, 4)`` in pixels of those images.
        region: how they are warped, the context among it.
        index: of the images.
        root: folder that its file names are relative to.

    Raises:
        UnreadableImageError: an image is missing or broken.
    """
    files = {image.id: root / image.file for image in index.images}
    squares = np.zeros((len(boxes), region.size, region.size, 3), np.uint8)
    for image_id in np.unique(image_ids).tolist():
        mine = np.flatnonzero(image_ids == image_id)
        pixels = torch.from_numpy(read_image(files[image_id])).permute(2, 0, 1).float()
        warped = warp(pixels, boxes[mine], region).permute(0, 2, 3, 1)
        squares[mine] = warped.round().clamp(0, 255).to(torch.uint8).numpy()
    return squares
