"""SPP-net's layers above the shared map: fc6, fc7 and a classification layer on pyramid-pooled regions."""

from dataclasses import dataclass

import torch

from pipeline.features.pyramid import Rule
from pipeline.nets.heads import RegionHead
from pipeline.nets.weights import Backbone


@dataclass(frozen=True)
class PyramidShape:
    """All that is needed to build the layers, and the maps that they are made for.

    Attributes:
        network: name of the backbone that made the maps.
        maps: fingerprint of the cached maps.
        channels: of their cells.
        rule: how regions are projected to cells (`pyramid.cells_along`).
        side: of the square that a region should be like at its scale, in pixels (`pyramid.choose_scale`).
        levels: of the spatial pyramid.
        width: of fc6 and fc7.
        outputs: classes + 1, the background first.
    """

    network: str
    maps: str
    channels: int
    rule: Rule
    side: int
    levels: tuple[int, ...]
    width: int
    outputs: int


class PyramidHead(RegionHead):
    """A classifier of pooled regions; ``pool5`` is the pooled vector."""

    SHAPE = PyramidShape
    TITLE = "SPP-net head"
    shape: PyramidShape

    def __init__(self, shape: PyramidShape) -> None:
        super().__init__(shape, shape.channels * sum(level**2 for level in shape.levels), shape.width, shape.outputs)

    def forward(self, pooled: torch.Tensor) -> torch.Tensor:
        """Return the class logits ``(N, outputs)`` of ``pooled`` vectors ``(N, channels * bins)``."""
        return self.classify(self.head_taps(pooled, ("fc7",))["fc7"])

    def load_backbone(self, backbone: Backbone) -> list[str]:
        """Copy fc6 and fc7 of the pre-trained pyramid classifier and return the layers that stay new.

        Where the ``backbone`` was trained with other pyramid levels, or none, all layers stay new: fc6 would see other
        bins, and fc7 means nothing without its fc6.
        """
        same = backbone.pyramid == self.shape.levels
        return self.load_head(backbone, {"fc6": "pyramid.fc6", "fc7": "pyramid.fc7"} if same else {})
