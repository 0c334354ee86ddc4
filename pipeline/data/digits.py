"""The built-in dataset: real handwritten digits on real photographs, written as a VOC folder; nothing is downloaded.

The digits are scikit-learn's copy of the UCI set (1,797 scans of 8x8 pixels, Alpaydin and Kaynak 1998); the photographs
ship inside the scikit-image and scikit-learn packages. Image ``i`` of a split is a function of the seed, the split and
``i`` alone, and the three splits never share a digit. Pixels are computed in whole numbers, by Pillow and here, so
that no floating-point unit rounds them differently.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.core.boxes import as_boxes, intersection
from pipeline.core.errors import InputError
from pipeline.core.runtime import item_rng, progress
from pipeline.core.sections import Digits
from pipeline.data.images import read_image
from pipeline.data.index import SPLITS
from pipeline.data.masks import VOID
from pipeline.data.voc import VocObject, write_annotation, write_image_set
from pipeline.data.voc_masks import FOLDER, write_masks

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
PHOTOGRAPHS = (
    ("skimage", "data/astronaut.png"),
    ("skimage", "data/chelsea.png"),
    ("skimage", "data/coffee.png"),
    ("skimage", "data/motorcycle_left.png"),
    ("skimage", "data/rocket.jpg"),
    ("sklearn", "datasets/images/china.jpg"),
    ("sklearn", "datasets/images/flower.jpg"),
)
POOL_SHARES = (0.5, 0.2, 0.3)  # of the 1,797 scans, for train, val and test; fixed, so that no count moves a scan
STROKE = 90  # of 240: how dark an upscaled scan must be to count as ink; lower is bolder
OPAQUE = 128  # of 255: how opaque a pixel of a digit must be to belong to its box and mask
CROPS = (0.5, 1.5)  # sides of the squares cut from the photographs, in image sides
CLEARANCE = 3  # pixels of background between the boxes of two digits
PLACEMENTS = 40  # attempts to find room for a digit before it is left out
INKS = 12  # random colours of which the most contrasting is taken


@dataclass(frozen=True)
class Scans:
    """The handwritten digits of one split: ``images`` (N, 8, 8) uint8, ink is 16, and ``labels`` (N,) from 0 to 9."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


def write_digits(folder: Path, digits: Digits, seed: int) -> None:
    """Write the dataset below ``folder`` in VOC layout: JPEGImages, Annotations, SegmentationObject, ImageSets/Main.

    Images are square PNG files of ``digits.size`` pixels with ``digits.objects`` digits (a digit that finds no room is
    left out) whose longer side is ``digits.side`` pixels, small ones more frequent. Boxes enclose the visible ink, and
    masks are its pixels.

    Raises:
        InputError: a range has its ends the wrong way round, digits are larger than images or more than a mask tells
            apart.
    """
    for key, (low, high) in (("objects", digits.objects), ("side", digits.side)):
        if low > high:
            raise InputError(f"data.digits.{key}: [{low}, {high}] has the larger number first; least, most is right.")
    if digits.side[1] > digits.size:
        raise InputError(f"data.digits.side: {digits.side[1]} pixels do not fit into images of {digits.size}.")
    if digits.objects[1] >= VOID:
        raise InputError(f"data.digits.objects: {digits.objects[1]} digits are too many; VOC's masks tell 254 apart.")
    photographs = load_photographs()
    for name in ("JPEGImages", "Annotations", FOLDER, "ImageSets/Main"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for split, scans in load_scans(seed).items():
        count = getattr(digits, split)
        names = [f"{split}_{i:05d}" for i in range(count)]
        for i, name in progress(list(enumerate(names)), f"digits, {split}"):
            image, objects, instances = draw(photographs, scans, digits, item_rng(seed, "digits", split, i))
            Image.fromarray(image).save(folder / "JPEGImages" / f"{name}.png")
            write_annotation(folder, f"{name}.png", digits.size, digits.size, objects)
            write_masks(folder, f"{name}.png", instances)
        write_image_set(folder, split, names)


def load_photographs() -> list[Image.Image]:
    """Return the colour photographs that ship inside scikit-image and scikit-learn."""
    return [Image.fromarray(read_image(_package_folder(package) / file)) for package, file in PHOTOGRAPHS]


def load_scans(seed: int) -> dict[str, Scans]:
    """Return the handwritten digits of each split, disjoint."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    order = item_rng(seed, "digits", "pools").permutation(len(images))
    edges = np.rint(np.cumsum(POOL_SHARES)[:-1] * len(images)).astype(int)
    return {
        split: Scans(images[pool].reshape(-1, 8, 8).astype(np.uint8), labels[pool])
        for split, pool in zip(SPLITS, np.split(order, edges), strict=True)
    }


def draw(
    photographs: Sequence[Image.Image], scans: Scans, digits: Digits, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], list[VocObject], NDArray[np.uint8]]:
    """Draw one image.

    Returns it as ``(size, size, 3)`` uint8 RGB, its objects, and the number of the object that each pixel shows,
    ``(size, size)`` uint8: from 1, where a digit is at least half opaque, else 0.
    """
    canvas = _background(photographs, digits.size, rng)
    instances = np.zeros(canvas.shape[:2], np.uint8)
    objects: list[VocObject] = []
    for _ in range(rng.integers(digits.objects[0], digits.objects[1] + 1)):
        label = int(rng.integers(10))
        scan = scans.images[rng.choice(np.flatnonzero(scans.labels == label))]
        mask = ink(scan, _side(digits, rng), digits.side[0] // 2)
        box = _place(mask, [item.box for item in objects], digits.size, rng)
        if box is None:
            continue
        x1, y1, x2, y2 = box
        canvas[y1:y2, x1:x2] = _blend(canvas[y1:y2, x1:x2], mask, rng)
        objects.append(VocObject(NAMES[label], box))
        instances[y1:y2, x1:x2][mask >= OPAQUE] = len(objects)
    return canvas, objects, instances


def ink(scan: NDArray[np.uint8], side: int, min_side: int = 1) -> NDArray[np.uint8]:
    """Return a smooth alpha mask of a scan, ``(h, w)`` uint8, cropped to the visible ink.

    Its longer side is ``side`` pixels, or more where the shorter one, as of a slim "one", would be below ``min_side``.
    """
    upscaled = Image.fromarray(np.pad(scan * 15, 2)).resize((192, 192), Image.Resampling.BICUBIC)
    stroke = _crop(np.where(np.asarray(upscaled) >= STROKE, np.uint8(255), np.uint8(0)))
    scale = max(side / max(stroke.shape), min_side / min(stroke.shape))
    height, width = (round(length * scale) for length in stroke.shape)
    return _crop(np.asarray(Image.fromarray(stroke).resize((width, height), Image.Resampling.BOX)))


def _crop(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Cut away the outer rows and columns in which nothing is at least half opaque."""
    rows, columns = (np.flatnonzero((mask >= OPAQUE).any(axis=axis)) for axis in (1, 0))
    return mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _side(digits: Digits, rng: np.random.Generator) -> int:
    """Draw a side, small ones more often: its logarithm is uniform."""
    return round(float(np.exp(rng.uniform(*np.log(digits.side)))))


def _background(photographs: Sequence[Image.Image], size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Cut a square of random size and place from a random photograph, perhaps mirrored, at ``size`` pixels."""
    photograph = photographs[int(rng.integers(len(photographs)))]
    low, high = (min(round(share * size), *photograph.size) for share in CROPS)
    side = int(rng.integers(low, high + 1))
    x, y = (int(rng.integers(length - side + 1)) for length in photograph.size)
    crop = photograph.resize((size, size), Image.Resampling.BILINEAR, box=(x, y, x + side, y + side))
    pixels = np.array(crop)
    return pixels[:, ::-1].copy() if rng.integers(2) else pixels


def _place(
    mask: NDArray[np.uint8], taken: Sequence[tuple[int, int, int, int]], size: int, rng: np.random.Generator
) -> tuple[int, int, int, int] | None:
    """Return a box in whole pixels for a mask, clear of the ``taken`` boxes; None where there is no room."""
    height, width = mask.shape
    if max(height, width) > size:
        return None
    for _ in range(PLACEMENTS):
        x, y = int(rng.integers(size - width + 1)), int(rng.integers(size - height + 1))
        box = (x, y, x + width, y + height)
        grown = as_boxes([box]) + np.array([-CLEARANCE, -CLEARANCE, CLEARANCE, CLEARANCE], np.float32)
        if not intersection(grown, as_boxes(taken)).any():
            return box
    return None


def _blend(patch: NDArray[np.uint8], mask: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Paint the mask onto the patch in the most contrasting of several random colours.

    A colour's contrast is the tenth percentile of its distances to the patch's pixels.
    """
    colours = rng.integers(0, 256, size=(INKS, 3))
    distance = np.abs(patch.reshape(-1, 1, 3).astype(np.int64) - colours).sum(axis=2)  # (pixels, INKS)
    colour = colours[np.sort(distance, axis=0)[len(distance) // 10].argmax()]
    alpha = mask[:, :, None].astype(np.int64)
    return ((patch * (255 - alpha) + colour * alpha + 127) // 255).astype(np.uint8)


def _package_folder(package: str) -> Path:
    """Return where a package is installed, without importing it."""
    spec = find_spec(package)
    assert spec is not None, package
    assert spec.submodule_search_locations, package
    return Path(spec.submodule_search_locations[0])
