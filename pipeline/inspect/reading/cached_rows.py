"""One layer of a cache as rows that belong to images, whether a row is a warped region or a cell of a map."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import zarr
from numpy.typing import NDArray

from pipeline.core.boxes import Boxes
from pipeline.core.errors import InputError
from pipeline.features.cache import FeatureCache

T = TypeVar("T")

# Raw megabytes that one thread decodes and looks at. A few of them are held at a time, whatever the shards' size.
BLOCK_MB = 16


@dataclass(frozen=True)
class CachedRows:
    """A layer, to be read lazily.

    Attributes:
        cache: that it is from.
        layer: its name.
        array: ``(rows, width)``, on disk.
        offsets: ``(images + 1,)`` int64; rows ``offsets[i]:offsets[i + 1]`` belong to image ``i``, at all its scales.
        image_ids: ``(images,)`` int64.
    """

    cache: FeatureCache
    layer: str
    array: zarr.Array
    offsets: NDArray[np.int64]
    image_ids: NDArray[np.int64]

    @classmethod
    def of(cls, cache: FeatureCache, layer: str) -> "CachedRows":
        """Return the rows of ``layer``.

        Raises:
            InputError: it is not cached.
        """
        scales = len(cache.attributes.get("scales", (1,)))
        array = cache.array(layer)
        if len(cache.offsets) != len(cache.image_ids) + 1 or cache.offsets[-1] != array.shape[0]:
            raise InputError(f"{cache.path}: not a whole cache, its offsets and its {array.shape[0]} rows disagree.")
        return cls(cache, layer, array, cache.offsets[::scales], cache.image_ids[::scales])

    def __len__(self) -> int:
        return int(self.array.shape[0])

    @property
    def path(self) -> Path:
        """Return the path of the cache, for messages."""
        return self.cache.path

    @property
    def width(self) -> int:
        """Return the number of units."""
        return int(self.array.shape[1])

    @property
    def of_regions(self) -> bool:
        """Return whether rows are warped regions; else they are cells of the maps of whole images."""
        return "scales" not in self.cache.attributes

    @property
    def row_name(self) -> str:
        """Return what a row is."""
        return "region" if self.of_regions else "cell"

    @cached_property
    def boxes(self) -> Boxes:
        """Return the pixels of its image that each row is made from, ``(rows, 4)``; receptive fields may reach out."""
        if self.of_regions:
            return np.asarray(self.cache.table("boxes"), np.float32)
        return _receptive_fields(self.cache)

    @cached_property
    def is_ground_truth(self) -> NDArray[np.bool_]:
        """Return which rows are objects rather than proposals, ``(rows,)``; no cell is."""
        if self.of_regions:
            return np.asarray(self.cache.table("is_ground_truth"), np.bool_)
        return np.zeros(len(self), np.bool_)

    def image_of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the position of each row's image."""
        return np.searchsorted(self.offsets, rows, side="right") - 1

    def map(
        self, work: Callable[[int, NDArray], T], workers: int, block_mb: float | None = None
    ) -> Iterator[tuple[int, T]]:
        """Yield ``(start, work(start, rows))`` for one block of rows after the other; all blocks make the layer.

        Each chunk is decoded once. ``workers`` threads read and work; results come in order, a few are held.
        ``block_mb`` raw megabytes are a block, `BLOCK_MB` where it is None.
        """

        step = self.block_rows(block_mb or BLOCK_MB)
        yield from self._map(work, range(0, len(self), step), step, workers)

    def block_rows(self, megabytes: float) -> int:
        """Return how many rows of whole chunks have about so many raw megabytes."""
        chunk = int(self.array.chunks[0])
        return chunk * max(1, int(megabytes * (1 << 20) / (self.width * self.array.dtype.itemsize) / chunk))

    def _map(
        self, work: Callable[[int, NDArray], T], starts: Sequence[int], step: int, workers: int
    ) -> Iterator[tuple[int, T]]:
        def read(start: int) -> T:
            return work(start, self.array[start : start + step])

        yield from _ordered(read, starts, workers)

    def parts(self, picked: NDArray[np.int64], workers: int) -> Iterator[NDArray]:
        """Yield the rows ``picked``, in rising order, stretch by stretch; blocks without one are not read."""
        wanted = np.asarray(picked, np.int64)

        def pick(start: int, block: NDArray) -> NDArray:
            first, last = np.searchsorted(wanted, [start, start + len(block)])
            return block[wanted[first:last] - start]

        step = self.block_rows(BLOCK_MB)
        starts = (np.unique(wanted // step) * step).tolist()
        yield from (part for _, part in self._map(pick, starts, step, workers))

    def take(self, picked: NDArray[np.int64], workers: int) -> NDArray:
        """Return the rows ``picked``, in rising order, ``(len(picked), width)``."""
        return np.concatenate([np.zeros((0, self.width), self.array.dtype), *self.parts(picked, workers)])

    def by_image(self, blocks: Iterable[tuple[int, NDArray]]) -> Iterator[tuple[int, NDArray]]:
        """Yield each image's position and rows from ``blocks`` of all rows, in order, as `map` yields them."""
        position = 0
        held: NDArray | None = None
        for _, block in blocks:
            held = block if held is None else np.concatenate([held, block])
            start = int(self.offsets[position])
            last = int(np.searchsorted(self.offsets, start + len(held), side="right")) - 1
            for image in range(position, last):
                yield image, held[self.offsets[image] - start : self.offsets[image + 1] - start]
            held = held[self.offsets[last] - start :]
            position = last


def usual_layer(cache: FeatureCache) -> str:
    """Return the layer to look at where none is named: the one that keeps places, else the first."""
    return "pool5" if "pool5" in cache.layers() else cache.layers()[0]


def _ordered(read: Callable[[int], T], starts: Sequence[int], workers: int) -> Iterator[tuple[int, T]]:
    with ThreadPoolExecutor(workers) as pool:
        rest = iter(starts)
        queue = [(start, pool.submit(read, start)) for start in islice(rest, workers + 1)]
        while queue:
            start, future = queue.pop(0)
            result = future.result()
            queue += [(following, pool.submit(read, following)) for following in islice(rest, 1)]
            yield start, result


def _receptive_fields(cache: FeatureCache) -> Boxes:
    """Return the receptive field of each cell in pixels of its image, ``(cells, 4)``."""
    from pipeline.nets.backbones import architecture
    from pipeline.nets.geometry import Geometry

    attributes: dict[str, Any] = cache.attributes
    field = Geometry.from_architecture(architecture(attributes["network"])).field
    stride, offset = attributes["stride"], attributes["offset"]
    boxes = np.empty((int(cache.offsets[-1]), 4), np.float32)
    for entry, ((height, width), factors) in enumerate(zip(cache.table("hw"), cache.table("scale"), strict=True)):
        y, x = np.mgrid[0:height, 0:width]
        centre = offset + stride * np.stack([x.ravel(), y.ravel()], axis=1)
        cells = slice(cache.offsets[entry], cache.offsets[entry + 1])
        boxes[cells] = np.concatenate([centre - field / 2, centre + field / 2], axis=1) / np.tile(factors, 2)
    return boxes
