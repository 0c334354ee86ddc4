"""One layer of a cache as rows that belong to images: cached regions, cells of cached maps, regions pooled from maps.

Cached rows are read in blocks by threads, so that a layer may be larger than memory.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.core import runtime
from pipeline.core.boxes import Boxes
from pipeline.core.errors import InputError
from pipeline.data.index import Index
from pipeline.inspect.paths import cache_path, open_cache_of, stage_of

if TYPE_CHECKING:
    from pipeline.features.cache import FeatureCache
    from pipeline.features.regions import Regions
    from pipeline.systems.sppnet.features import PooledRegions

T = TypeVar("T")

# Raw megabytes that one thread decodes and works on. A few such blocks are held at a time, whatever the shards' size.
BLOCK_MB = 16
# Rows are widened to float32 so many bytes at a time: these stay in the processor's cache, a whole block would not.
STRETCH_BYTES = 1 << 20
# Layers of regions by preference: the one that the SVMs see goes first.
REGION_LAYERS = ("fc7", "fc6", "pool5")


class CachedRows:
    """A layer of a cache, read lazily.

    Args:
        cache: that holds it.
        layer: its name; None: ``pool5`` where it is cached, else the first.
        workers: threads that read; they change no result.

    Attributes:
        array: ``(rows, width)``, on disk.
        width: number of units.
        of_regions: whether rows are warped regions; else they are cells of the maps of whole images.
        row_name: ``region`` or ``cell``.
        offsets: ``(images + 1,)`` int64; rows ``offsets[i]:offsets[i + 1]`` belong to image ``i``, at all its scales.
        image_ids: ``(images,)`` int64.

    Raises:
        InputError: the layer is not cached, or offsets and rows disagree.
    """

    def __init__(self, cache: "FeatureCache", layer: str | None = None, workers: int = 1) -> None:
        self.cache, self.path, self.workers = cache, cache.path, workers
        self.layer = layer or first_of(("pool5",), cache.layers())
        self.array = cache.array(self.layer)
        if len(cache.offsets) != len(cache.image_ids) + 1 or cache.offsets[-1] != self.array.shape[0]:
            raise InputError(
                f"{cache.path}: not a whole cache, its offsets and its {self.array.shape[0]} rows disagree."
            )
        self.width = int(self.array.shape[1])
        self.of_regions = "scales" not in cache.attributes
        self.row_name = "region" if self.of_regions else "cell"
        scales = len(cache.attributes.get("scales", (1,)))
        self.offsets: NDArray[np.int64] = cache.offsets[::scales]
        self.image_ids: NDArray[np.int64] = cache.image_ids[::scales]

    def __len__(self) -> int:
        return int(self.array.shape[0])

    def __str__(self) -> str:
        return f"{self.path}:{self.layer}"

    @cached_property
    def boxes(self) -> Boxes:
        """The pixels of its image that each row is made from, ``(rows, 4)``; receptive fields may reach out."""
        if self.of_regions:
            return np.asarray(self.cache.table("boxes"), np.float32)
        return _receptive_fields(self.cache)

    @cached_property
    def is_ground_truth(self) -> NDArray[np.bool_]:
        """Which rows are objects rather than proposals, ``(rows,)``; no cell is."""
        if self.of_regions:
            return np.asarray(self.cache.table("is_ground_truth"), np.bool_)
        return np.zeros(len(self), np.bool_)

    def map(self, work: Callable[[int, NDArray], T], block_mb: float | None = None) -> Iterator[tuple[int, T]]:
        """Yield ``(start, work(start, rows))`` for one block of rows after the other; all blocks make the layer.

        Each chunk is decoded once. The threads read and work; results come in order, a few are held. A block has
        ``block_mb`` raw megabytes, `BLOCK_MB` where it is None.
        """
        step = self._block_rows(block_mb or BLOCK_MB)
        yield from self._map(work, range(0, len(self), step), step)

    def parts(self, picked: NDArray[np.int64]) -> Iterator[NDArray]:
        """Yield the rows ``picked``, in rising order, block by block; blocks without one are not read."""
        wanted = np.asarray(picked, np.int64)

        def pick(start: int, block: NDArray) -> NDArray:
            first, last = np.searchsorted(wanted, [start, start + len(block)])
            return block[wanted[first:last] - start]

        step = self._block_rows(BLOCK_MB)
        starts = (np.unique(wanted // step) * step).tolist()
        yield from (part for _, part in self._map(pick, starts, step))

    def take(self, picked: NDArray[np.int64]) -> NDArray:
        """Return the rows ``picked``, in rising order, ``(len(picked), width)``."""
        return np.concatenate([np.zeros((0, self.width), self.array.dtype), *self.parts(picked)])

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

    def _block_rows(self, megabytes: float) -> int:
        """Return how many rows of whole chunks have about so many raw megabytes."""
        chunk = int(self.array.chunks[0])
        return chunk * max(1, int(megabytes * (1 << 20) / (self.width * self.array.dtype.itemsize) / chunk))

    def _map(self, work: Callable[[int, NDArray], T], starts: Sequence[int], step: int) -> Iterator[tuple[int, T]]:
        def read(start: int) -> T:
            with self.cache.readable():
                block = self.array[start : start + step]
            return work(start, block)

        yield from runtime.read_ahead(read, starts, workers=self.workers, ahead=self.workers)


class PooledRows:
    """Regions of SPP-net: pooled from cached maps and sent through the layers up to ``layer`` when asked for.

    Attributes as of `CachedRows`.

    Raises:
        InputError: there is no such layer.
    """

    def __init__(self, features: "PooledRegions", layer: str) -> None:
        if layer not in REGION_LAYERS:
            raise InputError(
                f"{features.path}: layer {layer} is not pooled from maps, only {', '.join(reversed(REGION_LAYERS))}."
            )
        self.path, self.layer, self.boxes = features.path, layer, features.table("boxes")
        self.offsets, self.image_ids = features.offsets, features.image_ids
        self._features = features

    def map(self, work: Callable[[int, NDArray], T]) -> Iterator[tuple[int, T]]:
        """Yield ``(start, work(start, rows))`` for one image after the other, under a progress bar."""
        images = self._features.images(self.layer)
        for position, rows in runtime.progress(images, f"pooling {self.layer}", total=len(self._features)):
            start = int(self.offsets[position])
            yield start, work(start, rows)

    def take(self, picked: NDArray[np.int64]) -> NDArray:
        """Return the rows ``picked``, in rising order, ``(len(picked), width)``; only their images' maps are read."""
        images = np.searchsorted(self.offsets, picked, side="right") - 1
        return np.concatenate(
            [
                self._features.rows(image, self.layer, picked[images == image] - self.offsets[image])
                for image in np.unique(images).tolist()
            ]
        )


RegionRows = CachedRows | PooledRows


def region_rows(system: str, split: str, index: Index, layer: str | None) -> RegionRows:
    """Return the features of a split's regions: cached ones, or pooled from cached maps when asked for.

    Without a ``layer`` it is the first of `REGION_LAYERS` that is there.

    Raises:
        InputError: a file is missing, is of other images, or lacks the layer.
    """
    path = cache_path(system, split)
    cache = open_cache_of(index, path)
    if "scales" not in cache.attributes:
        return CachedRows(cache, layer or first_of(REGION_LAYERS, cache.layers()), runtime.worker_count(0))
    check_maps(cache)

    from pipeline import params
    from pipeline.features.maps import MapCache
    from pipeline.systems.sppnet.features import PooledRegions
    from pipeline.systems.sppnet.network import PyramidHead

    file = Path(f"models/{system}/network.safetensors")
    head = PyramidHead.load(file, f"systems/{system}/dvc.yaml:finetune")
    maps, regions = MapCache(path, stage_of(path)), regions_of_split(split, index)
    device = runtime.device(params.load().runtime.device)
    return PooledRows(PooledRegions(maps, regions, head, file, device), layer or REGION_LAYERS[0])


def check_maps(cache: "FeatureCache") -> None:
    """Check that the cells of a cache are those of a network's maps.

    Raises:
        InputError: they are of HOG pyramids, from which no region is pooled.
    """
    if "network" not in cache.attributes:
        raise InputError(
            f"{cache.path}: holds HOG pyramids, of which this view shows nothing; `boxline inspect summary` and "
            f"`units` do, or a cache of rcnn or sppnet would be right."
        )


def regions_of_split(split: str, index: Index) -> "Regions":
    """Return each image's objects and proposals, in the order of the caches.

    Raises:
        InputError: there are no proposals, or they are of other images.
    """
    from pipeline.features.regions import gather
    from pipeline.proposals.store import ProposalSet

    images = index.images
    return gather(
        [image.id for image in images],
        [Path(image.file) for image in images],
        [image.boxes for image in images],
        list(ProposalSet.load(Path(f"proposals/{split}.h5"), index)),
    )


def first_of(preferred: Sequence[str], layers: Sequence[str]) -> str:
    """Return the first of the ``preferred`` layers that is among ``layers``, else the first of these."""
    return next((layer for layer in preferred if layer in layers), layers[0])


def as_float32(values: NDArray) -> NDArray[np.float32]:
    """Return float16 or float32 ``values`` as float32; torch widens float16 several times faster than NumPy."""
    import torch

    return torch.from_numpy(values).float().numpy()


def float32_stretches(block: NDArray) -> Iterator[NDArray[np.float32]]:
    """Yield the rows of ``block`` ``(n, width)`` as float32, about a megabyte at a time."""
    step = max(1, STRETCH_BYTES // (block.shape[1] * 4))
    yield from (as_float32(block[start : start + step]) for start in range(0, len(block), step))


def _receptive_fields(cache: "FeatureCache") -> Boxes:
    """Return the receptive field of each cell in pixels of its image, ``(cells, 4)``."""
    field = cache.attributes.get("field") or _field(cache.attributes["network"])
    stride, offset = cache.attributes["stride"], cache.attributes["offset"]
    boxes = np.empty((int(cache.offsets[-1]), 4), np.float32)
    for entry, ((height, width), factors) in enumerate(zip(cache.table("hw"), cache.table("scale"), strict=True)):
        y, x = np.mgrid[0:height, 0:width]
        centre = offset + stride * np.stack([x.ravel(), y.ravel()], axis=1)
        cells = slice(cache.offsets[entry], cache.offsets[entry + 1])
        boxes[cells] = np.concatenate([centre - field / 2, centre + field / 2], axis=1) / np.tile(factors, 2)
    return boxes


def _field(network: str) -> float:
    from pipeline.nets.backbones import architecture
    from pipeline.nets.geometry import Geometry

    return Geometry.from_architecture(architecture(network)).field
