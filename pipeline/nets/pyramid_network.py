"""A classifier of images of any size: convolutions, a spatial pyramid, two fc layers (SPP-net, section 2)."""

from collections.abc import Sequence

import torch
from torch import nn

from pipeline.nets.backbones import Architecture


class SpatialPyramid(nn.Module):
    """Max pooling into ``n x n`` bins for each level ``n``, concatenated.

    Bin ``i`` of ``n`` over ``w`` cells spans ``floor(i * w / n)`` to ``ceil((i + 1) * w / n)``: the rule for arbitrary
    sizes (SPP-net, appendix A), which is also right where the paper's rule of fixed windows is not.
    """

    def __init__(self, levels: Sequence[int]) -> None:
        super().__init__()
        self.levels = tuple(levels)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Pool maps ``(N, C, H, W)`` to vectors ``(N, C * sum of squared levels)``."""
        pool = torch.nn.functional.adaptive_max_pool2d
        return torch.cat([pool(maps, level).flatten(1) for level in self.levels], dim=1)


class PyramidNetwork(nn.Module):
    """The classifier that `pretrain` trains; its parameters have the names of ``models/backbone.safetensors``.

    Args:
        net: the backbone.
        levels: of the pyramid.
        width: of both fully connected layers.
        outputs: classes + 1, the background first.
    """

    def __init__(self, net: Architecture, levels: Sequence[int], width: int, outputs: int) -> None:
        super().__init__()
        self.features = net.conv()
        for layer in self.features.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        self.pyramid = nn.ModuleDict(
            {
                "pool": SpatialPyramid(levels),
                "fc6": nn.Linear(net.channels * sum(level**2 for level in levels), width),
                "fc7": nn.Linear(width, width),
            }
        )
        self.dropout = nn.Dropout(0.5)
        self.output = nn.Linear(width, outputs)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the class logits ``(N, outputs)`` of ``images`` ``(N, 3, H, W)`` of any size."""
        pooled = self.pyramid["pool"](self.features(images))
        fc6 = self.dropout(self.pyramid["fc6"](pooled).relu())
        fc7 = self.dropout(self.pyramid["fc7"](fc6).relu())
        return self.output(fc7)
