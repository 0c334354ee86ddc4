"""The network of OverFeat: a trunk, and two heads whose fully connected layers are convolutions (section 3.3).

On one window a head gives one answer, on a larger map one for each window, in a single pass: they share all that they
have in common.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from pipeline.core.boxes import Boxes
from pipeline.core.errors import InputError
from pipeline.nets.backbones import architecture, normalise
from pipeline.nets.geometry import Geometry
from pipeline.nets.weights import Backbone, ShapedNetwork, load_conv
from pipeline.systems.overfeat.params import Overfeat as OverfeatParams

CLASSIFIER, REGRESSOR = "classifier.", "regressor."


@dataclass(frozen=True)
class OverfeatShape:
    """All that is needed to build the network.

    Attributes:
        network: name of the backbone.
        classes: without the background.
        scales: sides of the square inputs, in pixels.
        pool: side of the last pooling, in cells.
        window: side of a window, in pooled cells.
        widths: of the classifier's hidden layers.
        box_widths: of the regressor's.
        per_class: whether the regressor gives a box for each class, or one for all.
    """

    network: str
    classes: int
    scales: tuple[int, ...]
    pool: int
    window: int
    widths: tuple[int, ...]
    box_widths: tuple[int, ...]
    per_class: bool

    @classmethod
    def from_params(cls, section: OverfeatParams, classes: int) -> "OverfeatShape":
        """Return the shape that the parameters describe."""
        o = section
        return cls(o.backbone, classes, o.scales, o.pool, o.window, o.widths, o.box_widths, o.per_class)


class Head(nn.Module):
    """The last pooling and fully connected layers, on every window of a map.

    Args:
        channels: of the map.
        pool: side of the pooling, in cells.
        window: side of the first layer, in pooled cells.
        widths: of the hidden layers.
        outputs: of the last layer.
        dropout: in front of each layer but the first.
    """

    def __init__(
        self, channels: int, pool: int, window: int, widths: Sequence[int], outputs: int, dropout: float
    ) -> None:
        super().__init__()
        self.pool = pool
        sizes = [channels, *widths, outputs]
        self.layers = nn.ModuleList(
            nn.Conv2d(inputs, outputs, 1 if number else window)
            for number, (inputs, outputs) in enumerate(pairwise(sizes))
        )
        self.dropout = nn.Dropout(dropout)
        for layer in self.layers:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        nn.init.normal_(self.layers[-1].weight, std=0.01)  # type: ignore[arg-type]

    def forward(self, maps: torch.Tensor, offsets: bool) -> torch.Tensor:
        """Return the outputs ``(N, outputs, rows, columns)`` of the windows of ``maps`` (N, channels, H, W).

        With ``offsets`` a window starts at every cell. The paper pools ``pool * pool`` times, each time from another
        offset, runs the layers on each and interleaves what they give. Pooling at every cell, and a first layer whose
        weights lie ``pool`` cells apart, compute just that.
        """
        step = 1 if offsets else self.pool
        values = F.max_pool2d(maps, self.pool, stride=step)
        first, *others = self.layers
        values = F.conv2d(values, first.weight, first.bias, dilation=self.pool // step)  # type: ignore[arg-type]
        for layer in others:
            values = layer(self.dropout(F.relu(values)))
        return values


class Overfeat(ShapedNetwork):
    """Trunk, classifier and box regressor.

    Args:
        shape: of the network.
        dropout: in the classifier; the regressor has none.

    Raises:
        InputError: a scale has no room for a window.
    """

    SHAPE = OverfeatShape
    TITLE = "OverFeat"
    shape: OverfeatShape

    def __init__(self, shape: OverfeatShape, dropout: float = 0.5) -> None:
        super().__init__(shape)
        net = architecture(shape.network)
        self.conv = net.conv()
        self.geometry = Geometry.from_layers(self.conv)
        boxes = shape.classes if shape.per_class else 1
        self.classifier = Head(net.channels, shape.pool, shape.window, shape.widths, shape.classes + 1, dropout)
        self.regressor = Head(net.channels, shape.pool, shape.window, shape.box_widths, 4 * boxes, 0)
        with torch.no_grad():  # it starts from the window itself
            self.regressor.layers[-1].bias.copy_(torch.tensor([0.0, 0, 1, 1]).repeat(boxes))  # type: ignore[operator]
        for side in shape.scales:
            if self.geometry.size(side) < self.cells:
                raise InputError(
                    f"params.yaml, overfeat.scales: found {side}, but {shape.network} makes {self.geometry.size(side)} "
                    f"cells a side of it and a window has {self.cells}; a greater one would be right."
                )

    @property
    def cells(self) -> int:
        """Side of a window in cells of the map."""
        return self.shape.pool * self.shape.window

    @property
    def window_side(self) -> int:
        """Side of a window in pixels of the square."""
        return self.cells * self.geometry.stride

    def windows(self, side: int, offsets: bool = True) -> Boxes:
        """Return the windows in a square of ``side`` pixels, ``(W, 4)``, row by row; some may reach beyond it.

        A window is the square around the centres of its cells, half a stride beyond the outer ones.
        """
        step = 1 if offsets else self.shape.pool
        count = (self.geometry.size(side) - self.cells) // step + 1
        start = self.geometry.offset + self.geometry.stride * (step * np.arange(count) - 0.5)
        x, y = np.meshgrid(start, start)
        corners = np.stack([x, y], axis=-1).reshape(-1, 2)
        return np.concatenate([corners, corners + self.window_side], axis=1).astype(np.float32)

    def forward(
        self, images: torch.Tensor, *, classify: bool = True, regress: bool = True, offsets: bool = True
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return logits and edges of the windows of squares, in the order of `windows`.

        Args:
            images: ``(N, 3, side, side)`` RGB, 0 to 255, uint8 or float.
            classify: without it there are no logits.
            regress: without it there are no edges.
            offsets: see `Head.forward`.

        Returns:
            Logits ``(N, W, classes + 1)``, the background first, and edges ``(N, W, boxes, 4)``: those of the object's
            box, from the window's corner, in its sides.
        """
        maps = self.conv(normalise(images)) * self.input_scale
        logits = _by_window(self.classifier(maps, offsets)) if classify else maps.new_zeros(len(images), 0, 0)
        edges = _by_window(self.regressor(maps, offsets)) if regress else maps.new_zeros(len(images), 0, 4)
        return logits, edges.unflatten(-1, (-1, 4))

    def boxes(self, edges: torch.Tensor, windows: torch.Tensor) -> torch.Tensor:
        """Return the boxes ``(N, W, boxes, 4)`` of ``edges`` from ``windows`` (W, 4), in pixels of the square."""
        return windows[:, :2].repeat(1, 2)[:, None] + edges * self.window_side

    def load_backbone(self, backbone: Backbone) -> None:
        """Copy the convolutions; the heads see their map at the scale of `ShapedNetwork.scale_input`.

        Raises:
            InputError: the convolution weights are missing or have other shapes.
        """
        load_conv(self.conv, self.shape.network, backbone.weights)
        self.scale_input(backbone)


def _by_window(maps: torch.Tensor) -> torch.Tensor:
    """Turn ``(N, values, rows, columns)`` into ``(N, rows * columns, values)``, float32."""
    return maps.permute(0, 2, 3, 1).flatten(1, 2).float()
