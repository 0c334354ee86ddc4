"""Pictures from files to batches, read by another thread while the detector works."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.core.runtime import read_ahead
from pipeline.data.images import UnreadableImageError, read_image
from pipeline.imaging import resize
from pipeline.predict.pictures import Picture

# A longer side is reduced to this before detection, the most that the papers' networks see (Fast R-CNN, section 5.2);
# the cost of selective search grows with the pixels. Boxes are given in the picture's own pixels all the same.
LONGEST_SIDE = 1000
# A shorter side is filled up to this share of the longer one before detection: of a strip three pixels high a network
# would have no map at all.
NARROWEST = 1 / 6
# Pictures that are read while the detector works: their pixels are in memory.
AHEAD = 4
# A batch ends where the pixels to be kept for drawing exceed this, 16 million: 48 MB.
BATCH_PIXELS = 1 << 24


@dataclass(frozen=True)
class Seen:
    """One picture that was read.

    Attributes:
        number: its place in the list, from 1: the image id of its results.
        picture: the file.
        size: ``(width, height)`` in pixels, upright.
        reduced: what the detector sees, ``(h, w, 3)`` uint8 RGB.
        factors: from its pixels to those of the picture, across and down.
        full: all its pixels, ``(height, width, 3)``, or None where they were not asked for.
    """

    number: int
    picture: Picture
    size: tuple[int, int]
    reduced: NDArray[np.uint8]
    factors: tuple[float, float]
    full: NDArray[np.uint8] | None


@dataclass(frozen=True)
class Unread:
    """One picture that could not be read."""

    picture: Picture
    reason: str


def batches(pictures: Sequence[Picture], size: int, keep_full: bool) -> Iterator[tuple[list[Seen], list[Unread]]]:
    """Yield the pictures in their order, up to ``size`` readable ones at a time, with the broken ones among them.

    Args:
        pictures: the files.
        size: of a batch.
        keep_full: whether all pixels of a large picture are needed afterwards.
    """
    seen: list[Seen] = []
    unread: list[Unread] = []
    pixels = 0
    numbered = enumerate(pictures, 1)
    for _, outcome in read_ahead(lambda item: _read(*item, keep_full), numbered, workers=1, ahead=AHEAD):
        if isinstance(outcome, Unread):
            unread.append(outcome)
            continue
        seen.append(outcome)
        pixels += outcome.size[0] * outcome.size[1] if keep_full else 0
        if len(seen) == size or pixels > BATCH_PIXELS:
            yield seen, unread
            seen, unread, pixels = [], [], 0
    if seen or unread:
        yield seen, unread


def _read(number: int, picture: Picture, keep_full: bool) -> Seen | Unread:
    try:
        image = read_image(picture.path)
    except UnreadableImageError as error:
        return Unread(picture, error.reason)
    height, width = image.shape[:2]
    longest = max(height, width)
    reduced = resize(image, LONGEST_SIDE / longest) if longest > LONGEST_SIDE else image
    factors = width / reduced.shape[1], height / reduced.shape[0]
    return Seen(number, picture, (width, height), _filled_up(reduced), factors, image if keep_full else None)


def _filled_up(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Repeat the last row or column of an image narrower than `NARROWEST`."""
    height, width = image.shape[:2]
    least = round(max(height, width) * NARROWEST)
    missing = ((0, max(0, least - height)), (0, max(0, least - width)), (0, 0))
    return np.pad(image, missing, mode="edge") if np.any(missing) else image
