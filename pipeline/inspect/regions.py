"""Regions as the views show them: of which image, where in it, which object they overlap, their pixels, their names."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.core.boxes import Boxes, best_match
from pipeline.core.errors import InputError
from pipeline.core.sections import Region
from pipeline.data.index import ImageRecord, Index
from pipeline.inspect.rows import CachedRows, RegionRows

# Overlap from which a region shows an object, as everywhere in R-CNN's evaluation.
OVERLAP = 0.5
# Label of a region on an object to ignore: of no class, and not background either.
IGNORED = -1
# A cell's receptive field is shown at this size; its size in pixels varies, as maps are made at several scales.
CELL_SIDE = 64


@dataclass(frozen=True)
class DescribedRegions:
    """Some regions, one entry of each array for each.

    Attributes:
        images: ``(N,)`` int64 positions of their images in the index.
        files: their images.
        regions: ``(N,)`` int64, number of the region in its image; objects first, then proposals, best first.
        boxes: ``(N, 4)`` float32.
        labels: ``(N,)`` int64, class of the object that a region overlaps most; 0, background, below an overlap of 0.5;
            -1 where that object is to be ignored.
        overlaps: ``(N,)`` float32, that overlap (IoU).
    """

    images: NDArray[np.int64]
    files: tuple[str, ...]
    regions: NDArray[np.int64]
    boxes: Boxes
    labels: NDArray[np.int64]
    overlaps: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.regions)

    def name(self, i: int) -> str:
        """Return region ``i`` as a person types it, ``FILE:REGION``."""
        return f"{self.files[i].rsplit('/', 1)[-1]}:{self.regions[i]}"

    def class_name(self, i: int, classes: Sequence[str]) -> str:
        """Return the class of region ``i``, ``background`` or ``ignored``."""
        if self.labels[i] == IGNORED:
            return "ignored"
        return classes[self.labels[i] - 1] if self.labels[i] else "background"


def describe(offsets: NDArray[np.int64], boxes: Boxes, index: Index, rows: NDArray[np.int64]) -> DescribedRegions:
    """Return the regions at ``rows`` (N,) of a split, given the boxes of all its rows and where its images start."""
    images = np.searchsorted(offsets, rows, side="right") - 1
    labels, overlaps = np.zeros(len(rows), np.int64), np.zeros(len(rows), np.float32)
    for position in np.unique(images).tolist():
        here = np.flatnonzero(images == position)
        labels[here], overlaps[here] = region_labels(boxes[rows[here]], index.images[position])
    return DescribedRegions(
        images=images,
        files=tuple(index.images[position].file for position in images.tolist()),
        regions=rows - offsets[images],
        boxes=boxes[rows],
        labels=labels,
        overlaps=overlaps,
    )


@dataclass(frozen=True)
class ImageProposals:
    """A photograph with its objects and its best-ranked proposals.

    Attributes:
        file: of the image.
        picture: ``(H, W, 3)`` uint8.
        classes: of the dataset.
        truth: its objects.
        proposals: the best-ranked of its proposals, in that order.
    """

    file: str
    picture: NDArray[np.uint8]
    classes: tuple[str, ...]
    truth: DescribedRegions
    proposals: DescribedRegions

    def best_of_each_object(self, count: int) -> NDArray[np.int64]:
        """Return the numbers of ``count`` proposals: each object's best, then each one's second, and so on.

        Among these the greatest overlap goes first, and among equals the first proposal.
        """
        objects, overlaps = best_match(self.proposals.boxes, self.truth.boxes)
        order = np.argsort(-overlaps, kind="stable")
        rank = np.zeros(len(order), np.int64)  # among the proposals of the same object
        for label in np.unique(objects).tolist():
            same = order[objects[order] == label]
            rank[same] = np.arange(len(same))
        return self.proposals.regions[np.lexsort((-overlaps, rank))[:count]]


def proposals_of_image(
    offsets: NDArray[np.int64], boxes: Boxes, index: Index, position: int, root: Path, top: int
) -> ImageProposals:
    """Return the image at ``position`` of ``index`` with its ``top`` best-ranked proposals.

    Args:
        offsets: ``(images + 1,)`` int64, rows of each image, its objects first.
        boxes: ``(rows, 4)`` float32.
        index: of the same split.
        position: of the image.
        root: folder that the index's file names are relative to.
        top: proposals to show.

    Raises:
        UnreadableImageError: the image is missing or broken.
    """
    from pipeline.data.images import read_image

    image = index.images[position]
    start, stop = offsets[position : position + 2].tolist()
    first = start + len(image.boxes)
    return ImageProposals(
        file=image.file,
        picture=read_image(root / image.file),
        classes=index.classes,
        truth=describe(offsets, boxes, index, np.arange(start, first)),
        proposals=describe(offsets, boxes, index, np.arange(first, min(first + top, stop))),
    )


def row_labels(rows: RegionRows, index: Index) -> NDArray[np.int64]:
    """Return the class of each row: a category id, 0 for background, -1 for an ignored object; ``(rows,)`` int64.

    A region shows the object that it overlaps most, if by 0.5 or more. A cell of a map shows the object in whose box
    the centre of its receptive field lies, the smallest of several.

    Raises:
        InputError: the index is of other images.
    """
    if [image.id for image in index.images] != rows.image_ids.tolist():
        raise InputError(f"{rows.path}: its images are not those of the index; dvc repro renews both.")
    cells = isinstance(rows, CachedRows) and not rows.of_regions
    boxes = rows.boxes
    labels = np.zeros(int(rows.offsets[-1]), np.int64)
    for image, start, stop in zip(index.images, rows.offsets[:-1], rows.offsets[1:], strict=True):
        here = boxes[start:stop]
        labels[start:stop] = _cell_labels(here, image) if cells else region_labels(here, image)[0]
    return labels


def region_labels(boxes: Boxes, image: ImageRecord) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the classes of regions (N, 4) of one image, as of `row_labels`, and their best overlap, ``(N,)`` each."""
    best, overlaps = best_match(boxes, image.boxes)
    if not len(image.labels):
        return np.zeros(len(boxes), np.int64), overlaps
    return np.where(overlaps >= OVERLAP, _object_labels(image)[best], 0), overlaps


def _cell_labels(fields: Boxes, image: ImageRecord) -> NDArray[np.int64]:
    if not len(image.labels):
        return np.zeros(len(fields), np.int64)
    centre = (fields[:, None, :2] + fields[:, None, 2:]) / 2
    inside = np.all((centre >= image.boxes[:, :2]) & (centre < image.boxes[:, 2:]), axis=2)
    size = (image.boxes[:, 2:] - image.boxes[:, :2]).prod(axis=1)
    smallest = np.where(inside, size, np.inf).argmin(axis=1)
    return np.where(inside.any(axis=1), _object_labels(image)[smallest], 0)


def _object_labels(image: ImageRecord) -> NDArray[np.int64]:
    return np.where(image.ignore, IGNORED, image.labels)


# --- pixels ------------------------------------------------------------------------------------------------------


def crop_settings(rows: CachedRows) -> Region:
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
    import torch

    from pipeline.data.images import read_image
    from pipeline.features.warp import warp

    files = {image.id: root / image.file for image in index.images}
    squares = np.zeros((len(boxes), region.size, region.size, 3), np.uint8)
    for image_id in np.unique(image_ids).tolist():
        here = np.flatnonzero(image_ids == image_id)
        pixels = torch.from_numpy(read_image(files[image_id])).permute(2, 0, 1).float()
        warped = warp(pixels, boxes[here], region).permute(0, 2, 3, 1)
        squares[here] = warped.round().clamp(0, 255).to(torch.uint8).numpy()
    return squares


# --- names -------------------------------------------------------------------------------------------------------


def parse_region(text: str) -> tuple[str, int]:
    """Split ``IMAGE:REGION`` into the name of the image and the number of the region.

    Raises:
        InputError: it has another form.
    """
    image, colon, region = text.rpartition(":")
    if not (colon and image and region.isdecimal()):
        raise InputError(f"{text}: IMAGE:REGION is expected, such as test_00012:3 for the fourth region of an image.")
    return image, int(region)


def check_region(region: int, image: ImageRecord, offsets: NDArray[np.int64], position: int) -> None:
    """Check that the image at ``position`` of the ``offsets`` of a split has the number ``region``.

    Raises:
        InputError: it has not.
    """
    count = int(offsets[position + 1] - offsets[position])
    if not 0 <= region < count:
        raise InputError(
            f"{image.file}: region {region} does not exist; there are {count}, counted from 0: first the objects "
            f"({len(image.boxes)}), then the proposals, best first."
        )
