"""Images that are in two splits, or nearly: what a detector has seen in training tells nothing about it in a test.

Two files with the same hash are the same image. Others are compared by a difference hash, which hardly changes when a
picture is resized, compressed again or made a little brighter; a crop or a mirror image is another picture to it.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.core.runtime import progress, worker_count
from pipeline.data.images import read_image
from pipeline.data.index import ImageRecord, Index

BITS = 64
NEAR = 6  # bits of 64; docs/seeing-your-data.md has what two different photographs differ by
EVEN = 8  # of 255 grey levels: a picture with no greater difference has nothing to compare
BLOCK = 512  # images compared with all others at a time


@dataclass(frozen=True)
class Twins:
    """An image and the nearest one of another split.

    Attributes:
        splits: of both, in the order train, val, test.
        images: both.
        bits: in which their hashes differ, 0 to `NEAR`; -1 where the files are the same, byte for byte.
    """

    splits: tuple[str, str]
    images: tuple[ImageRecord, ImageRecord]
    bits: int


@dataclass(frozen=True)
class Found:
    """All twins, nearest first, and how many images are too even to be compared."""

    twins: list[Twins]
    even: int


def find(splits: Mapping[str, Index], root: Path, workers: int = 0) -> Found:
    """Return, for each image of a split, its nearest image in each split before where that is nearly the same.

    Args:
        splits: the indices, in the order train, val, test.
        root: the folder below which they name their files.
        workers: threads, 0 for one per core.

    Raises:
        UnreadableImageError: an image is missing or broken.
    """
    images = {split: index.images for split, index in splits.items()}
    files = [root / image.file for records in images.values() for image in records]
    with ThreadPoolExecutor(worker_count(workers)) as pool:
        signs = list(progress(pool.map(_signs, files), "comparing images", total=len(files)))
    ends = np.cumsum([len(records) for records in images.values()])
    of = dict(zip(images, np.split(np.array(signs, np.int8).reshape(-1, BITS), ends[:-1]), strict=True))
    twins = [
        twin
        for first, second in combinations(images, 2)
        for twin in _between((first, second), (images[first], images[second]), (of[first], of[second]))
    ]
    return Found(sorted(twins, key=lambda twin: twin.bits), sum(not sign.any() for sign in signs))


def difference_hash(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return the 64 bits of ``pixels`` (H, W, 3): whether a grey pixel is darker than its right neighbour, row by row.

    The picture is reduced to 8 rows of 9 pixels. Source: N. Krawetz, Kind of like that, 2013 (dHash).
    """
    small = _reduced(pixels)
    return np.asarray(small[:, :-1] < small[:, 1:]).reshape(-1)


def _reduced(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    import cv2

    # Reduced first: the mean of the grey levels is the grey level of the mean, but for rounding.
    small = cv2.resize(pixels, (9, 8), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), np.uint8)


def _signs(file: Path) -> NDArray[np.int8]:
    """Return the difference hash of a file as 64 times 1 or -1; 0 where the picture is too even."""
    pixels = read_image(file)
    if np.ptp(_reduced(pixels)) <= EVEN:
        return np.zeros(BITS, np.int8)
    return np.where(difference_hash(pixels), 1, -1).astype(np.int8)


def nearest(signs: NDArray[np.int8], others: NDArray[np.int8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return for each of ``signs`` (N, 64) the position of the nearest of ``others`` (M, 64), and the bits that differ.

    Hashes are 1 and -1, so that a matrix product counts the bits that agree less those that differ: all pairs of 20,000
    images take seconds. Rows of 0 are 32 bits from everything. Both results have shape ``(N,)``; ``M`` is 1 or more.
    """
    columns = others.T.astype(np.float32)
    positions, agreement = [np.zeros(0, np.int64)], [np.zeros(0, np.float32)]
    for start in range(0, len(signs), BLOCK):
        products = signs[start : start + BLOCK].astype(np.float32) @ columns
        positions.append(products.argmax(axis=1))
        agreement.append(products.max(axis=1))
    return np.concatenate(positions), ((BITS - np.concatenate(agreement)) / 2).astype(np.int64)


def _between(
    names: tuple[str, str],
    records: tuple[tuple[ImageRecord, ...], tuple[ImageRecord, ...]],
    signs: tuple[NDArray[np.int8], NDArray[np.int8]],
) -> list[Twins]:
    """Return the twins between two splits, one at most for each image of the second."""
    if not records[0]:
        return []
    same = {image.sha256: image for image in records[0]}
    twins = []
    for image, position, bits in zip(records[1], *nearest(signs[1], signs[0]), strict=True):
        if image.sha256 in same:
            twins.append(Twins(names, (same[image.sha256], image), -1))
        elif bits <= NEAR:
            twins.append(Twins(names, (records[0][position], image), int(bits)))
    return twins
