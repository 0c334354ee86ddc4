"""SPP-net's fine-tuning batches: labelled regions of many images, pooled from their cached maps (SPP-net, section 4.2).

The convolutions do not change, so a step needs no pixels: it draws regions, each at one of the cached scales, cuts
their cells out and pools them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.core.part import WHOLE, Part
from pipeline.core.runtime import item_rng
from pipeline.data.images import ArrayCache
from pipeline.features.maps import MapCache
from pipeline.features.pyramid import choose_scale, pool_cuts, project
from pipeline.features.regions import RegionSampler, RegionSamples
from pipeline.nets.backbones import Architecture
from pipeline.nets.geometry import Geometry
from pipeline.systems.sppnet.params import Window
from pipeline.training import LabelledBatch, classification_loss


@dataclass(frozen=True)
class PooledBatch:
    """The regions of a step, pooled from their maps.

    Attributes:
        pooled: ``(N, channels * bins)`` in the type of the cached cells; the maximum of cells is one of them.
        labels: ``(N,)`` int64, 0 for background.
        images: positions of their images.
    """

    pooled: torch.Tensor
    labels: torch.Tensor
    images: tuple[int, ...]

    def labelled(self) -> LabelledBatch:
        """Return the batch as a classifier takes it."""
        return LabelledBatch(self.pooled.float(), self.labels)


class JoinedMaps:
    """The maps of several splits as those of one: images are counted on from split to split.

    Attributes:
        scales, image_ids, hw, factors: see `MapCache`.
    """

    def __init__(self, caches: Sequence[MapCache]) -> None:
        self.scales = caches[0].scales
        self.image_ids = np.concatenate([cache.image_ids for cache in caches])
        self.hw = np.concatenate([cache.hw for cache in caches])
        self.factors = np.concatenate([cache.factors for cache in caches])
        self._places = [(cache, position) for cache in caches for position in range(len(cache))]

    def __len__(self) -> int:
        return len(self._places)

    def cells(self, image: int, scale: int) -> NDArray:
        """Return the cells of one map, ``(H * W, C)``."""
        cache, position = self._places[image]
        return cache.cells(position, scale)


class CachedMaps(ArrayCache[tuple[int, int], NDArray]):
    """The maps of a cache in memory, by the positions of image and scale."""

    def __init__(self, maps: MapCache | JoinedMaps, megabytes: float) -> None:
        super().__init__(megabytes)
        self._maps = maps

    def read(self, key: tuple[int, int]) -> NDArray:
        """Read the map of an image at a scale, ``(H, W, C)``."""
        height, width = self._maps.hw[key].tolist()
        return self._maps.cells(*key).reshape(height, width, -1)


class PooledBatches:
    """Makes the batch of a step.

    Args:
        maps: of the images that the samples' positions refer to.
        draw: the samples of a step.
        net: the network that made the maps.
        window: how regions are projected.
        levels: of the spatial pyramid.
        seed: of the draws.
        purpose: part of the seed, so that training and validation draw different samples.
        megabytes: of maps held in memory.
        random_scale: whether each region takes a scale at random, as the released code trains, or the one that it has
            in detection, on which that code validates (``spp_finetune_voc.m``).
    """

    def __init__(
        self,
        maps: MapCache | JoinedMaps,
        draw: RegionSampler,
        net: Architecture,
        window: Window,
        levels: Sequence[int],
        *,
        seed: int,
        purpose: str,
        megabytes: float,
        random_scale: bool = True,
    ) -> None:
        self._maps, self._cells, self._draw = maps, CachedMaps(maps, megabytes), draw
        self._geometry, self._window, self._levels = Geometry.from_architecture(net), window, levels
        self._seed, self._purpose, self._random_scale = seed, purpose, random_scale

    def __call__(self, step: int, part: Part = WHOLE) -> PooledBatch:
        """Return the batch of ``step``, or a part of it."""
        samples, scales = self.drawn(step)
        rows, scales = part.of(np.arange(len(samples))), part.of(scales)
        samples = samples.take(rows, samples.mirrored[rows])
        images = samples.images
        factors, hw = self._maps.factors[images, scales], self._maps.hw[images, scales]
        corners = project(samples.boxes, factors, hw, self._geometry, self._window.rule)
        keys = zip(images.tolist(), scales.tolist(), corners.tolist(), strict=True)
        cuts = [self._cells[image, scale][y1:y2, x1:x2] for image, scale, (x1, y1, x2, y2) in keys]
        pooled = pool_cuts(cuts, self._levels)
        return PooledBatch(pooled, torch.from_numpy(samples.labels), tuple(images.tolist()))

    def drawn(self, step: int) -> tuple[RegionSamples, NDArray[np.int64]]:
        """Return the regions of ``step`` and the position ``(N,)`` of each one's scale."""
        rng = item_rng(self._seed, "pooled windows", self._purpose, step)
        samples = self._draw(rng, flip=False)
        return samples, self._scales(samples, rng)

    def _scales(self, samples: RegionSamples, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return the position of each sample's scale, ``(N,)``."""
        maps, window = self._maps, self._window
        if self._random_scale:
            return rng.integers(len(maps.scales), size=len(samples))
        chosen = [
            choose_scale(box, maps.factors[image], maps.scales, window.side, window.rule)
            for image, box in zip(samples.images, samples.boxes, strict=True)
        ]
        return np.concatenate(chosen)


def losses(network: Any, batch: PooledBatch) -> Mapping[str, torch.Tensor]:
    """Return the `classification_loss` of the regions."""
    return classification_loss(network, batch.labelled())


def counts(batch: PooledBatch) -> Mapping[str, int]:
    """Return the number of regions, by which the loss is divided."""
    return {"loss": len(batch.labels)}


def image_ids(batch: PooledBatch, ids: Sequence[int]) -> list[int]:
    """Return the ids of the regions' images, ``ids`` by position."""
    return [ids[position] for position in batch.images]
