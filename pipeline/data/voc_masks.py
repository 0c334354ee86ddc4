"""The masks of PASCAL VOC: ``SegmentationObject/NAME.png``, where each object of an image has a value of its own.

0 is the background, 255 the void of borders and of what is not annotated.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.core.boxes import from_voc, iou
from pipeline.core.errors import InputError
from pipeline.data.masks import VOID, bounds, encode, numbers, read_values
from pipeline.data.source import SourceObject

FOLDER = "SegmentationObject"


def with_masks(objects: Sequence[SourceObject], path: Path, name: str, annotation: str) -> tuple[SourceObject, ...]:
    """Give each mask of an image's PNG to the annotated object whose box it overlaps most.

    Each mask goes to another object, so that the sum of the overlaps (IoU with the box around the mask) is greatest.
    Objects to ignore, VOC's difficult ones, may have none.

    Args:
        objects: with VOC's corners.
        path: the PNG file, which errors call ``name``.
        annotation: the file that the objects are from.

    Raises:
        InputError: masks and objects do not match.
    """
    from scipy.optimize import linear_sum_assignment

    values = read_values(path, name)
    found = numbers(values)
    masks = [encode(values == number, name) for number in found]
    corners = np.clip(np.reshape([item.corners for item in objects], (-1, 4)), 0, max(values.shape))
    overlaps = np.nan_to_num(iou([bounds(mask) for mask in masks], from_voc(corners)))  # (masks, objects)
    owner = dict(zip(*(side.tolist() for side in linear_sum_assignment(overlaps, maximize=True)), strict=True))
    for i, number in enumerate(found):
        if i not in owner or not overlaps[i, owner[i]]:
            right = f"an object for each of the {len(found)} masks would be right"
            raise InputError(f"{name}: the value {number} is in no box of {annotation} that no other takes; {right}.")
    mask_of = {position: masks[i] for i, position in owner.items()}
    for position, item in enumerate(objects):
        if position not in mask_of and not item.ignore:
            right = "one for each object that is not difficult would be right"
            raise InputError(f"{name}: has no mask of the {item.name} at {item.where}; {right}.")
    return tuple(replace(item, mask=mask_of.get(position)) for position, item in enumerate(objects))


def write_masks(folder: Path, file: str, values: NDArray[np.uint8]) -> None:
    """Write ``SegmentationObject/STEM.png`` for the image ``JPEGImages/file``, in VOC's colours.

    ``values`` are ``(H, W)`` uint8: 0 for the background, the number of an object, from 1, for its pixels.
    """
    image = Image.fromarray(values)
    image.putpalette(_colours().tobytes())
    image.save((folder / FOLDER / file).with_suffix(".png"))


def _colours() -> NDArray[np.uint8]:
    """Return VOC's palette, ``(256, 3)``: the bits of a value fill red, green and blue in turn, the highest first."""
    value = np.arange(VOID + 1)[:, None, None]
    bit, channel = np.arange(8)[:, None], np.arange(3)
    return ((value >> (3 * bit + channel) & 1) << (7 - bit)).sum(axis=1).astype(np.uint8)
