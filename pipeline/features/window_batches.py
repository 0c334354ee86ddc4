"""Batches of warped, labelled windows drawn from many images: what region classifiers train on."""

from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch

from pipeline.data.image_cache import ImageCache
from pipeline.features.warp import warp
from pipeline.features.windows import Windows
from pipeline.nets.backbones import normalise
from pipeline.params.classical import Region
from pipeline.training.classification import LabelledBatch


@dataclass(frozen=True)
class WindowBatch:
    """The windows of a step with the pixels of their images, each image once.

    Attributes:
        windows: sorted by image.
        pixels: the images, uint8 ``(3, H, W)``, in the order of their first window.
        size: side of the warped window.
    """

    windows: Windows
    pixels: tuple[torch.Tensor, ...]
    size: int


def collect(windows: Windows, images: ImageCache, size: int) -> WindowBatch:
    """Sort the windows by image and read the images."""
    order = np.argsort(windows.images, kind="stable")
    windows = windows.take(order, windows.mirrored[order])
    pixels = tuple(
        torch.from_numpy(images[position]).permute(2, 0, 1) for position in np.unique(windows.images).tolist()
    )
    return WindowBatch(windows, pixels, size)


def warp_batch(batch: WindowBatch, region: Region, device: torch.device) -> LabelledBatch:
    """Return the windows as the network sees them, ``(N, 3, size, size)`` normalised and channels last, on ``device``.

    ``batch.size`` replaces ``region.size``; the context keeps its share of the side.
    """
    padding = round(region.padding * batch.size / region.size)
    scaled = region.model_copy(update={"size": batch.size, "padding": padding})
    parts = []
    start = 0
    images = batch.windows.images.tolist()
    for pixels, (_, group) in zip(batch.pixels, groupby(images), strict=True):
        stop = start + len(list(group))
        parts.append(warp(normalise(pixels.to(device)), batch.windows.boxes[start:stop], scaled))
        start = stop
    warped = torch.cat(parts)
    mirrored = torch.from_numpy(batch.windows.mirrored).to(device)
    warped = torch.where(mirrored[:, None, None, None], warped.flip(3), warped)
    labels = torch.from_numpy(batch.windows.labels).to(device)
    return LabelledBatch(warped.contiguous(memory_format=torch.channels_last), labels, tuple(images))
