"""SPP-net's shared maps: each image through the convolutions once per scale, all cells in one ragged cache."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pipeline.core.errors import InputError
from pipeline.core.sections import CachePrecision
from pipeline.features.cache import CacheWriter, Column, FeatureCache, fill, saturate
from pipeline.features.places import Place
from pipeline.nets import weights
from pipeline.nets.backbones import architecture, channels_last
from pipeline.nets.geometry import Geometry
from pipeline.nets.precision import caching

COLUMN = "cells"
ASPECT = 8  # of the narrowest image whose shorter side becomes the scale; `boxline predict` pads beyond 6


@dataclass(frozen=True)
class Entries:
    """The layout of the cache: one entry per image and scale, the scales of an image one after the other.

    Attributes:
        image_ids: ``(entries,)`` int64.
        files: the image of each entry.
        input_hw: ``(entries, 2)`` int64, height and width of the resized image.
        factors: ``(entries, 2)`` float64, its size over the image's, along x and y.
        hw: ``(entries, 2)`` int64, height and width of the map in cells.
    """

    image_ids: NDArray[np.int64]
    files: Sequence[Path]
    input_hw: NDArray[np.int64]
    factors: NDArray[np.float64]
    hw: NDArray[np.int64]

    @classmethod
    def of(
        cls,
        image_ids: Sequence[int],
        files: Sequence[Path],
        scales: int,
        sizes: tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]],
    ) -> "Entries":
        """Lay out images, each seen at so many ``scales``; ``sizes`` are ``input_hw``, ``factors`` and ``hw``."""
        ids = np.repeat(np.array(image_ids, np.int64), scales)
        return cls(ids, [file for file in files for _ in range(scales)], *sizes)

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        """``(entries + 1,)``, the first cell of each entry, and the number of cells."""
        return np.concatenate([[0], np.cumsum(self.hw.prod(axis=1))]).astype(np.int64)

    def inputs(self, entry: int, start: int, stop: int) -> tuple[list[int], int, int]:
        """Return the size of an entry's input, and its cells of the cache's rows ``start`` to ``stop``."""
        first = int(self.offsets[entry])
        return self.input_hw[entry].tolist(), start - first, stop - first

    def tables(self) -> dict[str, NDArray]:
        """Return the small arrays that the cache holds beside the cells."""
        return {"offsets": self.offsets, "image_ids": self.image_ids, "scale": self.factors, "hw": self.hw}


def entries(
    image_ids: Sequence[int],
    files: Sequence[Path],
    sizes: Sequence[tuple[int, int]],
    scales: Sequence[int],
    geometry: Geometry,
) -> Entries:
    """Lay out the cache of images with ``sizes`` ``(width, height)``, whose shorter side becomes each of ``scales``.

    Raises:
        InputError: a scale is too small for the network.
    """
    return Entries.of(image_ids, files, len(scales), map_sizes(sizes, scales, geometry))


def map_sizes(
    sizes: Sequence[tuple[int, int]], scales: Sequence[int], geometry: Geometry
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """Return ``input_hw``, ``factors`` and ``hw`` of `Entries` for images of ``sizes`` ``(width, height)``.

    A longer side is at most `ASPECT` times the scale, and no side so short that it gives no cell: a strip of 3000 x 40
    pixels would become 51,600 x 688. Each axis has its own factor.

    Raises:
        InputError: a scale is too small for the network.
    """
    smallest = geometry.smallest()
    if min(scales) < smallest:
        raise InputError(
            f"sppnet.maps.scales: {min(scales)} pixels give no cell in this network; {smallest} or more would be right."
        )
    image_hw = np.repeat(np.array(sizes, np.int64).reshape(-1, 2)[:, ::-1], len(scales), axis=0)
    shorter = np.tile(np.array(scales, np.float64), len(sizes))
    by_short, by_long = (
        shorter / image_hw.min(axis=1, initial=1 << 40),
        ASPECT * shorter / image_hw.max(axis=1, initial=1),
    )
    resized = np.floor(image_hw * np.minimum(by_short, by_long)[:, None] + 0.5).astype(np.int64)
    input_hw = np.maximum(resized, smallest)
    hw = np.array([[geometry.size(side) for side in pair] for pair in input_hw.tolist()], np.int64).reshape(-1, 2)
    return input_hw, (input_hw / image_hw)[:, ::-1], hw


def maps_origin(network: str, conv: nn.Module, scales: Sequence[int]) -> dict[str, Any]:
    """Return all that determines maps: the network's name, a hash of its ``conv`` layers, the scales."""
    return {"network": network, "weights": weights.digest(conv.state_dict()), "scales": list(scales)}


def cache_maps(
    layout: Entries,
    conv: nn.Module,
    channels: int,
    *,
    place: Path | Place,
    dtype: str,
    shard_mb: float,
    precision: CachePrecision = "fp32",
    device: torch.device,
    workers: int,
    attributes: dict[str, Any],
    title: str,
    executor: Executor | None = None,
    load: Callable[[], nn.Module] | None = None,
) -> Path:
    """Compute the map of every entry and return the path of the finished cache.

    ``place`` is where it is written; a path is that of a scratch folder.

    ``conv`` gives ``channels`` values a cell. Images go through it one at a time, so neither the number of workers nor
    the neighbours of an image change a byte. An ``executor`` computes the shards elsewhere, where ``load`` gives
    ``conv`` (`stored_conv`).
    """
    conv = channels_last(conv, device).eval()
    rows = int(layout.offsets[-1])
    columns = [Column(COLUMN, channels, dtype)]
    with CacheWriter(place, columns, rows, shard_mb, layout.tables(), attributes) as writer:
        fill(
            writer,
            layout.offsets,
            layout.files,
            layout.inputs,
            _CellRows(load or (lambda: conv), precision),
            device=device,
            workers=workers,
            title=title,
            unit="cell",
            executor=executor,
        )
    return writer.finish()


@dataclass(frozen=True)
class _CellRows:
    """Computes some cells, a stretch of the map's rows one after the other, of an image at one scale."""

    conv: Callable[[], nn.Module]
    precision: CachePrecision

    def __call__(self, inputs: tuple[list[int], int, int], pixels: torch.Tensor, into: dict[str, NDArray]) -> None:
        input_hw, start, stop = inputs
        cells = map_cells(self.conv(), pixels, input_hw, self.precision)
        into[COLUMN][:] = saturate(cells[start:stop], into[COLUMN].dtype).cpu().numpy()


@lru_cache(maxsize=1)
def stored_conv(network: str, file: Path, sha256: str, device: torch.device) -> nn.Module:
    """Return the convolutions of ``network`` from a backbone's ``file``, once for each process and hash of the file."""
    conv = architecture(network).conv()
    weights.load_conv(conv, network, weights.Backbone.load(file).weights)
    return channels_last(conv, device).eval()


def map_cells(
    conv: nn.Module, pixels: torch.Tensor, input_hw: Sequence[int], precision: CachePrecision = "fp32"
) -> torch.Tensor:
    """Return the map of one normalised image ``(3, H, W)``, resized to ``input_hw``, row by row: ``(cells, C)``.

    Bilinear without antialiasing, as the released code resizes.
    """
    size = (int(input_hw[0]), int(input_hw[1]))
    with torch.inference_mode(), caching(precision, pixels.device):
        resized = torch.nn.functional.interpolate(pixels[None], size=size, mode="bilinear", align_corners=False)
        maps = conv(resized.contiguous(memory_format=torch.channels_last))
        return maps[0].permute(1, 2, 0).flatten(0, 1)


@dataclass(frozen=True)
class ImageMaps:
    """The maps of one image, one a scale: cells ``(H * W, C)`` each, with their ``hw`` and ``factors`` ``(S, 2)``.

    Cells from a cache are arrays; cells that were just computed are tensors.
    """

    cells: Sequence[NDArray | torch.Tensor]
    hw: NDArray[np.int64]
    factors: NDArray[np.float64]


class MapCache:
    """A cache of maps, opened for reading, image by image.

    Attributes:
        path: of the cache.
        attributes: see `FeatureCache`.
        scales: the shorter side of the input at each scale.
        image_ids: ``(images,)`` int64.
        hw: ``(images, S, 2)`` int64, cells of each map.
        factors: ``(images, S, 2)`` float64, input pixels per image pixel along x and y.

    Raises:
        InputError: there is no such cache.
    """

    def __init__(self, path: Path, stage: str) -> None:
        self._cache = FeatureCache(path, stage)
        self.path, self.attributes = path, self._cache.attributes
        try:
            self.scales: tuple[int, ...] = tuple(self.attributes["scales"])
            self.hw = self._cache.table("hw").reshape(-1, len(self.scales), 2)
            self.factors = self._cache.table("scale").reshape(-1, len(self.scales), 2)
        except KeyError as error:
            raise InputError(f"{path}: not a cache of maps ({error} is missing); {stage} writes it.") from None
        self.image_ids = self._cache.image_ids[:: len(self.scales)]

    def __len__(self) -> int:
        return len(self.image_ids)

    @property
    def fingerprint(self) -> str:
        """Of the network and the scales, equal for all splits."""
        return str(self.attributes["fingerprint"])

    @property
    def channels(self) -> int:
        """Of the cached cells."""
        return int(self._cache.array(COLUMN).shape[1])

    @property
    def dtype(self) -> np.dtype:
        """Of the cached cells."""
        return np.dtype(self._cache.array(COLUMN).dtype)

    def cells(self, image: int, scale: int) -> NDArray:
        """Return the cells of one map, ``(H * W, C)``."""
        return self._cache.image(image * len(self.scales) + scale, COLUMN)

    def image(self, position: int) -> ImageMaps:
        """Return the maps of the image at ``position``."""
        cells = [self.cells(position, scale) for scale in range(len(self.scales))]
        return ImageMaps(cells, self.hw[position], self.factors[position])

    def images(self) -> Iterator[ImageMaps]:
        """Yield the maps of each image, in order."""
        parts: list[NDArray] = []
        for entry, cells in self._cache.images(COLUMN):
            parts.append(cells)
            if len(parts) == len(self.scales):
                position = entry // len(self.scales)
                yield ImageMaps(parts, self.hw[position], self.factors[position])
                parts = []

    def check(self, fingerprint: str, user: Path) -> None:
        """Compare with the fingerprint that the file ``user`` was made for.

        Raises:
            InputError: they differ; the sentence names both.
        """
        if self.fingerprint != fingerprint:
            raise InputError(
                f"{self.path}: its maps have the fingerprint {self.fingerprint} (network "
                f"{self.attributes.get('network')}, scales {list(self.scales)}), but {user} was made for maps of "
                f"{fingerprint}; dvc repro makes both anew from one network and one list of scales."
            )
