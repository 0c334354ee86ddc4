"""SPP-net's fine-tuning batches: labelled windows of many images, pooled from their cached maps (SPP-net, section 4.2).

The convolutions stay as they are, so a step needs no pixels: it draws windows, each at one of the cached scales, cuts
their cells out and pools them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.core.runtime import item_rng
from pipeline.data.images import ArrayCache
from pipeline.features.maps import MapCache
from pipeline.features.pyramid import mosaic, pool_regions, project
from pipeline.features.regions import RegionSampler
from pipeline.nets.backbones import Architecture
from pipeline.nets.geometry import Geometry
from pipeline.systems.sppnet.network import PyramidHead
from pipeline.systems.sppnet.params import Window
from pipeline.training import LabelledBatch


@dataclass(frozen=True)
class CutBatch:
    """The windows of a step, cut out of their maps and laid out as one.

    Attributes:
        cells: ``(H, W, C)``, see `pyramid.mosaic`.
        windows: ``(N, 4)`` int64, each one's place there.
        labels: ``(N,)`` int64, 0 for background.
        images: positions of their images.
    """

    cells: torch.Tensor
    windows: NDArray[np.int64]
    labels: torch.Tensor
    images: tuple[int, ...]


class CachedMaps(ArrayCache[tuple[int, int], NDArray]):
    """The maps of a cache in memory, by the positions of image and scale."""

    def __init__(self, maps: MapCache, megabytes: float) -> None:
        super().__init__(megabytes)
        self._maps = maps

    def read(self, key: tuple[int, int]) -> NDArray:
        """Read the map of an image at a scale, ``(H, W, C)``."""
        height, width = self._maps.hw[key].tolist()
        return self._maps.cells(*key).reshape(height, width, -1)


class CutBatches:
    """Makes the batch of a step; each window takes a scale at random, as in the released code.

    Args:
        maps: of the images that the windows' positions count.
        draw: the windows of a step.
        net: the network that made the maps.
        window: how windows are projected.
        seed: of the draws; ``purpose`` keeps training and validation apart.
        purpose: see ``seed``.
        megabytes: of maps held in memory.
    """

    def __init__(
        self,
        maps: MapCache,
        draw: RegionSampler,
        net: Architecture,
        window: Window,
        *,
        seed: int,
        purpose: str,
        megabytes: float,
    ) -> None:
        self._maps, self._store, self._draw = maps, CachedMaps(maps, megabytes), draw
        self._geometry, self._window = Geometry.from_architecture(net), window
        self._seed, self._purpose = seed, purpose

    def __call__(self, step: int) -> CutBatch:
        """Return the batch of ``step``."""
        rng = item_rng(self._seed, "pooled windows", self._purpose, step)
        windows = self._draw(rng, flip=False)
        scales = rng.integers(len(self._maps.scales), size=len(windows))
        factors, hw = self._maps.factors[windows.images, scales], self._maps.hw[windows.images, scales]
        corners = project(windows.boxes, factors, hw, self._geometry, self._window.rule)
        places = zip(windows.images.tolist(), scales.tolist(), corners.tolist(), strict=True)
        cells, cut = mosaic([self._store[image, scale][y1:y2, x1:x2] for image, scale, (x1, y1, x2, y2) in places])
        return CutBatch(torch.from_numpy(cells), cut, torch.from_numpy(windows.labels), tuple(windows.images.tolist()))


def pool_batch(batch: CutBatch, levels: Sequence[int], device: torch.device) -> LabelledBatch:
    """Return the pooled vectors ``(N, channels * bins)`` float32, with their labels, on ``device``."""
    height, width, _ = batch.cells.shape
    cells = batch.cells.to(device).float().flatten(0, 1)
    pooled = pool_regions(cells, (height, width), batch.windows, levels)
    return LabelledBatch(pooled, batch.labels.to(device), batch.images)


def validation_loss(head: PyramidHead, batches: CutBatches, count: int, device: torch.device) -> float:
    """Return the mean softmax loss of ``head`` over the first ``count`` batches."""
    total = 0.0
    for step in range(count):
        batch = pool_batch(batches(step), head.shape.levels, device)
        total += float(torch.nn.functional.cross_entropy(head(batch.inputs), batch.labels))
    return total / count
