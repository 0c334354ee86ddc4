"""Batches of warped, labelled windows drawn from many images: what region classifiers train on."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.boxes import Boxes
from pipeline.data.image_cache import ImageCache
from pipeline.features.warp import warp
from pipeline.nets.backbones import normalise
from pipeline.params import Region


@dataclass(frozen=True)
class Windows:
    """Labelled windows in images.

    Attributes:
        images: ``(N,)`` int64 positions of their images.
        boxes: ``(N, 4)`` float32.
        labels: ``(N,)`` int64, 0 for background.
        mirrored: ``(N,)`` bool, whether to flip the warped window.
    """

    images: NDArray[np.int64]
    boxes: Boxes
    labels: NDArray[np.int64]
    mirrored: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[np.int64], mirrored: NDArray[np.bool_]) -> "Windows":
        """Return the windows at ``rows``, some of them mirrored."""
        return Windows(self.images[rows], self.boxes[rows], self.labels[rows], mirrored)


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


@dataclass(frozen=True)
class WarpedBatch:
    """Windows as the network sees them.

    Attributes:
        regions: ``(N, 3, size, size)`` float32, normalised, channels last.
        labels: ``(N,)`` int64, on the same device.
        images: positions of their images.
    """

    regions: torch.Tensor
    labels: torch.Tensor
    images: tuple[int, ...]


def warp_batch(batch: WindowBatch, region: Region, device: torch.device) -> WarpedBatch:
    """Warp the windows on ``device``.

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
    return WarpedBatch(warped.contiguous(memory_format=torch.channels_last), labels, tuple(images))


def classification_loss(
    network: Callable[[torch.Tensor], torch.Tensor],
) -> Callable[[WarpedBatch], dict[str, torch.Tensor]]:
    """Return a function that gives the softmax loss of ``network`` over a batch."""

    def losses(batch: WarpedBatch) -> dict[str, torch.Tensor]:
        return {"loss": torch.nn.functional.cross_entropy(network(batch.regions), batch.labels)}

    return losses
