"""SPP-net's fine-tuning batches: labelled windows of many images, pooled from their cached maps (SPP-net, section 4.2).

The convolutions stay as they are, so a step needs no pixels: it draws windows, each at one of the cached scales, cuts
their cells out and pools them.
"""

from collections import OrderedDict

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.features.maps import MapCache
from pipeline.features.projection import project
from pipeline.features.windows import WindowDraws, Windows
from pipeline.nets.backbones import Architecture
from pipeline.nets.geometry import Geometry
from pipeline.nets.pyramid_network import SpatialPyramid
from pipeline.params import Window
from pipeline.runtime import item_rng

PooledBatch = tuple[torch.Tensor, torch.Tensor]
"""Pooled vectors ``(N, channels * bins)`` float32 and labels ``(N,)`` int64."""


class MapStore:
    """The most recently used maps of a cache, as many as fit into ``megabytes``, each ``(H, W, C)``."""

    def __init__(self, maps: MapCache, megabytes: float) -> None:
        self._maps = maps
        self._room = int(megabytes * (1 << 20))
        self._held: OrderedDict[tuple[int, int], NDArray] = OrderedDict()

    def __getitem__(self, place: tuple[int, int]) -> NDArray:
        """Return the map of an image at a scale, both by their positions."""
        if place in self._held:
            self._held.move_to_end(place)
            return self._held[place]
        height, width = self._maps.hw[place].tolist()
        cells = self._maps.cells(*place).reshape(height, width, -1)
        self._held[place] = cells
        self._room -= cells.nbytes
        while self._room < 0 and len(self._held) > 1:
            self._room += self._held.popitem(last=False)[1].nbytes
        return cells


class PooledBatches:
    """Makes the batch of a step; each window takes a scale at random, as in the released code.

    Args:
        maps: of the images that the windows' positions count.
        draw: the windows of a step.
        net: the network that made the maps.
        window: how windows are projected.
        levels: of the pyramid.
        seed: of the draws; ``purpose`` keeps training and validation apart.
        purpose: see ``seed``.
        megabytes: of maps held in memory.
    """

    def __init__(
        self,
        maps: MapCache,
        draw: WindowDraws,
        net: Architecture,
        window: Window,
        levels: tuple[int, ...],
        *,
        seed: int,
        purpose: str,
        megabytes: float,
    ) -> None:
        self._maps, self._store, self._draw = maps, MapStore(maps, megabytes), draw
        self._geometry, self._window, self._pyramid = Geometry.of_network(net), window, SpatialPyramid(levels)
        self._seed, self._purpose = seed, purpose

    def __call__(self, step: int) -> PooledBatch:
        """Return the batch of ``step``."""
        rng = item_rng(self._seed, "pooled windows", self._purpose, step)
        windows = self._draw(rng, flip=False)
        return self._pool(windows, rng.integers(len(self._maps.scales), size=len(windows)))

    def _pool(self, windows: Windows, scales: NDArray[np.int64]) -> PooledBatch:
        factors, hw = self._maps.factors[windows.images, scales], self._maps.hw[windows.images, scales]
        cells = project(windows.boxes, factors, hw, self._geometry, self._window.rule)
        pooled = []
        for image, scale, (x1, y1, x2, y2) in zip(
            windows.images.tolist(), scales.tolist(), cells.tolist(), strict=True
        ):
            cut = torch.from_numpy(self._store[image, scale][y1:y2, x1:x2]).float()
            pooled.append(self._pyramid(cut.permute(2, 0, 1)[None]))
        return torch.cat(pooled), torch.from_numpy(windows.labels)


def validation_loss(head: torch.nn.Module, batches: PooledBatches, count: int, device: torch.device) -> float:
    """Return the mean softmax loss of ``head`` over the first ``count`` batches."""
    total = 0.0
    for step in range(count):
        pooled, labels = (part.to(device) for part in batches(step))
        total += float(torch.nn.functional.cross_entropy(head(pooled), labels))
    return total / count
