"""The network of RetinaNet: a feature pyramid, and two towers that predict on each of its levels (section 4).

Sources: RetinaNet, section 4; Lin et al., Feature pyramid networks, section 3; ``FPN.py`` and ``retinanet_heads.py`` of
Detectron. Any backbone takes the place of the ResNet.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from pipeline.core.boxes import decode
from pipeline.core.errors import InputError
from pipeline.nets.backbones import architecture, normalise
from pipeline.nets.geometry import Geometry
from pipeline.nets.weights import Backbone, ShapedNetwork, load_conv
from pipeline.systems.retinanet.anchors import anchor_shapes, level_anchors
from pipeline.systems.retinanet.params import Retinanet as RetinanetParams

# Prefixes of the parameters that no backbone has.
NEW_LAYERS = ("pyramid.", "scores.", "offsets.")
# Pairs of anchor and class of each level that are decoded (section 4.1, inference).
PER_LEVEL = 1000
# Deviation of the new weights of both outputs (section 4.1, initialization).
DEVIATION = 0.01


@dataclass(frozen=True)
class RetinanetShape:
    """All that is needed to build the network and its anchors.

    Attributes:
        network: name of the backbone.
        classes: without the background.
        side: of the square input, in pixels.
        taps: maps of the backbone that the pyramid is built on (`Architecture.taps`).
        further: levels behind them.
        width: channels of the pyramid and of the towers.
        convolutions: of each tower, before its output.
        scale: side of a level's smallest square anchor, in its strides.
        octaves: sizes on a level, each ``2 ** (1 / octaves)`` times the one before.
        ratios: height over width of the anchors.
    """

    network: str
    classes: int
    side: int
    taps: tuple[str, ...]
    further: int
    width: int
    convolutions: int
    scale: float
    octaves: int
    ratios: tuple[float, ...]

    @classmethod
    def from_params(cls, section: RetinanetParams, classes: int) -> "RetinanetShape":
        """Return the shape that the parameters describe."""
        r, anchors = section, section.anchors
        sizes = (anchors.scale, anchors.octaves, anchors.ratios)
        return cls(r.backbone, classes, r.side, r.taps, r.further, r.width, r.convolutions, *sizes)

    @property
    def per_cell(self) -> int:
        """Number of anchors around one cell."""
        return self.octaves * len(self.ratios)


class Pyramid(nn.Module):
    """Maps of ``width`` channels, each with what the deeper ones know (Feature pyramid networks, section 3).

    A level is a 3x3 convolution of the sum of its backbone's map, through a 1x1 convolution, and the sum above it,
    enlarged. Further levels are halved by 3x3 convolutions of stride 2, the first from the backbone's last map, the
    others with a rectifier before. Weights are drawn as Detectron's ``XavierFill`` does, by the fan-in; biases are 0.

    Args:
        inputs: channels of the backbone's maps, the deepest last.
        width: channels of every level.
        further: levels behind those.
    """

    def __init__(self, inputs: Sequence[int], width: int, further: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(channels, width, 1) for channels in inputs)
        self.output = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in inputs)
        behind = [inputs[-1], *[width] * further]
        self.further = nn.ModuleList(nn.Conv2d(channels, width, 3, 2, padding=1) for channels in behind[:further])
        for layer in (*self.lateral, *self.output, *self.further):
            nn.init.kaiming_uniform_(layer.weight, a=1)
            nn.init.zeros_(layer.bias)

    def forward(self, maps: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Return the levels ``(N, width, rows, columns)``, finest first, of ``maps`` (N, channels, rows, columns)."""
        levels: list[torch.Tensor] = []
        above: torch.Tensor | None = None
        for lateral, output, each in reversed(list(zip(self.lateral, self.output, maps, strict=True))):
            own = lateral(each)
            above = own if above is None else own + F.interpolate(above, size=own.shape[2:])  # nearest
            levels.insert(0, output(above))
        last = maps[-1]
        for number, layer in enumerate(self.further):
            last = layer(last.relu() if number else last)
            levels.append(last)
        return levels


class Retinanet(ShapedNetwork):
    """Logits of the classes, and offsets, of every anchor.

    Both towers are the same for all levels. Outputs are drawn from N(0, .01), as the paper draws all layers of a tower.
    That shrinks what passes through four layers to a hundredth, for 64 channels to a thousandth, so by default the
    others are drawn as He et al. do. Biases are 0, but that of the classes makes each as likely as ``prior`` (section
    3.3).

    Args:
        shape: of the network.
        prior: probability of each class on each anchor at the start.
        deviation: of the towers' new weights; the paper: .01. None: by He et al.'s rule.

    Raises:
        InputError: the backbone has no such maps, or they are in another order.
    """

    SHAPE = RetinanetShape
    TITLE = "RetinaNet"
    shape: RetinanetShape

    def __init__(self, shape: RetinanetShape, prior: float = 0.01, deviation: float | None = None) -> None:
        super().__init__(shape)
        net = architecture(shape.network)
        if list(shape.taps) != [name for name in net.taps if name in shape.taps]:
            raise InputError(
                f"params.yaml, retinanet.taps: found {', '.join(shape.taps)}, but {shape.network} has "
                f"{', '.join(net.taps)}, in this order."
            )
        ends, channels = zip(*(net.taps[tap] for tap in shape.taps), strict=True)
        self._ends: tuple[int, ...] = ends
        self.conv = net.conv()
        self.pyramid = Pyramid(channels, shape.width, shape.further)
        bias = -math.log((1 - prior) / prior)
        self.scores = _tower(shape.width, shape.convolutions, shape.per_cell * shape.classes, deviation, bias)
        self.offsets = _tower(shape.width, shape.convolutions, shape.per_cell * 4, deviation)
        levels = [
            level_anchors(anchor_shapes(each.stride, shape.scale, shape.octaves, shape.ratios), each, shape.side)
            for each in self.geometries()
        ]
        self.by_level = [len(boxes) for boxes in levels]
        self.anchors: torch.Tensor
        self.register_buffer("anchors", torch.from_numpy(np.concatenate(levels)), persistent=False)

    def geometries(self) -> list[Geometry]:
        """Return the geometry of each level, finest first, by the layers that lead to its cells."""
        taps = [self.conv[:end] for end in self._ends]
        behind = [nn.Sequential(taps[-1], *self.pyramid.further[: n + 1]) for n in range(self.shape.further)]
        return [Geometry.from_layers(layers) for layers in (*taps, *behind)]

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return logits and offsets for the anchors.

        Args:
            images: ``(N, 3, side, side)`` RGB, 0 to 255, uint8 or float.

        Returns:
            Logits ``(N, A, classes)`` and offsets ``(N, A, 4)`` of `boxes.encode`, in the order of `anchors`
            ``(A, 4)``: level by level, the finest first, row, column, then the shapes of one cell.
        """
        maps, taps = normalise(images), []
        for position, layer in enumerate(self.conv[: self._ends[-1]], 1):
            maps = layer(maps)
            if position in self._ends:
                taps.append(maps * self.input_scale)
        levels = self.pyramid(taps)
        logits = [_by_anchor(self.scores(level), self.shape.classes) for level in levels]
        offsets = [_by_anchor(self.offsets(level), 4) for level in levels]
        return torch.cat(logits, 1), torch.cat(offsets, 1)

    def decode(self, output: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return boxes and probabilities of the network's output.

        Returns:
            Boxes ``(N, A, 4)`` in pixels of the square, not clipped, and scores ``(N, A, classes)``: 0 for pairs of
            anchor and class that are not among the `PER_LEVEL` best of their level.
        """
        logits, offsets = output
        reference = self.anchors.expand(offsets.shape[0], -1, -1).reshape(-1, 4)
        boxes = decode(reference, offsets.reshape(-1, 4)).view_as(offsets)
        return boxes, torch.cat([_best(scores) for scores in logits.sigmoid().split(self.by_level, 1)], 1)

    def load_backbone(self, backbone: Backbone) -> None:
        """Copy the convolutions; the pyramid sees their maps at the scale of `ShapedNetwork.scale_input`.

        Raises:
            InputError: the convolution weights are missing or have other shapes.
        """
        load_conv(self.conv, self.shape.network, backbone.weights)
        self.scale_input(backbone)


def _tower(width: int, convolutions: int, outputs: int, deviation: float | None, bias: float = 0) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(convolutions):
        layers += [_conv(width, width, deviation or (2 / (9 * width)) ** 0.5), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, _conv(width, outputs, DEVIATION, bias))


def _conv(inputs: int, outputs: int, deviation: float, bias: float = 0) -> nn.Conv2d:
    layer = nn.Conv2d(inputs, outputs, 3, padding=1)
    nn.init.normal_(layer.weight, std=deviation)
    nn.init.constant_(layer.bias, bias)  # type: ignore[arg-type]
    return layer


def _by_anchor(maps: torch.Tensor, values: int) -> torch.Tensor:
    """Turn ``(N, anchors * values, rows, columns)`` into ``(N, rows * columns * anchors, values)``."""
    return maps.permute(0, 2, 3, 1).reshape(maps.shape[0], -1, values)


def _best(scores: torch.Tensor) -> torch.Tensor:
    """Return ``scores`` (N, A, classes) of a level with 0 for all but the `PER_LEVEL` best of each image."""
    pairs = scores.flatten(1)
    if pairs.shape[1] <= PER_LEVEL:
        return scores
    values, places = pairs.topk(PER_LEVEL, dim=1)
    return torch.zeros_like(pairs).scatter(1, places, values).view_as(scores)
