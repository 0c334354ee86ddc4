"""SPP-net's layers above the shared map: fc6, fc7 and a classification layer on pyramid-pooled regions."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from pipeline.features.pyramid import Rule
from pipeline.nets.backbones import architecture
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
        """Copy fc6 and fc7 of the pre-trained pyramid classifier, or the published ones, and return what stays new.

        Published ones expect the network's own pool5; `place_in_pyramid` puts them above the level that equals it.
        Where the ``backbone`` was trained with other pyramid levels, or none, all layers stay new: fc6 would see other
        bins, and fc7 means nothing without its fc6.
        """
        shape, names = self.shape, architecture(self.shape.network).fc_names
        if backbone.pyramid == shape.levels:
            return self.load_head(backbone, {"fc6": "pyramid.fc6", "fc7": "pyramid.fc7"})
        fc6 = f"{names.get('fc6')}.weight"
        published = backbone.weights.get(fc6)
        placed = None if published is None else place_in_pyramid(published, shape.channels, shape.levels)
        if placed is None:
            return self.load_head(backbone, {})
        return self.load_head(replace(backbone, weights={**backbone.weights, fc6: placed}), names)


def place_in_pyramid(weight: torch.Tensor, channels: int, levels: Sequence[int]) -> torch.Tensor | None:
    """Return an fc6 that reads one grid as one that reads a pyramid: its columns at the grid's level, zeros elsewhere.

    At the network's own input size, pool5 is that level: AlexNet's 13 x 13 cells in 6 x 6 windows of 3 at a stride of
    2, VGG16's 14 x 14 in 7 x 7 windows of 2. So fc6 and fc7 have the published values there.

    Args:
        weight: ``(width, channels * grid * grid)``.
        channels: of the map.
        levels: of the pyramid.

    Returns:
        ``(width, channels * bins)``; None where no level is the grid.
    """
    inputs = [channels * level**2 for level in levels]
    if weight.shape[1] not in inputs:
        return None
    blocks = [weight if size == weight.shape[1] else weight.new_zeros(len(weight), size) for size in inputs]
    return torch.cat(blocks, dim=1)
