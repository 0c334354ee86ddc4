"""What R-CNN saw of one image: its top proposals, the warped crops, and the units that each crop excites most."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.core.sections import Region
from pipeline.data.images import read_image
from pipeline.data.index import Index
from pipeline.inspect.describing.crops import crops
from pipeline.inspect.describing.described_regions import DescribedRegions, best_of_each_object, describe
from pipeline.inspect.reading.region_rows import CachedRegions


@dataclass(frozen=True)
class ImageRegions:
    """One image as R-CNN's cache has it.

    Attributes:
        picture: ``(H, W, 3)`` uint8.
        layer: whose units are shown.
        classes: of the dataset.
        truth: its objects.
        proposals: the best-ranked of its proposals, in that order.
        shown: the regions whose crops follow.
        crops: ``(len(shown), size, size, 3)`` uint8, as the network got them; black lies outside the image.
        units: ``(len(shown), K)`` int64, the units with the greatest cached values, greatest first.
        values: ``(len(shown), K)`` float32, these values.
    """

    picture: NDArray[np.uint8]
    layer: str
    classes: tuple[str, ...]
    truth: DescribedRegions
    proposals: DescribedRegions
    shown: DescribedRegions
    crops: NDArray[np.uint8]
    units: NDArray[np.int64]
    values: NDArray[np.float32]


def image_regions(
    rows: CachedRegions,
    index: Index,
    position: int,
    root: Path,
    region: Region,
    *,
    top: int,
    count: int,
    units: int,
    window: int | None = None,
) -> ImageRegions:
    """Return what R-CNN saw of the image at ``position`` of ``index``.

    Args:
        rows: the cached features of the split.
        index: of the split.
        position: of the image.
        root: folder that the index's file names are relative to.
        region: how its regions were warped.
        top: proposals to show.
        count: how many of these to show as crops: each object's best, then each one's second, and so on.
        units: of each crop.
        window: a region to show as the first crop, by its number in the image; None: no particular one.

    Raises:
        UnreadableImageError: the image is missing or broken.
    """
    start, stop = rows.offsets[position : position + 2].tolist()
    image = index.images[position]
    objects = len(image.boxes)
    proposals = describe(rows.offsets, rows.boxes, index, np.arange(start + objects, min(start + objects + top, stop)))
    chosen = best_of_each_object(proposals, image, count)
    if window is not None:
        chosen = np.concatenate([[window], chosen[chosen != window]])[:count]
    shown = describe(rows.offsets, rows.boxes, index, start + chosen)
    order = np.argsort(chosen)
    features = rows.take(start + chosen[order])[np.argsort(order)]
    strongest = np.argsort(-features, axis=1, kind="stable")[:, :units]
    return ImageRegions(
        picture=read_image(root / image.file),
        layer=rows.layer,
        classes=index.classes,
        truth=describe(rows.offsets, rows.boxes, index, np.arange(start, start + objects)),
        proposals=proposals,
        shown=shown,
        crops=crops(np.full(len(chosen), image.id), shown.boxes, region, index, root),
        units=strongest,
        values=np.take_along_axis(features, strongest, axis=1),
    )
