"""The region proposal network, a small network that slides over the shared map (Faster R-CNN, section 3.1).

Its anchors are reference boxes of several scales and shapes on every cell of the map (section 3.1.1).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from pipeline.core.boxes import Boxes
from pipeline.nets.backbones import architecture
from pipeline.nets.geometry import Geometry
from pipeline.nets.weights import Backbone, ShapedNetwork, load_conv
from pipeline.systems.fast_rcnn.network import map_shift
from pipeline.systems.fast_rcnn.params import ImageSize
from pipeline.systems.faster_rcnn.params import Anchors


def reference_anchors(base: int, sides: Sequence[float], ratios: Sequence[float]) -> Boxes:
    """Return the anchors around the cell that spans pixels 0 to ``base``: ``(ratios * sides, 4)``, ratio by ratio.

    A ratio is height over width. The shape is rounded to whole pixels at the area of ``base`` squared and then enlarged
    to each of ``sides``, as the official code does (``generate_anchors.py``, whose boxes name the last pixel and ours
    the one after it). NumPy rounds halves to even in both.
    """
    anchors = []
    for ratio in ratios:
        width = np.round(np.sqrt(base * base / ratio))
        half = np.array([width, np.round(width * ratio)]) / 2
        anchors += [np.concatenate([base / 2 - half * side / base, base / 2 + half * side / base]) for side in sides]
    return np.array(anchors, np.float32).reshape(-1, 4)


def anchor_grid(reference: Boxes, geometry: Geometry, rows: int, columns: int) -> Boxes:
    """Return the anchors of a map of ``rows`` x ``columns`` cells in pixels of the resized image.

    The order is row, column, anchor: ``(rows * columns * len(reference), 4)``.
    """
    x, y = np.meshgrid(np.arange(columns), np.arange(rows))
    corner = np.stack([x, y, x, y], axis=-1).reshape(-1, 1, 4) * geometry.stride + map_shift(geometry)
    return (corner + reference).reshape(-1, 4).astype(np.float32)


@dataclass(frozen=True)
class RpnShape:
    """All that is needed to build the network and its anchors.

    Attributes:
        network: name of the backbone.
        width: channels of the 3x3 convolution.
        sides: of the anchors in pixels of the resized image.
        ratios: height over width.
        short_sides: of the images in pixels; a network is tested at the sizes that it was trained at.
        long_side: limit of the longer side in pixels.
    """

    network: str
    width: int
    sides: tuple[float, ...]
    ratios: tuple[float, ...]
    short_sides: tuple[int, ...]
    long_side: int

    @classmethod
    def from_params(cls, network: str, width: int, anchors: Anchors, size: ImageSize) -> "RpnShape":
        """Return the shape that the parameters describe."""
        return cls(network, width, anchors.sides, anchors.ratios, size.short_sides, size.long_side)


class RegionProposalNetwork(ShapedNetwork):
    """Objectness and box offsets for every anchor.

    Departs from torchvision's ``FasterRCNN`` where that departs from the paper: a softmax over two scores instead of a
    sigmoid, one map instead of a pyramid, border-crossing anchors left out of training, RoI pooling, not RoIAlign.
    New layers are drawn from N(0, 0.01), biases 0 (section 3.1.3).
    """

    SHAPE = RpnShape
    TITLE = "proposal network"
    shape: RpnShape

    def __init__(self, shape: RpnShape) -> None:
        super().__init__(shape)
        net = architecture(shape.network)
        self.conv = net.conv()
        self.geometry = Geometry.from_layers(self.conv)
        self.reference = reference_anchors(self.geometry.stride, shape.sides, shape.ratios)
        count = len(self.reference)
        self.window = nn.Conv2d(net.channels, shape.width, 3, padding=1)
        self.scores = nn.Conv2d(shape.width, 2 * count, 1)
        self.offsets = nn.Conv2d(shape.width, 4 * count, 1)
        for layer in (self.window, self.scores, self.offsets):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, images: torch.Tensor, *, mapped: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
        """Return `head` of the maps of ``images`` ``(N, 3, H, W)``, normalised RGB; with ``mapped`` of these maps."""
        return self.head(images if mapped else self.conv(images))

    def head(self, maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return scores and offsets of the anchors of ``maps`` ``(N, channels, rows, columns)``.

        Returns:
            Scores ``(N, A, 2)``, background before object, and offsets ``(N, A, 4)`` of `boxes.encode`, with the
            ``A = rows * columns * anchors`` anchors in the order of `anchors`.
        """
        hidden = self.window(maps * self.input_scale).relu()
        scores, offsets = self.scores(hidden), self.offsets(hidden)
        count, (images, _, rows, columns) = len(self.reference), scores.shape
        # Caffe's order of channels: all background scores before all object scores.
        scores = scores.view(images, 2, count, rows, columns).permute(0, 3, 4, 2, 1)
        offsets = offsets.view(images, count, 4, rows, columns).permute(0, 3, 4, 1, 2)
        return scores.reshape(images, -1, 2), offsets.reshape(images, -1, 4)

    def anchors(self, height: int, width: int) -> Boxes:
        """Return the anchors ``(A, 4)`` of an image of ``height`` x ``width`` pixels, in those pixels."""
        return anchor_grid(self.reference, self.geometry, self.geometry.size(height), self.geometry.size(width))

    def load_backbone(self, backbone: Backbone) -> None:
        """Copy the convolutions; the new layers see the map at the scale of `ShapedNetwork.scale_input`.

        Raises:
            InputError: the convolution weights are missing or have other shapes.
        """
        load_conv(self.conv, self.shape.network, backbone.weights)
        self.scale_input(backbone)
