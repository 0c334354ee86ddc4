"""The network that sees one region at a time: conv, pool5, fc6, fc7 and a classification layer (R-CNN, section 2.1)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from pipeline.nets.backbones import architecture
from pipeline.nets.heads import RegionHead
from pipeline.nets.weights import Backbone, load_conv


@dataclass(frozen=True)
class RegionShape:
    """All that is needed to build the network.

    Attributes:
        network: name of the backbone.
        side: of the square input, in pixels.
        fc_width: width of fc6 and fc7 where the backbone has none itself.
        outputs: of the classification layer; classes + 1, the background first. 0: no such layer.
    """

    network: str
    side: int
    fc_width: int
    outputs: int


class RegionNetwork(RegionHead):
    """A classifier of regions with named taps; a tap is the value after the rectifier, before dropout.

    Args:
        shape: of the network.
        dropout: share of dropped values in training.
    """

    SHAPE = RegionShape
    TITLE = "region network"
    shape: RegionShape

    def __init__(self, shape: RegionShape, dropout: float = 0.5) -> None:
        net = architecture(shape.network)
        conv, pool5 = net.conv(), net.pool5()
        with torch.no_grad():
            inputs = pool5(conv(torch.zeros(1, 3, shape.side, shape.side))).numel()
        super().__init__(shape, inputs, net.fc[2] if net.fc else shape.fc_width, shape.outputs, dropout)
        self.net = net
        self.conv = conv
        self.pool5 = pool5

    def forward(self, regions: torch.Tensor) -> torch.Tensor:
        """Return the class logits, ``(N, outputs)``, of ``regions`` ``(N, 3, side, side)``, normalised RGB."""
        return self.classify(self.taps(regions, ("fc7",))["fc7"])

    def taps(self, regions: torch.Tensor, layers: Sequence[str]) -> dict[str, torch.Tensor]:
        """Return the values of ``layers`` for ``regions`` ``(N, 3, side, side)``; nothing past the last is computed.

        ``conv5`` is ``(N, channels, H, W)``, ``pool5`` ``(N, channels * h * w)``, ``fc6`` and ``fc7`` ``(N, width)``.
        """
        conv5 = self.conv(regions)
        above = [layer for layer in layers if layer != "conv5"]
        values = self.head_taps(self.pool(conv5), above) if above else {}
        return {layer: conv5 if layer == "conv5" else values[layer] for layer in layers}

    def pool(self, conv5: torch.Tensor) -> torch.Tensor:
        """Return ``pool5``, ``(N, channels * h * w)``, of regions whose ``conv5`` is known."""
        return self.pool5(conv5).flatten(1)

    def load_backbone(self, backbone: Backbone) -> list[str]:
        """Copy the convolutions, and fc6 and fc7 where they fit; return the layers that stay new.

        Raises:
            InputError: the convolution weights are missing or have other shapes.
        """
        load_conv(self.conv, self.shape.network, backbone.weights)
        return self.load_head(backbone, self.net.fc_names)
