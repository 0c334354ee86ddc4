"""R-CNN's features: every region of every image, warped and sent through the network, into the cache."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from pipeline.core.boxes import Boxes
from pipeline.core.clock import NULL_CLOCK, Clock
from pipeline.core.sections import CachePrecision, Region
from pipeline.features.cache import CacheWriter, Column, fill, saturate
from pipeline.features.places import Place
from pipeline.features.regions import Regions
from pipeline.features.warp import warp
from pipeline.nets.backbones import channels_last
from pipeline.nets.precision import caching
from pipeline.systems.rcnn.network import RegionNetwork

# Regions that are warped at a time and go through the fc layers together: the weights of these (216 MB in AlexNet) are
# read once for all of them. Convolutions are fastest in small batches, whose maps stay in the processor's cache.
AT_ONCE = 512


def cache_regions(
    regions: Regions,
    network: RegionNetwork,
    region: Region,
    layers: Sequence[str],
    *,
    place: Path | Place,
    dtype: str,
    shard_mb: float,
    batch: int,
    precision: CachePrecision = "fp32",
    device: torch.device,
    workers: int,
    attributes: dict[str, Any],
    title: str,
    executor: Executor | None = None,
    load: Callable[[], RegionNetwork] | None = None,
) -> Path:
    """Compute ``layers`` for all ``regions`` and return the path of the finished cache.

    ``place`` is where it is written; a path is that of a scratch folder.

    ``workers`` threads decode images ahead, so that the forward pass does not wait; shards are written behind it.
    ``batch`` regions go through the network at a time; neither the batches nor the order of the images depend on the
    number of workers, and so the bytes do not either. An ``executor`` computes the shards elsewhere, where ``load``
    gives the network (`stored_network`).
    """
    network = channels_last(network, device).eval()
    widths = _widths(network, region.size, layers, device)
    rows = int(regions.offsets[-1])
    columns = [Column(layer, widths[layer], dtype) for layer in layers]
    with CacheWriter(place, columns, rows, shard_mb, regions.tables(), attributes) as writer:
        fill(
            writer,
            regions.offsets,
            regions.files,
            lambda entry, start, stop: regions.boxes[start:stop],
            _RegionRows(load or (lambda: network), region, batch, precision),
            device=device,
            workers=workers,
            title=title,
            unit="region",
            executor=executor,
        )
    return writer.finish()


@dataclass(frozen=True)
class _RegionRows:
    """Computes the rows of some boxes of an image."""

    network: Callable[[], RegionNetwork]
    region: Region
    batch: int
    precision: CachePrecision

    def __call__(self, boxes: Boxes, pixels: torch.Tensor, into: dict[str, NDArray]) -> None:
        forward(self.network(), pixels, boxes, self.region, into, self.batch, self.precision)


@lru_cache(maxsize=1)
def stored_network(file: Path, sha256: str, stage: str, device: torch.device) -> RegionNetwork:
    """Return the network in ``file``, which ``stage`` writes, once for each process and hash of the file."""
    return channels_last(RegionNetwork.load(file, stage), device).eval()


def forward(
    network: RegionNetwork,
    pixels: torch.Tensor,
    boxes: Boxes,
    region: Region,
    into: dict[str, NDArray],
    batch: int,
    precision: CachePrecision,
) -> None:
    """Fill ``into``, one array ``(N, width)`` for each layer, with the features of ``boxes`` (N, 4) of one image.

    ``pixels`` is the normalised image ``(3, H, W)`` on the network's device.
    """
    start = 0
    for values in region_taps(network, pixels, boxes, region, tuple(into), batch, precision):
        stop = start + len(next(iter(values.values())))
        for layer, rows in values.items():
            into[layer][start:stop] = saturate(rows, into[layer].dtype).cpu().numpy()
        start = stop


def region_taps(
    network: RegionNetwork,
    pixels: torch.Tensor,
    boxes: Boxes,
    region: Region,
    layers: Sequence[str],
    batch: int,
    precision: CachePrecision = "fp32",
    clock: Clock = NULL_CLOCK,
) -> Iterator[dict[str, torch.Tensor]]:
    """Yield the values of ``layers``, ``(n, width)`` each, for one stretch of ``boxes`` (N, 4) after another.

    Args:
        network: in inference mode, on the device of ``pixels``.
        pixels: the normalised image ``(3, H, W)``.
        boxes: in pixels of the image.
        region: how they are warped.
        layers: names of taps.
        batch: regions that go through the convolutions at a time.
        precision: of the network's pass.
        clock: times ``pooling`` (the warping), ``convolution`` and ``heads``.
    """
    at_once = max(batch, AT_ONCE // batch * batch)
    for start in range(0, len(boxes), at_once):
        with torch.inference_mode(), caching(precision, pixels.device):
            with clock.phase("pooling"):
                warped = warp(pixels, boxes[start : start + at_once], region)
            pooled, maps = [], []
            for regions in warped.split(batch):
                with clock.phase("convolution"):
                    conv5 = network.conv(regions)
                with clock.phase("heads"):
                    pooled.append(network.pool(conv5))
                if "conv5" in layers:
                    maps.append(conv5.flatten(1))
            with clock.phase("heads"):
                above = [layer for layer in layers if layer != "conv5"]
                taps = network.head_taps(torch.cat(pooled), above) if above else {}
                taps |= {"conv5": torch.cat(maps)} if maps else {}
        yield taps


def _widths(network: RegionNetwork, side: int, layers: Sequence[str], device: torch.device) -> dict[str, int]:
    with torch.inference_mode():
        taps = network.taps(torch.zeros(1, 3, side, side, device=device), layers)
    return {layer: values.numel() for layer, values in taps.items()}
