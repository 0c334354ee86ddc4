"""Whole images as networks see them, and the order in which training sees them.

Region-based networks keep the aspect: the shorter side is fixed, the longer one bounded, and images of several sizes
are padded to one batch. Single-shot networks see a square, to which image and boxes are stretched.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.core.boxes import Boxes, as_boxes
from pipeline.core.runtime import item_rng, opencv
from pipeline.nets.backbones import normalise


def scale_factor(width: int, height: int, short: int, longest: int) -> float:
    """Return the factor that makes the shorter side ``short`` pixels, or the longer one ``longest`` if that is less.

    Source: Fast R-CNN, section 4.1 (600 and 1,000 pixels); ``lib/utils/blob.py``.
    """
    factor = short / min(width, height)
    return longest / max(width, height) if round(factor * max(width, height)) > longest else factor


def resized_shape(width: int, height: int, factor: float) -> tuple[int, int]:
    """Return ``(height, width)`` of an image of ``width`` x ``height`` pixels after `resize`."""
    return max(1, round(height * factor)), max(1, round(width * factor))


def resize(image: NDArray[np.uint8], factor: float) -> NDArray[np.uint8]:
    """Resize ``image`` (H, W, 3) bilinearly, without antialiasing as the official codes do.

    Grey levels are rounded, and the size is whole; ``lib/utils/blob.py`` resizes floats by the factor itself, which
    differs by less than half a level on average.
    """
    height, width = resized_shape(image.shape[1], image.shape[0], factor)
    if (height, width) == image.shape[:2]:
        return image
    cv2 = opencv()
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def pixels(image: NDArray[np.uint8], factor: float, mirrored: bool = False) -> torch.Tensor:
    """Return ``image`` (H, W, 3) RGB, mirrored if wanted and resized by ``factor``, as uint8 ``(3, h, w)``."""
    shown = image[:, ::-1] if mirrored else image
    return torch.from_numpy(np.ascontiguousarray(resize(np.ascontiguousarray(shown), factor))).permute(2, 0, 1)


def mirror(boxes: Boxes, width: float) -> Boxes:
    """Return ``boxes`` (N, 4) as they lie in the mirrored image of ``width`` pixels."""
    x1, y1, x2, y2 = boxes.T
    return np.stack([width - x2, y1, width - x1, y2], axis=1).astype(np.float32)


def batch_shape(shapes: Sequence[tuple[int, int]], smallest: int = 1) -> tuple[int, int]:
    """Return the common ``(height, width)`` to which images of these shapes are padded, each ``smallest`` or more."""
    return max(smallest, *(height for height, _ in shapes)), max(smallest, *(width for _, width in shapes))


def pad(
    images: Sequence[torch.Tensor], device: torch.device, smallest: int = 1, shape: tuple[int, int] | None = None
) -> torch.Tensor:
    """Normalise uint8 images ``(3, h, w)`` and pad them right and below to one float32 batch ``(N, 3, H, W)``.

    The padding is zero after normalisation, the mean colour (``lib/utils/blob.py`` of Fast R-CNN). No side of the batch
    is below ``smallest``: the long side's limit can make a strip so thin that a network without padding has no cell.
    ``shape`` is the `batch_shape` where these are not all images of the batch.
    """
    height, width = shape or batch_shape([(image.shape[1], image.shape[2]) for image in images], smallest)
    batch = torch.zeros(len(images), 3, height, width, device=device).contiguous(memory_format=torch.channels_last)
    for place, image in zip(batch, images, strict=True):
        place[:, : image.shape[1], : image.shape[2]] = normalise(image.to(device))
    return batch


def stretch(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Resize ``image`` (H, W, 3) to ``(side, side, 3)``, bilinearly without antialiasing, as the official codes do."""
    if image.shape[:2] == (side, side):
        return image
    cv2 = opencv()
    return np.asarray(cv2.resize(image, (side, side), interpolation=cv2.INTER_LINEAR), np.uint8)


def as_images(squares: Sequence[NDArray[np.uint8]]) -> torch.Tensor:
    """Return squares ``(S, S, 3)`` as one uint8 batch ``(N, 3, S, S)``, channels last in memory."""
    return torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2)


def to_square(boxes: Boxes, width: float, height: float, side: float) -> Boxes:
    """Return ``boxes`` (N, 4) of an image of ``width`` x ``height`` pixels as they lie in the square."""
    return as_boxes(boxes) * _factors(width, height, side)


def from_square(boxes: Boxes, width: float, height: float, side: float) -> Boxes:
    """Invert `to_square`."""
    return as_boxes(boxes) / _factors(width, height, side)


def _factors(width: float, height: float, side: float) -> NDArray[np.float32]:
    return np.array([side / width, side / height] * 2, np.float32)


class ImageOrder:
    """Passes over ``count`` images, each in another random order; with ``flip`` a pass holds mirrored copies too.

    Each step can be computed by itself. With ``wide`` the images of a step are all wide or all tall, but for the steps
    where a pass or one of the two kinds ends, so that padding a batch to one size costs little
    (``lib/roi_data_layer/layer.py`` of py-faster-rcnn; Fast R-CNN's code does not do so).

    Args:
        count: number of images, one or more.
        per_step: images a step.
        flip: whether the set is doubled by mirrored copies (Fast R-CNN, section 2.3).
        seed: decides all orders.
        wide: ``(count,)`` bool, which images are at least as wide as high.
    """

    def __init__(self, count: int, per_step: int, flip: bool, seed: int, wide: NDArray[np.bool_] | None = None) -> None:
        self._count, self._per_step, self._flip, self._seed = count, per_step, flip, seed
        # There is nothing to group where all are alike.
        self._wide = None if wide is None or wide.all() or not wide.any() else np.tile(wide, 2 if flip else 1)
        self._pass = lru_cache(maxsize=2)(self._shuffled)

    def __call__(self, step: int) -> list[tuple[int, bool]]:
        """Return the positions of the images of ``step`` and whether each is mirrored."""
        size = self._count * (2 if self._flip else 1)
        positions = range(step * self._per_step, (step + 1) * self._per_step)
        drawn = [int(self._pass(position // size)[position % size]) for position in positions]
        return [(entry % self._count, entry >= self._count) for entry in drawn]

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name != "_pass"}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._pass = lru_cache(maxsize=2)(self._shuffled)

    def _shuffled(self, number: int) -> NDArray[np.int64]:
        rng = item_rng(self._seed, "pass", number)
        order = rng.permutation(self._count * (2 if self._flip else 1))
        if self._wide is None:
            return order
        order = np.concatenate([order[self._wide[order]], order[~self._wide[order]]])
        # The first images may complete the last step of the pass before, the last ones begin a step.
        first = min(len(order), -number * len(order) % self._per_step)
        steps = (len(order) - first) // self._per_step
        last = first + steps * self._per_step
        rows = rng.permutation(order[first:last].reshape(steps, self._per_step))
        return np.concatenate([order[:first], rows.reshape(-1), order[last:]])
