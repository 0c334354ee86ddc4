"""The layers that classify one region from its pooled features: fc6, fc7 and the output (R-CNN, section 2.1)."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from pipeline.nets.weights import Backbone, ShapedNetwork, load_fc

HEAD_LAYERS = ("pool5", "fc6", "fc7")


class RegionHead(ShapedNetwork):
    """Two fully connected layers, each followed by a rectifier and in training by dropout, and a classifier.

    Args:
        shape: of the whole network.
        inputs: values of one region's ``pool5``.
        width: of fc6 and fc7.
        outputs: of the classification layer; classes + 1, the background first. 0: no such layer.
        dropout: share of dropped values in training.
    """

    def __init__(self, shape: Any, inputs: int, width: int, outputs: int, dropout: float = 0.5) -> None:
        super().__init__(shape)
        self.fc6 = nn.Linear(inputs, width)
        self.fc7 = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(width, outputs) if outputs else nn.Identity()
        for layer in (self.fc6, self.fc7):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
        if isinstance(self.output, nn.Linear):
            nn.init.normal_(self.output.weight, std=0.01)
            nn.init.zeros_(self.output.bias)

    def head_taps(self, pool5: torch.Tensor, layers: Sequence[str]) -> dict[str, torch.Tensor]:
        """Return the values of ``layers`` for ``pool5`` ``(N, inputs)``; nothing past the last is computed.

        ``fc6`` and ``fc7`` are ``(N, width)``, after the rectifier and before dropout. Of float16, values beyond its
        range are its largest number: infinity times a weight of another sign is no number.
        """
        last = max(HEAD_LAYERS.index(layer) for layer in layers)
        values = {"pool5": pool5}
        if last >= 1:
            values["fc6"] = _in_range(self.fc6(pool5 * self.input_scale).relu())
        if last >= 2:
            values["fc7"] = _in_range(self.fc7(self.dropout(values["fc6"])).relu())
        return {layer: values[layer] for layer in layers}

    def width_of(self, layer: str) -> int:
        """Return the number of values of ``pool5``, ``fc6`` or ``fc7``."""
        return self.fc6.in_features if layer == "pool5" else self.fc6.out_features

    def classify(self, fc7: torch.Tensor) -> torch.Tensor:
        """Return the class logits ``(N, outputs)`` of ``fc7`` ``(N, width)``."""
        return self.output(self.dropout(fc7))

    def load_head(self, backbone: Backbone, names: Mapping[str, str]) -> list[str]:
        """Copy fc6 and fc7 as `load_fc` does and return the layers that stay new, the output among them.

        A new fc6 sees the features at the scale of `ShapedNetwork.scale_input`.
        """
        fresh = load_fc({"fc6": self.fc6, "fc7": self.fc7}, backbone.weights, names)
        if "fc6" in fresh:
            self.scale_input(backbone)
        return ["output", *fresh]


def _in_range(values: torch.Tensor) -> torch.Tensor:
    """Return values above 0 with infinity replaced by float16's largest number, where they are of this type."""
    return values.clamp(max=65504) if values.dtype == torch.float16 else values
