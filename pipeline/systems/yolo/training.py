"""Random views of an image for training: moved, scaled, mirrored, brighter or paler (section 2.2).

Training of YOLO, end to end (section 2.2).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Unpack

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.core.boxes import Boxes, area, clip
from pipeline.core.part import WHOLE, Part
from pipeline.core.runtime import opencv
from pipeline.data.images import ImageCache
from pipeline.data.index import ImageRecord
from pipeline.systems.square_batches import SquareBatches, unchanged
from pipeline.systems.square_training import train_on_squares
from pipeline.systems.yolo.loss import TERMS, CellTargets, cell_targets, yolo_losses
from pipeline.systems.yolo.network import Yolo
from pipeline.systems.yolo.params import YoloAugmentation, YoloTraining
from pipeline.training import Run
from pipeline.training_images import TrainingImages


@dataclass(frozen=True)
class YoloAugment:
    """The augmentation of darknet, an `Augment` of `pipeline.systems.square_batches`; the image comes out as a square.

    Objects come in random order: of several in one cell the first is trained on (`loss.cell_targets`).

    Attributes:
        side: of the square, in pixels.
        settings: how much.
    """

    side: int
    settings: YoloAugmentation

    def __call__(
        self, image: NDArray[np.uint8], boxes: Boxes, labels: NDArray[np.int64], rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], Boxes, NDArray[np.int64]]:
        """Return another view of the image, its objects cut at the border; those outside are gone."""
        height, width = image.shape[:2]
        window = _window(width, height, self.settings.jitter, rng)
        mirrored = self.settings.flip and rng.random() < 0.5
        view = cut(image, window, self.side, mirrored)
        moved = clip(boxes_in(boxes, window, self.side, mirrored), self.side, self.side)
        view = recolour(view, _factor(self.settings.saturation, rng), _factor(self.settings.exposure, rng))
        shown = rng.permutation(np.flatnonzero(area(moved) > 0))
        return view, moved[shown], labels[shown]


Window = tuple[float, float, float, float]


def cut(image: NDArray[np.uint8], window: Window, side: int, mirrored: bool) -> NDArray[np.uint8]:
    """Return the ``window`` (x1, y1, x2, y2) of ``image`` (H, W, 3), stretched to a square; black outside the image."""
    cv2 = opencv()
    x1, y1, x2, y2 = window
    along_x, along_y = side / (x2 - x1), side / (y2 - y1)
    # Pixel centres are half a pixel from the corner that a box's coordinates count from.
    matrix = np.array([[along_x, 0, (0.5 - x1) * along_x - 0.5], [0, along_y, (0.5 - y1) * along_y - 0.5]])
    if mirrored:
        matrix[0] = [-along_x, 0, side - 1 - matrix[0, 2]]
    return np.asarray(cv2.warpAffine(image, matrix, (side, side), flags=cv2.INTER_LINEAR), np.uint8)


def boxes_in(boxes: Boxes, window: Window, side: int, mirrored: bool) -> Boxes:
    """Return ``boxes`` (N, 4) of the image as they lie in `cut`, not clipped."""
    x1, y1, x2, y2 = window
    moved = (boxes - np.array([x1, y1] * 2, np.float32)) * np.array(
        [side / (x2 - x1), side / (y2 - y1)] * 2, np.float32
    )
    if mirrored:
        moved[:, [0, 2]] = side - moved[:, [2, 0]]
    return moved


def recolour(image: NDArray[np.uint8], saturation: float, exposure: float) -> NDArray[np.uint8]:
    """Multiply saturation and value of ``image`` (H, W, 3) RGB by factors, in HSV.

    Neither is limited, but the channels that come out are (``levels_image_kernel`` of darknet), so what is bright turns
    white. With the hue fixed each channel's distance from the greatest of its pixel is multiplied: nothing is converted
    to HSV and back.
    """
    cv2 = opencv()
    value = cv2.merge([np.maximum.reduce(cv2.split(image))] * 3)
    own = exposure * saturation
    return np.asarray(cv2.addWeighted(image, own, value, exposure - own, 0), np.uint8)  # rounds, stops at 0 and 255


def _window(width: int, height: int, jitter: float, rng: np.random.Generator) -> Window:
    """Move each side of the image by up to ``jitter`` of its width or height, in or out."""
    left, right = rng.uniform(-jitter, jitter, 2) * width
    top, bottom = rng.uniform(-jitter, jitter, 2) * height
    return left, top, width - right, height - bottom


def _factor(most: float, rng: np.random.Generator) -> float:
    """Return a factor from 1 to ``most``, or one over it."""
    factor = rng.uniform(1, most)
    return float(factor if rng.random() < 0.5 else 1 / factor)


@dataclass(frozen=True)
class CellBatch:
    """A step's images and targets.

    Attributes:
        images: ``(N, 3, side, side)`` uint8 RGB, channels last in memory.
        targets: of the cells that have an object.
        image_ids: of the images.
    """

    images: torch.Tensor
    targets: CellTargets
    image_ids: tuple[int, ...]


@dataclass(frozen=True)
class CellBatches:
    """Makes the batch of a step; objects are assigned to cells here, where the loader's processes are.

    Attributes:
        squares: makes the images and objects.
        side: of the square, in pixels.
        grid: cells along each side.
    """

    squares: SquareBatches
    side: int
    grid: int

    def __call__(self, step: int, part: Part = WHOLE) -> CellBatch:
        """Return the batch of ``step``, or a part of it."""
        batch = self.squares(step, part)
        targets = cell_targets(batch.boxes, batch.labels, self.side, self.grid)
        return CellBatch(batch.images, targets, batch.image_ids)


def cell_batches(
    network: Yolo,
    records: Sequence[ImageRecord],
    images: ImageCache,
    settings: YoloTraining,
    seed: int,
    *,
    held_out: bool = False,
) -> CellBatches:
    """Return what makes the batches that `train_yolo` trains on, or those of ``held_out`` images, not augmented.

    Raises:
        InputError: no image has an object to train on.
    """
    side = network.shape.side
    squares = SquareBatches(
        records,
        images,
        unchanged if held_out else YoloAugment(side, settings.augment),
        side=side,
        per_step=settings.batch,
        difficult=settings.difficult,
        seed=seed,
    )
    return CellBatches(squares, side, network.grid)


def train_yolo(
    network: Yolo,
    records: Sequence[ImageRecord],
    images: ImageCache,
    settings: YoloTraining,
    held_out: TrainingImages | None = None,
    **run: Unpack[Run],
) -> None:
    """Train ``network`` in place; ``held_out`` are the images of its schedule's ``validation_batches``."""
    train_on_squares(
        network,
        cell_batches,
        records,
        images,
        settings,
        held_out,
        losses=losses,
        counts=counts,
        new=("head.", "fc."),
        title="training YOLO",
        **run,
    )


def counts(batch: CellBatch) -> Mapping[str, int]:
    """Return the number of images, by which `yolo_losses` divides every term."""
    return dict.fromkeys(TERMS, len(batch.images))


def losses(network: Yolo, batch: CellBatch, settings: YoloTraining) -> Mapping[str, torch.Tensor]:
    """Return the terms of the loss, weighted."""
    return yolo_losses(network.split(network(batch.images)), batch.targets, network.grid, settings.weights)
