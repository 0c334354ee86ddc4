"""Supervised pre-training: a classifier of object crops whose convolutions become the backbone (SPP-net, section 2).

`PyramidNetwork` takes images of any size: convolutions, a spatial pyramid, two fully connected layers. `CropBatches`
shows it every object of the training images and some background. `conv5_rms` measures the scale of the result, or of
published weights, for `pipeline.nets.weights.Backbone`.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Unpack

import numpy as np
import torch
from torch import nn

from pipeline.core.boxes import in_crowd, iou
from pipeline.core.part import WHOLE, Part
from pipeline.core.runtime import item_rng
from pipeline.core.sections import Pretrain, Region
from pipeline.data.images import ImageCache, read_image
from pipeline.data.index import ImageRecord
from pipeline.features.regions import RegionSamples
from pipeline.features.warp import WarpBatch, collect, warp_batch, warp_counts, warp_image_ids, warp_loss
from pipeline.imaging import pad, pixels
from pipeline.nets.backbones import Architecture, channels_last
from pipeline.nets.geometry import Geometry
from pipeline.training import Run, Task, train

# Crops show the object and a sixteenth of its side around it.
_CROP = Region(size=64, padding=4, mode="warp")
# A background crop overlaps every object by less than this, R-CNN's limit for SVM negatives.
_BACKGROUND_IOU = 0.3
_TRIES = 20
# The longest side that the papers' detectors see (Fast R-CNN, section 5.2); 12 megapixels took VGG-16 10 GB.
_LONGEST_SIDE = 1000


class SpatialPyramid(nn.Module):
    """Max pooling into ``n x n`` bins for each level ``n``, concatenated.

    Bin ``i`` of ``n`` over ``w`` cells spans ``floor(i * w / n)`` to ``ceil((i + 1) * w / n)``: the rule for arbitrary
    sizes (SPP-net, appendix A), which is also right where the paper's rule of fixed windows is not.
    """

    def __init__(self, levels: Sequence[int]) -> None:
        super().__init__()
        self.levels = tuple(levels)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Pool maps ``(N, C, H, W)`` to vectors ``(N, C * sum of squared levels)``."""
        pool = torch.nn.functional.adaptive_max_pool2d
        return torch.cat([pool(maps, level).flatten(1) for level in self.levels], dim=1)


class PyramidNetwork(nn.Module):
    """The classifier that `pretrain` trains; its parameters have the names of ``models/backbones/NETWORK.safetensors``.

    Args:
        net: the backbone.
        levels: of the pyramid.
        width: of both fully connected layers.
        outputs: classes + 1, the background first.
    """

    def __init__(self, net: Architecture, levels: Sequence[int], width: int, outputs: int) -> None:
        super().__init__()
        self.features = net.conv(nn.BatchNorm2d)
        for layer in self.features.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        self.pyramid = nn.ModuleDict(
            {
                "pool": SpatialPyramid(levels),
                "fc6": nn.Linear(net.channels * sum(level**2 for level in levels), width),
                "fc7": nn.Linear(width, width),
            }
        )
        self.dropout = nn.Dropout(0.5)
        self.output = nn.Linear(width, outputs)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the class logits ``(N, outputs)`` of ``images`` ``(N, 3, H, W)`` of any size."""
        pooled = self.pyramid["pool"](self.features(images))
        fc6 = self.dropout(self.pyramid["fc6"](pooled).relu())
        fc7 = self.dropout(self.pyramid["fc7"](fc6).relu())
        return self.output(fc7)


class CropBatches:
    """Makes the batch of a step: objects with jittered boxes, and background crops of the same sizes.

    Passes over the objects alternate between the input sizes, or each draws its size from a range (SPP-net,
    section 2.3).
    """

    def __init__(
        self, images: Sequence[ImageRecord], cache: ImageCache, settings: Pretrain, seed: int, jitter: float = 0.1
    ) -> None:
        self._images, self._cache, self._settings, self._seed, self._jitter = images, cache, settings, seed, jitter
        self._objects = [(i, row) for i, image in enumerate(images) for row in np.flatnonzero(~image.crowd).tolist()]
        self.steps_per_pass = max(1, -(-len(self._objects) // self._foreground))

    @property
    def _foreground(self) -> int:
        return max(1, round(self._settings.batch * (1 - self._settings.background)))

    @property
    def image_ids(self) -> list[int]:
        """The ids of the images."""
        return [image.id for image in self._images]

    def size(self, step: int) -> int:
        """Return the input size of a step."""
        sizes, number = self._settings.sizes, step // self.steps_per_pass
        if self._settings.size_choice == "range":
            return int(item_rng(self._seed, "size", number).integers(min(sizes), max(sizes) + 1))
        return sizes[number % len(sizes)]

    def __call__(self, step: int, part: Part = WHOLE) -> WarpBatch:
        """Return the batch of ``step``, or a part of it."""
        number, position = divmod(step, self.steps_per_pass)
        order = item_rng(self._seed, "pass", number).permutation(len(self._objects))
        chosen = np.resize(order[position * self._foreground :], self._foreground) if len(order) else order
        rng = item_rng(self._seed, "crops", step)
        crops = [self._object(self._objects[i], rng) for i in chosen.tolist()]
        sizes = [(x2 - x1, y2 - y1) for _, (x1, y1, x2, y2), _ in crops]
        for _ in range(self._settings.batch - len(crops)):
            crops.append(self._background(sizes, rng))
        mirrored = rng.random(len(crops)) < 0.5 if self._settings.flip else np.zeros(len(crops), np.bool_)
        samples = RegionSamples(
            np.array([crop[0] for crop in crops], np.int64),
            np.array([crop[1] for crop in crops], np.float32),
            np.array([crop[2] for crop in crops], np.int64),
            mirrored,
        )
        return collect(samples, self._cache, self.size(step), part)

    def _object(self, key: tuple[int, int], rng: np.random.Generator) -> tuple[int, np.ndarray, int]:
        image, row = key
        box = self._images[image].boxes[row]
        size = np.tile(box[2:] - box[:2], 2)
        moved = box + (rng.uniform(-self._jitter, self._jitter, 4) * size).astype(np.float32)
        return image, moved, int(self._images[image].labels[row])

    def _background(
        self, sizes: Sequence[tuple[float, float]], rng: np.random.Generator
    ) -> tuple[int, np.ndarray, int]:
        """Draw a crop of an object's size that overlaps the objects little; the last try is taken in any case."""
        position = int(rng.integers(len(self._images)))
        image = self._images[position]
        box = np.zeros(4, np.float32)
        for _ in range(_TRIES):
            width, height = sizes[int(rng.integers(len(sizes)))] if sizes else (image.width / 4, image.height / 4)
            width, height = min(width, image.width), min(height, image.height)
            x, y = rng.uniform(0, image.width - width), rng.uniform(0, image.height - height)
            box = np.array([x, y, x + width, y + height], np.float32)
            if iou(box, image.boxes).max(initial=0) < _BACKGROUND_IOU and not in_crowd(box, image.crowds).any():
                break
        return position, box, 0


def pretrain(
    network: PyramidNetwork,
    crops: CropBatches,
    settings: Pretrain,
    held_out: CropBatches | None = None,
    **run: Unpack[Run],
) -> None:
    """Train ``network`` in place; ``held_out`` makes the batches of the schedule's ``validation_batches``."""
    channels_last(network, run["device"])
    task = Task(
        network,
        losses=partial(warp_loss, region=_CROP),
        image_ids=partial(warp_image_ids, ids=crops.image_ids),
        validation=held_out,
        counts=warp_counts,
    )
    train(
        task,
        crops,
        settings.schedule,
        title="pretraining",
        **run,
    )


def accuracy(
    network: nn.Module, images: Sequence[ImageRecord], cache: ImageCache, size: int, device: torch.device
) -> float | None:
    """Return the share of objects whose crop of ``size`` pixels is classified right; None without any object."""
    right = total = 0
    network.eval()
    for position, image in enumerate(images):
        if image.crowd.all():
            continue
        batch = _objects(position, image, cache, size)
        crops = warp_batch(batch, _CROP, device)
        with torch.inference_mode():
            right += int((network(crops.inputs).argmax(1) == crops.labels).sum())
        total += len(crops.labels)
    return right / total if total else None


def _objects(position: int, image: ImageRecord, cache: ImageCache, size: int) -> WarpBatch:
    boxes, labels = image.boxes[~image.crowd], image.labels[~image.crowd]
    count = len(boxes)
    samples = RegionSamples(np.full(count, position, np.int64), boxes, labels, np.zeros(count, np.bool_))
    return collect(samples, cache, size)


def conv5_rms(conv: nn.Module, files: Sequence[Path], device: torch.device, limit: int = 16) -> float:
    """Return the root mean square of ``conv``'s output over at most ``limit`` of the images; 1 where it is 0.

    An image is seen as it is, its longer side reduced to `_LONGEST_SIDE`, and padded where it gives no cell.
    """
    conv = conv.to(device).eval()
    smallest = Geometry.from_layers(conv).smallest()
    squares, values = 0.0, 0
    for file in files[:: max(1, -(-len(files) // limit))]:
        image = read_image(file)
        seen = pixels(image, min(1.0, _LONGEST_SIDE / max(image.shape)))
        with torch.inference_mode():
            maps = conv(pad([seen], device, smallest))
        squares += float(maps.double().pow(2).sum())
        values += maps.numel()
    return (squares / values) ** 0.5 if squares else 1.0
