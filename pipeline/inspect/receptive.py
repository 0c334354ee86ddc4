"""Which pixels of a warped region a unit of conv5 or pool5 sees."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pipeline.nets.backbones import architecture
from pipeline.nets.geometry import Geometry


@dataclass(frozen=True)
class UnitGrid:
    """Where the units of a layer look.

    Attributes:
        channels: of the layer.
        fields: ``(height, width, 4)`` float64, the receptive field of each cell in pixels of the network's square
            input, ``x1 y1 x2 y2``, cut where the square ends.
    """

    channels: int
    fields: NDArray[np.float64]

    def cell(self, unit: int) -> tuple[int, int, int]:
        """Return channel, row and column of a unit."""
        height, width, _ = self.fields.shape
        return unit // (height * width), unit // width % height, unit % width

    def field(self, unit: int) -> NDArray[np.float64]:
        """Return the receptive field of a unit, ``(4,)``."""
        _, y, x = self.cell(unit)
        return self.fields[y, x]


def unit_grid(network: str, side: int, layer: str, units: int) -> UnitGrid | None:
    """Return the grid of ``layer`` of a network that sees squares of ``side`` pixels.

    None for layers whose units all see the whole region (fc6, fc7), and where ``units``, the number that was cached, is
    not that of the network.
    """
    if layer not in ("conv5", "pool5"):
        return None
    net = architecture(network)
    with torch.device("meta"):
        conv, pool5 = net.conv(), net.pool5()
    pools = list(pool5) if isinstance(pool5, nn.Sequential) else [pool5]
    sliding = [pool for pool in pools if not isinstance(pool, nn.AdaptiveAvgPool2d)] if layer == "pool5" else []
    geometry = Geometry.of(nn.Sequential(conv, *sliding))
    cells = geometry.size(side)
    centres = geometry.offset + geometry.stride * np.arange(cells)
    low, high = centres - geometry.field / 2, centres + geometry.field / 2
    if layer == "pool5" and isinstance(pools[-1], nn.AdaptiveAvgPool2d):  # averages of several cells where sizes differ
        bins = np.arange(int(pools[-1].output_size))  # type: ignore[arg-type]
        low, high = low[bins * cells // len(bins)], high[-(-(bins + 1) * cells // len(bins)) - 1]
    if net.channels * len(low) ** 2 != units:
        return None
    x1, y1 = np.meshgrid(low, low)
    x2, y2 = np.meshgrid(high, high)
    return UnitGrid(net.channels, np.clip(np.stack([x1, y1, x2, y2], axis=2), 0, side))
