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
        fields: ``(height, width, 4)`` int64, the receptive field of each cell in pixels of the network's square input:
            ``x1 y1 x2 y2``, half-open.
    """

    channels: int
    fields: NDArray[np.int64]

    def cell(self, unit: int) -> tuple[int, int, int]:
        """Return channel, row and column of a unit."""
        height, width, _ = self.fields.shape
        return unit // (height * width), unit // width % height, unit % width

    def field(self, unit: int) -> NDArray[np.int64]:
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
    adaptive = pools.pop() if isinstance(pools[-1], nn.AdaptiveAvgPool2d) else None
    layers = [conv, *pools] if layer == "pool5" else [conv]
    steps = Geometry.from_layers(nn.Sequential(*layers)).steps
    sides = [side]
    for step in steps:
        sides.append(step.size(sides[-1]))
    low, high = np.arange(sides[-1]), np.arange(sides[-1]) + 1
    if layer == "pool5" and adaptive is not None:  # its cells average several where sizes differ
        bins = np.arange(int(adaptive.output_size))  # type: ignore[arg-type]
        low, high = bins * sides[-1] // len(bins), -(-(bins + 1) * sides[-1] // len(bins))
    # Back through the layers, cut at each one's edges: what a layer drops at its far end is not seen by what follows.
    for step, size in zip(reversed(steps), reversed(sides[:-1]), strict=True):
        low = np.maximum(low * step.stride - step.padding, 0)
        high = np.minimum((high - 1) * step.stride - step.padding + step.kernel, size)
    if net.channels * len(low) ** 2 != units:
        return None
    x1, y1 = np.meshgrid(low, low)
    x2, y2 = np.meshgrid(high, high)
    return UnitGrid(net.channels, np.stack([x1, y1, x2, y2], axis=2))
