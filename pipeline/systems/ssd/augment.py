"""Training samples of SSD: an expanded or cropped view in other colours, as a square, perhaps mirrored (section 2.2).

A window, the view of the image, is ``(x1, y1, x2, y2)`` in whole pixels of the image and may reach beyond it: expansion
and crop need no pixels until both are chosen. Sources: ``annotated_data_layer.cpp``, ``im_transforms.cpp``,
``sampler.cpp``.

torchvision's ``RandomPhotometricDistort`` has the same ranges, but shuffles the channels too, which the authors'
settings do not, and takes several times as long on a CPU. Its ``RandomZoomOut`` expands alike; its ``RandomIoUCrop``
draws both sides of a crop independently and picks the constraint before it knows which can be met.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.core.boxes import Boxes, area, iou
from pipeline.core.runtime import opencv
from pipeline.imaging import mirror
from pipeline.nets.backbones import MEAN
from pipeline.systems.square_batches import Sample
from pipeline.systems.ssd.params import SsdAugmentation

Window = NDArray[np.int64]

BRIGHTNESS, CONTRAST, SATURATION, HUE = 32.0, 0.5, 0.5, 18.0
# Trials for each constraint, and the shapes of a crop: width over height, relative to the image's.
TRIALS = 50
ASPECT = (0.5, 2.0)
# OpenCV's nearest, linear, cubic, area, Lanczos, all equally likely.
INTERPOLATIONS = 5
FILL = tuple(round(255 * mean) for mean in MEAN)


@dataclass(frozen=True)
class Augmentation:
    """Draws samples as squares of ``side`` pixels; an `Augment` of `pipeline.systems.square_batches`.

    The official code changes colours first and then expands, crops and resizes whole images. Here the window is chosen
    first, and colours change in what it shows, at the size at which it is shown: the same picture except for rounding,
    from far fewer pixels.
    """

    side: int
    settings: SsdAugmentation

    def __call__(
        self, image: NDArray[np.uint8], boxes: Boxes, labels: NDArray[np.int64], rng: np.random.Generator
    ) -> Sample:
        """Return a square image, its boxes and their labels: objects with their centre in the window, clipped."""
        height, width = image.shape[:2]
        window = expand(width, height, self.settings.expand, rng)
        window = crop(window, boxes, self.settings.crop_overlaps, self.settings.crop_scale, rng)
        kept = shown(window, boxes)
        square, source, target = self._draw(image, window, rng)
        moved = _project(boxes[kept], source, target)
        if self.settings.flip and rng.random() < 0.5:
            square, moved = square[:, ::-1], mirror(moved, self.side)
        visible = area(moved) > 0
        return square, moved[visible], labels[kept][visible]

    def _draw(
        self, image: NDArray[np.uint8], window: Window, rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], Window, Window]:
        """Return the square, and which rectangle of the image is drawn on which rectangle of it."""
        cv2 = opencv()
        height, width = image.shape[:2]
        source = np.clip(window, 0, [width, height] * 2)
        scale = self.side / (window[2:] - window[:2])
        target = np.rint((source - np.tile(window[:2], 2)) * np.tile(scale, 2)).astype(np.int64)
        square = np.full((self.side, self.side, 3), FILL, np.uint8)
        (x1, y1, x2, y2), (u1, v1, u2, v2) = source, target
        method = int(rng.integers(INTERPOLATIONS))
        if (target[2:] > target[:2]).all():  # else less than half a pixel is seen
            part = cv2.resize(image[y1:y2, x1:x2], (int(u2 - u1), int(v2 - v1)), interpolation=method)
            square[v1:v2, u1:u2] = distort(part, rng) if self.settings.photometric else part
        return square, source, target


def expand(width: int, height: int, limit: float, rng: np.random.Generator) -> Window:
    """Return a window around an image of ``width`` x ``height`` pixels, both sides 1 to ``limit`` times as long.

    Half of the windows are the image itself.
    """
    if rng.random() < 0.5:
        return np.array([0, 0, width, height])
    outer = np.floor(np.array([width, height]) * rng.uniform(1, limit))
    corner = np.floor(rng.random(2) * (outer - [width, height] + 1))
    return np.concatenate([-corner, outer - corner]).astype(np.int64)


def crop(
    window: Window, boxes: Boxes, overlaps: tuple[float, ...], scale: tuple[float, float], rng: np.random.Generator
) -> Window:
    """Return ``window`` itself or a part of it; all kinds that were possible are equally likely.

    A kind is an overlap of ``overlaps`` that one of ``boxes`` (n, 4) must have with the part, at least; 0 allows any
    part. Of each kind the first valid one of 50 random parts is taken, whose sides are in the geometric mean ``scale``
    times the window's. Without boxes no part is valid, as in the official code.
    """
    choices = [window]
    if len(boxes) and overlaps:
        parts = np.stack([_parts(window, scale, rng) for _ in overlaps])
        best = iou(parts.reshape(-1, 4), boxes).max(axis=1).reshape(len(overlaps), TRIALS)
        valid = best >= np.array(overlaps, np.float32)[:, None]
        choices += [parts[kind, valid[kind].argmax()] for kind in np.flatnonzero(valid.any(axis=1))]
    return choices[rng.integers(len(choices))]


def shown(window: Window, boxes: Boxes) -> NDArray[np.bool_]:
    """Return which of ``boxes`` (n, 4) have their centre in ``window``."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    inside = (centres >= window[:2]) & (centres < window[2:])
    return inside[:, 0] & inside[:, 1]


def _parts(window: Window, scale: tuple[float, float], rng: np.random.Generator) -> NDArray[np.int64]:
    """Return random parts of ``window``, ``(TRIALS, 4)``, at least one pixel large."""
    share = rng.uniform(*scale, TRIALS)
    # Clamped after the draw so that neither side is longer than the window's: many parts are as wide or as high as it.
    aspect = np.clip(rng.uniform(*ASPECT, TRIALS), share**2, share**-2)
    whole = (window[2:] - window[:2]).astype(np.float64)
    sides = np.stack([share * np.sqrt(aspect), share / np.sqrt(aspect)], axis=1) * whole
    sides = np.clip(np.floor(sides), 1, whole)
    corners = window[:2] + np.floor(rng.random((TRIALS, 2)) * (whole - sides + 1))
    return np.concatenate([corners, corners + sides], axis=1).astype(np.int64)


def _project(boxes: Boxes, source: Window, target: Window) -> Boxes:
    """Return ``boxes`` clipped to ``source``, as they lie where that rectangle is drawn on ``target``."""
    inside = np.clip(boxes, np.tile(source[:2], 2), np.tile(source[2:], 2))
    factors = (target[2:] - target[:2]) / np.maximum(1, source[2:] - source[:2])
    return ((inside - np.tile(source[:2], 2)) * np.tile(factors, 2) + np.tile(target[:2], 2)).astype(np.float32)


def distort(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return ``image`` (H, W, 3) uint8 RGB with each of four changes made half of the time.

    Brightness plus or minus up to 32, contrast and saturation times 0.5 to 1.5, hue turned by up to 18 of 180. Contrast
    comes second or last, with equal probability. Every step saturates at 0 and 255.
    """
    brightness = rng.uniform(-BRIGHTNESS, BRIGHTNESS) if rng.random() < 0.5 else 0.0
    contrast = rng.uniform(1 - CONTRAST, 1 + CONTRAST) if rng.random() < 0.5 else 1.0
    saturation = rng.uniform(1 - SATURATION, 1 + SATURATION) if rng.random() < 0.5 else 1.0
    hue = rng.uniform(-HUE, HUE) if rng.random() < 0.5 else 0.0
    image = _scale(image, 1.0, brightness)
    if rng.random() < 0.5:
        return _colour(_scale(image, contrast, 0.0), saturation, hue)
    return _scale(_colour(image, saturation, hue), contrast, 0.0)


def _scale(values: NDArray[np.uint8], factor: float, shift: float) -> NDArray[np.uint8]:
    """Return ``factor * values + shift``, rounded and saturated, by a table of the 256 results."""
    if factor == 1 and shift == 0:
        return values
    return _table(factor * np.arange(256) + shift)[values]


def _table(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _colour(image: NDArray[np.uint8], saturation: float, hue: float) -> NDArray[np.uint8]:
    cv2 = opencv()
    if saturation == 1 and hue == 0:
        return image
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)  # hue 0 to 179
    turned = np.mod(np.rint(np.arange(256) + hue), 180).astype(np.uint8)  # the official code stops at 0 only
    tables = np.stack([turned, _table(saturation * np.arange(256)), np.arange(256, dtype=np.uint8)], axis=-1)
    return np.asarray(cv2.cvtColor(cv2.LUT(hsv, tables[None]), cv2.COLOR_HSV2RGB), np.uint8)
