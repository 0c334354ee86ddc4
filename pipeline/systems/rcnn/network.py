"""The network that sees one region at a time: conv, pool5, fc6, fc7 and a classification layer (R-CNN, section 2.1)."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from pipeline.core.errors import InputError
from pipeline.nets import weights
from pipeline.nets.backbones import Architecture, architecture
from pipeline.nets.heads import HEAD_LAYERS, RegionHead

LAYERS = ("conv5", *HEAD_LAYERS)


class RegionNetwork(RegionHead):
    """A classifier of regions with named taps.

    The fully connected layers have the network's own width where it has any, else ``fc_width``. A tap is the value
    after the rectifier, before dropout.

    Args:
        net: the backbone.
        side: of the square input, in pixels.
        fc_width: width of fc6 and fc7 where the network has none of its own.
        outputs: of the classification layer; classes + 1, the background first. 0: no such layer.
        dropout: share of dropped values in training.
    """

    def __init__(self, net: Architecture, side: int, fc_width: int, outputs: int, dropout: float = 0.5) -> None:
        conv, pool5 = net.conv(), net.pool5()
        with torch.no_grad():
            inputs = pool5(conv(torch.zeros(1, 3, side, side))).numel()
        super().__init__(inputs, net.fc[2] if net.fc else fc_width, outputs, dropout)
        self.net = net
        self.side = side
        self._shape = {"side": side, "fc_width": fc_width, "outputs": outputs}
        self.conv = conv
        self.pool5 = pool5

    def forward(self, regions: torch.Tensor) -> torch.Tensor:
        """Return the class logits, ``(N, outputs)``, of ``regions`` ``(N, 3, side, side)``, normalised RGB."""
        return self.classify(self.taps(regions, ("fc7",))["fc7"])

    def taps(self, regions: torch.Tensor, layers: Sequence[str]) -> dict[str, torch.Tensor]:
        """Return the values of ``layers`` for ``regions`` ``(N, 3, side, side)``; nothing past the last is computed.

        ``conv5`` is ``(N, channels, H, W)``, ``pool5`` ``(N, channels * h * w)``, ``fc6`` and ``fc7`` ``(N, width)``.
        """
        return self.above(self.conv(regions), layers)

    def above(self, conv5: torch.Tensor, layers: Sequence[str]) -> dict[str, torch.Tensor]:
        """Return the values of ``layers``, as `taps` does, of regions whose ``conv5`` is known."""
        above = [layer for layer in layers if layer != "conv5"]
        values = self.head_taps(self.pool5(conv5).flatten(1), above) if above else {}
        return {layer: conv5 if layer == "conv5" else values[layer] for layer in layers}

    def load_backbone(self, backbone: Mapping[str, torch.Tensor], conv5_rms: float = 1.0) -> list[str]:
        """Copy backbone weights (torchvision's names) and return the layers that stay new.

        A new fc6 sees the features divided by ``conv5_rms``, their size in this backbone.

        Raises:
            InputError: the convolution weights are missing or have other shapes.
        """
        weights.load_conv(self.conv, self.net.name, backbone)
        places = dict(zip(("fc6", "fc7"), self.net.fc or (), strict=False))
        return self.load_fc(backbone, {name: f"classifier.{place}" for name, place in places.items()}, conv5_rms)

    def save(self, path: Path) -> None:
        """Write the weights with what is needed to build the network again."""
        metadata = {"network": self.net.name, **{name: str(value) for name, value in self._shape.items()}}
        weights.save(path, self.state_dict(), metadata)

    @classmethod
    def load(cls, path: Path, stage: str) -> "RegionNetwork":
        """Build the network that `save` wrote.

        Raises:
            InputError: the file is missing or holds something else; the sentence names the ``stage`` that writes it.
        """
        try:
            tensors, metadata = weights.load(path)
            shape = {name: int(metadata[name]) for name in ("side", "fc_width", "outputs")}
            network = cls(architecture(metadata["network"]), **shape)
            network.load_state_dict(tensors)
        except (InputError, KeyError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split()).removeprefix(f"{path}: ").removesuffix(".")
            raise InputError(f"{path}: no region network can be read ({reason}); {stage} writes it.") from error
        return network.eval()
