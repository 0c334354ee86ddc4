"""One layer of a split's regions as rows, whether they are cached or pooled from cached maps when asked for."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.core.boxes import Boxes
from pipeline.core.errors import InputError
from pipeline.core.runtime import progress
from pipeline.inspect.reading.cached_rows import CachedRows
from pipeline.nets.heads import HEAD_LAYERS
from pipeline.systems.sppnet.features import PooledRegions

T = TypeVar("T")


class RegionRows(Protocol):
    """What the views need of region features.

    Attributes:
        path: of the cache behind them, for messages.
        layer: its name.
        offsets: ``(images + 1,)`` int64; rows ``offsets[i]:offsets[i + 1]`` belong to image ``i``.
        image_ids: ``(images,)`` int64.
        boxes: ``(rows, 4)`` float32.
    """

    path: Path
    layer: str
    offsets: NDArray[np.int64]
    image_ids: NDArray[np.int64]
    boxes: Boxes

    def map(self, work: Callable[[int, NDArray], T]) -> Iterator[tuple[int, T]]:
        """Yield ``(start, work(start, rows))`` for one block of rows after the other; a few are held at a time."""
        ...

    def take(self, which: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the rows ``which``, rising numbers, as float32 ``(len(which), width)``."""
        ...


class CachedRegions:
    """R-CNN's regions, read from their cache by ``workers`` threads.

    Raises:
        InputError: the rows are cells of maps.
    """

    def __init__(self, rows: CachedRows, workers: int) -> None:
        if not rows.of_regions:
            raise InputError(f"{rows.cache.path}: its rows are cells of maps; a cache of regions is expected.")
        self.path, self.layer, self.boxes = rows.cache.path, rows.layer, rows.boxes
        self.offsets, self.image_ids = rows.offsets, rows.image_ids
        self._rows, self._workers = rows, workers

    def map(self, work: Callable[[int, NDArray], T]) -> Iterator[tuple[int, T]]:
        """Yield ``(start, work(start, rows))`` for one block after the other, each chunk decoded once."""
        yield from self._rows.map(work, self._workers)

    def take(self, which: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the rows ``which``, rising numbers, as float32; only the chunks that hold one are read."""
        array = self._rows.array
        shard = (array.shards or array.chunks)[0]
        parts = [array.oindex[part] for part in np.split(which, _starts(which // shard)) if len(part)]
        return np.concatenate([np.empty((0, self._rows.width), array.dtype), *parts]).astype(np.float32)


class PooledRows:
    """SPP-net's regions: pooled from cached maps and sent through the layers up to ``layer`` when asked for.

    Raises:
        InputError: there is no such layer.
    """

    def __init__(self, features: PooledRegions, layer: str) -> None:
        if layer not in HEAD_LAYERS:
            raise InputError(f"{features.path}: layer {layer} is not pooled from maps, only {', '.join(HEAD_LAYERS)}.")
        self.path, self.layer, self.boxes = features.path, layer, features.table("boxes")
        self.offsets, self.image_ids = features.offsets, features.image_ids
        self._features = features

    def map(self, work: Callable[[int, NDArray], T]) -> Iterator[tuple[int, T]]:
        """Yield ``(start, work(start, rows))`` for one image after the other, under a progress bar."""
        images = progress(self._features.images(self.layer), f"pooling {self.layer}", total=len(self._features))
        for position, rows in images:
            start = int(self.offsets[position])
            yield start, work(start, rows)

    def take(self, which: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the rows ``which``, rising numbers, as float32; only their images' maps are read."""
        images = np.searchsorted(self.offsets, which, side="right") - 1
        parts = []
        for mine in np.split(which, _starts(images)):
            if len(mine):
                position = int(np.searchsorted(self.offsets, mine[0], side="right")) - 1
                parts.append(self._features.rows(position, self.layer, mine - self.offsets[position]))
        return np.concatenate(parts).astype(np.float32)


def _starts(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where each run of equal numbers but the first starts."""
    return np.flatnonzero(np.diff(groups)) + 1
