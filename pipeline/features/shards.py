"""Filling a cache shard by shard: images are decoded ahead, shards are compressed and written behind."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.data.images import read_image
from pipeline.features.cache import CacheWriter
from pipeline.nets.backbones import normalise
from pipeline.runtime import bar

T = TypeVar("T")


@dataclass(frozen=True)
class Piece:
    """The rows ``start:stop`` of one entry that fall into one shard; ``first`` and ``last`` of that shard."""

    entry: int
    start: int
    stop: int
    shard: tuple[int, int]
    first: bool
    last: bool


Compute = Callable[[Piece, torch.Tensor, dict[str, NDArray]], None]
"""Fills the rows of a piece, given too the normalised image ``(3, H, W)`` on the device."""


def fill(
    writer: CacheWriter,
    offsets: NDArray[np.int64],
    files: Sequence[Path],
    compute: Compute,
    *,
    device: torch.device,
    workers: int,
    what: str,
    unit: str,
) -> None:
    """Compute and write all shards that ``writer`` still lacks.

    Args:
        writer: of the cache.
        offsets: ``(entries + 1,)``, the rows of each entry of the cache.
        files: the image of each entry; neighbours with one file share its decoding.
        compute: called for the pieces in order; an entry at the border of two shards is computed for each side.
        device: of the images handed to ``compute``.
        workers: threads that decode; they change no byte.
        what: of the progress bar.
        unit: of a row there.
    """
    pieces = [piece for shard in writer.pending() for piece in _pieces(offsets, *shard)]
    groups = [list(group) for _, group in groupby(pieces, key=lambda piece: files[piece.entry])]
    done = writer.rows - sum(piece.stop - piece.start for piece in pieces)
    with bar(f"{what}, about {writer.expected_bytes / 1e6:.0f} MB", writer.rows, unit=unit, done=done) as shown:
        buffers: dict[str, NDArray] = {}
        for group, image in read_ahead(lambda group: read_image(files[group[0].entry]), groups, workers):
            pixels = normalise(torch.from_numpy(image).to(device).permute(2, 0, 1))
            for piece in group:
                if piece.first:
                    buffers = writer.buffers(*piece.shard)
                if piece.stop > piece.start:
                    place = slice(piece.start - piece.shard[0], piece.stop - piece.shard[0])
                    compute(piece, pixels, {name: buffer[place] for name, buffer in buffers.items()})
                    shown.update(piece.stop - piece.start)
                if piece.last:
                    writer.write(piece.shard[0], buffers)


def read_ahead(read: Callable[[T], Any], items: Sequence[T], workers: int) -> Iterator[tuple[T, Any]]:
    """Yield each item with ``read(item)``, in order, read by ``workers`` threads a few items ahead."""
    with ThreadPoolExecutor(workers) as pool:
        queue = [(item, pool.submit(read, item)) for item in islice(items, 2 * workers)]
        rest = iter(items[2 * workers :])
        while queue:
            item, future = queue.pop(0)
            yield item, future.result()
            for following in islice(rest, 1):
                queue.append((following, pool.submit(read, following)))


def saturate(values: torch.Tensor, dtype: np.dtype) -> torch.Tensor:
    """Convert to the cache's type; what float16 cannot hold becomes its largest number, never infinity."""
    if dtype == np.float16:
        return values.float().clamp(-65504, 65504).half()
    return values.float()


def _pieces(offsets: NDArray[np.int64], start: int, stop: int) -> list[Piece]:
    first = int(np.searchsorted(offsets, start, side="right")) - 1
    last = int(np.searchsorted(offsets, stop, side="left"))
    return [
        Piece(
            entry,
            max(start, int(offsets[entry])),
            min(stop, int(offsets[entry + 1])),
            (start, stop),
            entry == first,
            entry == last - 1,
        )
        for entry in range(first, last)
    ]
