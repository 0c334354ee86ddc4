"""R-CNN's features: every region of every image, warped and sent through the network, into the cache."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.boxes import Boxes
from pipeline.data.images import read_image
from pipeline.features.cache import CacheWriter, Column
from pipeline.features.warp import warp
from pipeline.nets.backbones import normalise
from pipeline.nets.region_network import RegionNetwork
from pipeline.params import Region
from pipeline.runtime import bar

# Regions warped at a time, a compromise between one call an image and the memory of its batch.
WARP_AT_ONCE = 256

T = TypeVar("T")


@dataclass(frozen=True)
class Regions:
    """The regions of a split in cache order: per image its ground-truth boxes first, then its proposals, best first.

    Attributes:
        image_ids: ``(images,)`` int64.
        files: the images, one path each.
        offsets: ``(images + 1,)`` int64, rows of each image.
        boxes: ``(rows, 4)`` float32.
        is_ground_truth: ``(rows,)`` bool.
    """

    image_ids: NDArray[np.int64]
    files: Sequence[Path]
    offsets: NDArray[np.int64]
    boxes: Boxes
    is_ground_truth: NDArray[np.bool_]

    def tables(self) -> dict[str, NDArray]:
        """Return what the cache keeps beside the features."""
        return {
            "offsets": self.offsets,
            "image_ids": self.image_ids,
            "boxes": self.boxes,
            "is_ground_truth": self.is_ground_truth,
        }


def gather(
    image_ids: Sequence[int], files: Sequence[Path], truth: Sequence[Boxes], proposals: Sequence[Boxes]
) -> Regions:
    """Put the ground truth and the proposals of each image one after the other."""
    counts = [len(t) + len(p) for t, p in zip(truth, proposals, strict=True)]
    empty = np.zeros((0, 4), np.float32)
    return Regions(
        image_ids=np.array(image_ids, np.int64),
        files=files,
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        boxes=np.concatenate([empty, *(b for pair in zip(truth, proposals, strict=True) for b in pair)]),
        is_ground_truth=np.concatenate(
            [
                np.zeros(0, np.bool_),
                *(np.arange(len(t) + len(p)) < len(t) for t, p in zip(truth, proposals, strict=True)),
            ]
        ),
    )


def cache_regions(
    regions: Regions,
    network: RegionNetwork,
    region: Region,
    layers: Sequence[str],
    *,
    folder: Path,
    dtype: str,
    shard_mb: float,
    batch: int,
    device: torch.device,
    workers: int,
    attributes: dict[str, Any],
    what: str,
) -> Path:
    """Compute ``layers`` for all ``regions`` and return the path of the finished cache below ``folder``.

    Images are decoded ahead by ``workers`` threads, shards are compressed and written behind, so that the forward pass
    does not wait. ``batch`` regions go through the network at a time; neither it nor the order of the images depends
    on the number of workers, and so the bytes do not either.
    """
    network = network.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    widths = _widths(network, region.size, layers, device)
    columns = [Column(layer, widths[layer], dtype) for layer in layers]
    rows = int(regions.offsets[-1])
    with (
        CacheWriter(folder, columns, rows, shard_mb, regions.tables(), attributes) as writer,
        bar(what, rows, unit="region", done=rows - sum(b - a for a, b in writer.pending())) as shown,
    ):
        pieces = [piece for shard in writer.pending() for piece in _pieces(regions.offsets, *shard)]
        images = read_ahead(lambda piece: read_image(regions.files[piece.image]), pieces, workers)
        buffers: dict[str, NDArray] = {}
        for piece, image in images:
            if piece.first:
                buffers = writer.buffers(*piece.shard)
            if piece.stop > piece.start:
                pixels = normalise(torch.from_numpy(image).to(device).permute(2, 0, 1))
                place = slice(piece.start - piece.shard[0], piece.stop - piece.shard[0])
                boxes = regions.boxes[piece.start : piece.stop]
                forward(network, pixels, boxes, region, {name: b[place] for name, b in buffers.items()}, batch)
                shown.update(piece.stop - piece.start)
            if piece.last:
                writer.write(piece.shard[0], buffers)
    return writer.path


def forward(
    network: RegionNetwork, pixels: torch.Tensor, boxes: Boxes, region: Region, into: dict[str, NDArray], batch: int
) -> None:
    """Fill ``into``, one array ``(N, width)`` for each layer, with the features of ``boxes`` (N, 4) of one image.

    ``pixels`` is the normalised image ``(3, H, W)`` on the network's device.
    """
    layers = tuple(into)
    at_once = max(batch, WARP_AT_ONCE // batch * batch)
    with torch.inference_mode(), torch.autocast(pixels.device.type, torch.float16, pixels.device.type == "cuda"):
        for start in range(0, len(boxes), at_once):
            warped = warp(pixels, boxes[start : start + at_once], region)
            parts = [network.taps(part, layers) for part in warped.split(batch)]
            for layer in layers:
                values = torch.cat([part[layer].flatten(1) for part in parts])
                into[layer][start : start + len(values)] = _saturate(values, into[layer].dtype).cpu().numpy()


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


@dataclass(frozen=True)
class _Piece:
    """The rows ``start:stop`` of one image that fall into one shard; ``first`` and ``last`` of that shard."""

    image: int
    start: int
    stop: int
    shard: tuple[int, int]
    first: bool
    last: bool


def _pieces(offsets: NDArray[np.int64], start: int, stop: int) -> list[_Piece]:
    first = int(np.searchsorted(offsets, start, side="right")) - 1
    last = int(np.searchsorted(offsets, stop, side="left"))
    return [
        _Piece(
            image,
            max(start, int(offsets[image])),
            min(stop, int(offsets[image + 1])),
            (start, stop),
            image == first,
            image == last - 1,
        )
        for image in range(first, last)
    ]


def _widths(network: RegionNetwork, side: int, layers: Sequence[str], device: torch.device) -> dict[str, int]:
    with torch.inference_mode():
        taps = network.taps(torch.zeros(1, 3, side, side, device=device), layers)
    return {layer: values.numel() for layer, values in taps.items()}


def _saturate(values: torch.Tensor, dtype: np.dtype) -> torch.Tensor:
    """Convert to the cache's type; what float16 cannot hold becomes its largest number, never infinity."""
    if dtype == np.float16:
        return values.float().clamp(-65504, 65504).half()
    return values.float()
