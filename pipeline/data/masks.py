"""Masks: which pixels are an object's, by COCO's rules, which faster-coco-eval computes.

Annotations have polygons, run lengths or the values of a PNG file. The index has one form, COCO's compressed run
lengths: a text of about a hundred characters for an object, where a polygon of numbers takes kilobytes of memory.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, UnidentifiedImageError

from pipeline.core.errors import InputError
from pipeline.data.formats.shapes import Corners, bounds_of_points

VOID = 255  # of an 8-bit PNG: neither object nor background, as the borders in VOC
VALUES = ("1", "L", "P", "I", "I;16", "I;16B")  # Pillow's modes with one whole number a pixel

Polygons = tuple[NDArray[np.float64], ...]
"""The outlines of an object's parts, ``(K, 2)`` each: x and y in the unit of the object's corners."""


@dataclass(frozen=True)
class RunLengths:
    """How many pixels are alternately background and object, down the columns: COCO's ``counts``, as text or numbers.

    They are as annotated: whether they fill ``width`` x ``height`` pixels shows when they are compressed. ``file`` is
    the PNG that they are from, if any.
    """

    width: int
    height: int
    counts: str | list[int]
    file: str | None = None


Mask = Polygons | RunLengths


def encode(pixels: NDArray[np.bool_], file: str | None = None) -> RunLengths:
    """Return the run lengths of a mask, ``(H, W)`` bool, from a ``file``."""
    from faster_coco_eval.core import mask

    height, width = pixels.shape
    counts = mask.encode(np.asfortranarray(pixels, np.uint8))["counts"]
    return RunLengths(width, height, counts.decode(), file)


def compress(item: Mask, width: int, height: int) -> str | None:
    """Return the compressed run lengths of a mask in an image of ``width`` x ``height``; None without any pixel.

    Polygons are in pixels of the image; what lies outside of it is cut off.

    Raises:
        ValueError: run lengths do not fill their pixels.
    """
    from faster_coco_eval.core import mask

    if isinstance(item, RunLengths):
        compressed = _compressed(item)
        mask.decode(compressed)  # which alone looks for missing pixels
    else:
        compressed = mask.merge(mask.frPyObjects([part.ravel().tolist() for part in item], height, width))
    return compressed["counts"].decode() if mask.area(compressed) else None


def bounds(item: Mask) -> Corners:
    """Return the corners around a mask: those of the polygons' points, or of the pixels, the last ones included.

    Raises:
        ValueError: run lengths are longer than their pixels.
    """
    from faster_coco_eval.core import mask

    if isinstance(item, RunLengths):
        x, y, width, height = mask.toBbox(_compressed(item)).tolist()
        return x, y, x + width, y + height
    return bounds_of_points(np.concatenate(item).tolist())


def _compressed(item: RunLengths) -> dict:
    """Return COCO's mapping with ``size`` and ``counts``, compressed."""
    from faster_coco_eval.core import mask

    rle = {"size": [item.height, item.width], "counts": item.counts}
    return mask.merge([rle]) if isinstance(item.counts, str) else mask.frPyObjects(rle, item.height, item.width)


def as_polygon(points: ArrayLike) -> Polygons:
    """Return an object of one part with these points, ``(K, 2)``."""
    return (np.asarray(points, np.float64),)


def read_values(file: Path | BinaryIO, name: str) -> NDArray[np.integer]:
    """Return the values of a PNG file's pixels, ``(H, W)``: grey values, or positions in its palette.

    Raises:
        InputError: the file cannot be decoded, or has colours without a palette; the message calls it ``name``.
    """
    try:
        with Image.open(file) as image:
            mode, values = image.mode, np.asarray(image)
    except UnidentifiedImageError as error:  # its message holds the whole path
        raise InputError(f"{name}: the mask is no image that Pillow knows; a PNG would be right.") from error
    except Exception as error:  # broken files make Pillow's decoders raise struct, zlib and other errors
        raise InputError(f"{name}: the mask cannot be decoded ({error}); a PNG would be right.") from error
    if mode not in VALUES:
        raise InputError(f"{name}: has pixels of the mode {mode}; a palette, or grey values, would be right.")
    return values.astype(np.uint8) if mode == "1" else values


def void(values: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Return which pixels are neither object nor background; of a PNG with 16 bits none."""
    return (values == VOID) & (values.dtype == np.uint8)


def numbers(values: NDArray[np.integer]) -> list[int]:
    """Return the different values of a PNG's pixels, sorted, without the background's 0 and without void."""
    return np.unique(values[(values != 0) & ~void(values)]).tolist()
