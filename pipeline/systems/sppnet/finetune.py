"""SPP-net's fine-tuning batches: labelled regions of many images, pooled from their cached maps (SPP-net, section 4.2).

The convolutions do not change, so a step needs no pixels: it draws regions, each at one of the cached scales, cuts
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
    """The regions of a step, cut out of their maps and laid out on one map.

    Attributes:
        cells: ``(H, W, C)``, see `pyramid.mosaic`.
        regions: ``(N, 4)`` int64, the cells of each on it.
        labels: ``(N,)`` int64, 0 for background.
        images: positions of their images.
    """

    cells: torch.Tensor
    regions: NDArray[np.int64]
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
    """Makes the batch of a step; each region takes a scale at random, as in the released code.

    Args:
        maps: of the images that the samples' positions refer to.
        draw: the samples of a step.
        net: the network that made the maps.
        window: how regions are projected.
        seed: of the draws.
        purpose: part of the seed, so that training and validation draw different samples.
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
        self._maps, self._cells, self._draw = maps, CachedMaps(maps, megabytes), draw
        self._geometry, self._window = Geometry.from_architecture(net), window
        self._seed, self._purpose = seed, purpose

    def __call__(self, step: int) -> CutBatch:
        """Return the batch of ``step``."""
        rng = item_rng(self._seed, "pooled windows", self._purpose, step)
        samples = self._draw(rng, flip=False)
        images, scales = samples.images, rng.integers(len(self._maps.scales), size=len(samples))
        factors, hw = self._maps.factors[images, scales], self._maps.hw[images, scales]
        corners = project(samples.boxes, factors, hw, self._geometry, self._window.rule)
        keys = zip(images.tolist(), scales.tolist(), corners.tolist(), strict=True)
        cells, regions = mosaic([self._cells[image, scale][y1:y2, x1:x2] for image, scale, (x1, y1, x2, y2) in keys])
        return CutBatch(torch.from_numpy(cells), regions, torch.from_numpy(samples.labels), tuple(images.tolist()))


def pool_batch(batch: CutBatch, levels: Sequence[int], device: torch.device) -> LabelledBatch:
    """Return the pooled vectors ``(N, channels * bins)`` float32, with their labels, on ``device``."""
    height, width, _ = batch.cells.shape
    cells = batch.cells.to(device).float().flatten(0, 1)
    pooled = pool_regions(cells, (height, width), batch.regions, levels)
    return LabelledBatch(pooled, batch.labels.to(device))


def validation_loss(head: PyramidHead, batches: CutBatches, count: int, device: torch.device) -> float:
    """Return the mean softmax loss of ``head`` over the first ``count`` batches."""
    total = 0.0
    for step in range(count):
        batch = pool_batch(batches(step), head.shape.levels, device)
        total += float(torch.nn.functional.cross_entropy(head(batch.inputs), batch.labels))
    return total / count
