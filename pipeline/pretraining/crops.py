"""Object crops for supervised pre-training: every object of the training images, and some background."""

from collections.abc import Sequence

import numpy as np

from pipeline.boxes import iou
from pipeline.data.image_cache import ImageCache
from pipeline.data.index import ImageRecord
from pipeline.features.window_batches import WindowBatch, collect
from pipeline.features.windows import Windows
from pipeline.params.backbone import Pretrain
from pipeline.runtime import item_rng

# A background crop shares less than this with every object: R-CNN's own limit for SVM negatives.
_BACKGROUND_IOU = 0.3
_TRIES = 20


class CropBatches:
    """Makes the batch of a step: objects with jittered boxes, and background crops of the same sizes.

    Whole passes over the objects alternate between the input sizes, or each draws its own from a range (SPP-net,
    section 2.3).
    """

    def __init__(
        self, images: Sequence[ImageRecord], cache: ImageCache, settings: Pretrain, seed: int, jitter: float = 0.1
    ) -> None:
        self._images, self._cache, self._settings, self._seed, self._jitter = images, cache, settings, seed, jitter
        self._objects = [(i, row) for i, image in enumerate(images) for row in range(len(image.boxes))]
        self.steps_per_pass = max(1, -(-len(self._objects) // self._foreground))

    @property
    def _foreground(self) -> int:
        return max(1, round(self._settings.batch * (1 - self._settings.background)))

    def image_id(self, position: int) -> int:
        """Return the id of the image at ``position``."""
        return self._images[position].id

    def size(self, step: int) -> int:
        """Return the input size of a step."""
        sizes, number = self._settings.sizes, step // self.steps_per_pass
        if self._settings.size_choice == "range":
            return int(item_rng(self._seed, "size", number).integers(min(sizes), max(sizes) + 1))
        return sizes[number % len(sizes)]

    def __call__(self, step: int) -> WindowBatch:
        """Return the batch of ``step``."""
        number, place = divmod(step, self.steps_per_pass)
        order = item_rng(self._seed, "pass", number).permutation(len(self._objects))
        chosen = np.resize(order[place * self._foreground :], self._foreground) if len(order) else order
        rng = item_rng(self._seed, "crops", step)
        crops = [self._object(self._objects[i], rng) for i in chosen.tolist()]
        sizes = [(x2 - x1, y2 - y1) for _, (x1, y1, x2, y2), _ in crops]
        for _ in range(self._settings.batch - len(crops)):
            crops.append(self._background(sizes, rng))
        mirrored = rng.random(len(crops)) < 0.5 if self._settings.flip else np.zeros(len(crops), np.bool_)
        windows = Windows(
            np.array([crop[0] for crop in crops], np.int64),
            np.array([crop[1] for crop in crops], np.float32),
            np.array([crop[2] for crop in crops], np.int64),
            mirrored,
        )
        return collect(windows, self._cache, self.size(step))

    def _object(self, place: tuple[int, int], rng: np.random.Generator) -> tuple[int, np.ndarray, int]:
        image, row = place
        box = self._images[image].boxes[row]
        size = np.tile(box[2:] - box[:2], 2)
        moved = box + (rng.uniform(-self._jitter, self._jitter, 4) * size).astype(np.float32)
        return image, moved, int(self._images[image].labels[row])

    def _background(
        self, sizes: Sequence[tuple[float, float]], rng: np.random.Generator
    ) -> tuple[int, np.ndarray, int]:
        """Draw a crop of an object's size that shares little with the objects; the last try is taken as it is."""
        position = int(rng.integers(len(self._images)))
        image = self._images[position]
        box = np.zeros(4, np.float32)
        for _ in range(_TRIES):
            width, height = sizes[int(rng.integers(len(sizes)))] if sizes else (image.width / 4, image.height / 4)
            width, height = min(width, image.width), min(height, image.height)
            x, y = rng.uniform(0, image.width - width), rng.uniform(0, image.height - height)
            box = np.array([x, y, x + width, y + height], np.float32)
            if iou(box, image.boxes).max(initial=0) < _BACKGROUND_IOU:
                break
        return position, box, 0
