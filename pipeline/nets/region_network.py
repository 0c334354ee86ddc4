"""The network that sees one region at a time: conv, pool5, fc6, fc7 and a classification layer (R-CNN, section 2.1)."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

from pipeline.errors import InputError
from pipeline.nets import weights
from pipeline.nets.backbones import Architecture, architecture

LAYERS = ("conv5", "pool5", "fc6", "fc7")


class RegionNetwork(nn.Module):
    """A classifier of regions with named taps.

    The fully connected layers have the network's own width where it has any, else ``fc_width``; each is followed by
    a rectifier, and in training by dropout. A tap is the value after the rectifier, before dropout.

    Args:
        net: the backbone.
        side: of the square input, in pixels.
        fc_width: width of fc6 and fc7 where the network has none of its own.
        outputs: of the classification layer; classes + 1, the background first. 0: no such layer.
        dropout: share of dropped values in training.
    """

    def __init__(self, net: Architecture, side: int, fc_width: int, outputs: int, dropout: float = 0.5) -> None:
        super().__init__()
        self.net = net
        self.side = side
        self._shape = {"side": side, "fc_width": fc_width, "outputs": outputs}
        self.conv = net.conv()
        self.pool5 = net.pool5()
        width = net.fc[2] if net.fc else fc_width
        self.fc6 = nn.Linear(self._pool5_size(side), width)
        self.input_scale: torch.Tensor
        self.register_buffer("input_scale", torch.tensor(1.0))
        self.fc7 = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(width, outputs) if outputs else nn.Identity()
        for layer in (self.fc6, self.fc7):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
        if isinstance(self.output, nn.Linear):
            nn.init.normal_(self.output.weight, std=0.01)
            nn.init.zeros_(self.output.bias)

    def forward(self, regions: torch.Tensor) -> torch.Tensor:
        """Return the class logits, ``(N, outputs)``, of ``regions`` ``(N, 3, side, side)``, normalised RGB."""
        return self.output(self.dropout(self.taps(regions, ("fc7",))["fc7"]))

    def taps(self, regions: torch.Tensor, layers: Sequence[str]) -> dict[str, torch.Tensor]:
        """Return the values of ``layers`` for ``regions`` ``(N, 3, side, side)``; nothing past the last is computed.

        ``conv5`` is ``(N, channels, H, W)``, ``pool5`` ``(N, channels * h * w)``, ``fc6`` and ``fc7`` ``(N, width)``.
        """
        last = max(LAYERS.index(layer) for layer in layers)
        values = {"conv5": self.conv(regions)}
        if last >= 1:
            values["pool5"] = self.pool5(values["conv5"]).flatten(1)
        if last >= 2:
            values["fc6"] = self.fc6(values["pool5"] * self.input_scale).relu()
        if last >= 3:
            values["fc7"] = self.fc7(self.dropout(values["fc6"])).relu()
        return {layer: values[layer] for layer in layers}

    def load_backbone(self, backbone: Mapping[str, torch.Tensor], conv5_rms: float = 1.0) -> list[str]:
        """Copy backbone weights (torchvision's names) and return the layers that stay new.

        A new fc6 sees the features divided by ``conv5_rms``, their size in this backbone.

        Raises:
            InputError: the convolution weights are missing or have other shapes.
        """
        conv = {name.removeprefix("features."): w for name, w in backbone.items() if name.startswith("features.")}
        try:
            self.conv.load_state_dict(conv)
        except RuntimeError as error:
            raise InputError(
                f"backbone: the weights do not fit {self.net.name}: {' '.join(str(error).split())}"
            ) from error
        fresh = ["output"]
        places = self.net.fc[:2] if self.net.fc else (None, None)
        for name, layer, place in (("fc6", self.fc6, places[0]), ("fc7", self.fc7, places[1])):
            weight = backbone.get(f"classifier.{place}.weight")
            if weight is None or weight.shape != layer.weight.shape:
                fresh.append(name)
                continue
            layer.load_state_dict({"weight": weight, "bias": backbone[f"classifier.{place}.bias"]})
        if "fc6" in fresh:
            self.input_scale.fill_(1 / conv5_rms)
        return fresh

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

    def _pool5_size(self, side: int) -> int:
        with torch.no_grad():
            return self.pool5(self.conv(torch.zeros(1, 3, side, side))).numel()
