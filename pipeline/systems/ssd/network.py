"""The network of SSD: maps of several sizes from one pass, and on each a convolution that predicts (sections 2 and 3).

`Trunk` is the part that comes from a classifier: convolutions with taps, fc6 and fc7 as convolutions. For VGG16 the
network is the published one: conv4_3 under a learned scale, fc6 and fc7 dilated, extra layers. Any other backbone takes
the place of VGG16's convolutions.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from pipeline.core.boxes import decode
from pipeline.core.errors import InputError
from pipeline.nets.backbones import architecture, normalise
from pipeline.nets.geometry import Geometry
from pipeline.nets.weights import Backbone, ShapedNetwork, load_conv
from pipeline.systems.ssd.boxes import VARIANCES, MapBoxes, boxes_per_cell, check_maps, default_boxes, linear_sides
from pipeline.systems.ssd.params import DefaultBoxes

ExtraLayer = tuple[int, int, int, int, int]

# Prefixes of the parameters that no backbone has, and of fc6 and fc7, which one may have.
NEW_LAYERS, FC_LAYERS = ("norms.", "extra.", "scores.", "offsets."), "trunk.fc."
FC7 = "fc7"
# The authors keep every fourth of 4,096 units, and 3x3 of fc6's cells.
FC_WIDTH, EVERY, FC_GRID = 1024, 4, 3


@dataclass(frozen=True)
class SsdShape:
    """All that is needed to build the network and its default boxes.

    Attributes:
        network: name of the backbone.
        classes: without the background.
        side: of the square input, in pixels.
        taps: maps of the backbone that predict (`Architecture.taps`).
        extra: further maps, each by a 1x1 and a second convolution on the map before: channels of the first, channels,
            kernel, stride and padding of the second.
        l2_scale: initial value of the learned scale of normalised maps.
        sides: of the smaller square default boxes in pixels, one a map, and one more for the last map's larger square.
        ratios: of the other default boxes, a tuple a map.
        steps: pixels between the default boxes of neighbouring cells, for each map; the first lies at half a step.
            None: boxes are centred on the cells' receptive fields.
    """

    network: str
    classes: int
    side: int
    taps: tuple[str, ...]
    extra: tuple[ExtraLayer, ...]
    l2_scale: float
    sides: tuple[float, ...]
    ratios: tuple[tuple[float, ...], ...]
    steps: tuple[float, ...] | None

    @classmethod
    def from_params(
        cls,
        network: str,
        classes: int,
        side: int,
        taps: tuple[str, ...],
        extra: tuple[ExtraLayer, ...],
        l2_scale: float,
        boxes: DefaultBoxes,
    ) -> "SsdShape":
        """Return the shape that the parameters describe.

        Raises:
            InputError: the number of default boxes' settings is not that of the maps.
        """
        maps = len(taps) + len(extra)
        check_maps(maps, boxes.sides, boxes.ratios, boxes.steps)
        sides = boxes.sides or linear_sides(side, *boxes.scales, maps)
        return cls(network, classes, side, taps, extra, l2_scale, sides, boxes.ratios, boxes.steps)


class Trunk(nn.Module):
    """The convolutions of ``network``, with fc6 and fc7 behind them where ``taps`` asks for the map ``fc7``.

    Raises:
        InputError: the network has no such map, or the maps are in another order.
    """

    def __init__(self, network: str, taps: tuple[str, ...]) -> None:
        super().__init__()
        net = architecture(network)
        known = net.taps
        names = [*known, FC7] if net.fc else [*known]
        if list(taps) != [name for name in names if name in taps]:
            raise InputError(
                f"params.yaml, ssd.taps: found {', '.join(taps)}, but {network} has {', '.join(names)}, in this order."
            )
        self._network = network
        self._ends = [known[tap][0] for tap in taps if tap != FC7]
        self.conv = net.conv()
        self.fc = _dilated(net.channels) if FC7 in taps else nn.Sequential()
        self.fc_is_new = FC7 in taps
        self.channels = FC_WIDTH if FC7 in taps else net.channels
        self.tap_channels = [FC_WIDTH if tap == FC7 else known[tap][1] for tap in taps]

    def forward(self, images: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Return the maps of the taps, first to last, and the last map of all, of ``images`` (N, 3, H, W)."""
        maps, taps = images, []
        for position, layer in enumerate(self.conv, 1):
            maps = layer(maps)
            if position in self._ends:
                taps.append(maps)
        maps = self.fc(maps)
        return ([*taps, maps] if len(self.fc) else taps), maps

    def layers(self) -> list[nn.Sequential]:
        """Return the layers from the image to each tap, and those to the last map."""
        whole = nn.Sequential(*self.conv, *self.fc)
        return [self.conv[:end] for end in self._ends] + ([whole] if len(self.fc) else []) + [whole]

    def load_backbone(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Copy the convolutions, and fc6 and fc7 where ``weights`` (torchvision's names) have them.

        Raises:
            InputError: the convolution weights are missing or have other shapes.
        """
        net = architecture(self._network)
        load_conv(self.conv, self._network, weights)
        if not len(self.fc) or f"{net.fc_names.get('fc6')}.weight" not in weights:
            return
        fc6, fc7 = net.fc_names.values()
        self.fc.load_state_dict(
            {
                "1.weight": decimate_fc6(weights[f"{fc6}.weight"], net.channels),
                "1.bias": weights[f"{fc6}.bias"][::EVERY],
                "3.weight": weights[f"{fc7}.weight"][::EVERY, ::EVERY, None, None],
                "3.bias": weights[f"{fc7}.bias"][::EVERY],
            }
        )
        self.fc_is_new = False


def decimate_fc6(weight: torch.Tensor, channels: int) -> torch.Tensor:
    """Return the 3x3 convolution ``(units / 4, channels, 3, 3)`` in fc6's ``weight`` ``(units, channels * n * n)``.

    Every fourth unit, and of 7x7 cells the first, fourth and last along each axis
    (``VGG_ILSVRC_16_layers_fc_reduced``).
    """
    side = round((weight.shape[1] / channels) ** 0.5)
    step = (side - 1) // (FC_GRID - 1)
    cells = slice(0, step * (FC_GRID - 1) + 1, step)
    return weight.view(len(weight), channels, side, side)[::EVERY, :, cells, cells]


def _dilated(channels: int) -> nn.Sequential:
    """Return pool5 of stride 1, fc6 with holes that make up for it, and fc7 (``model_libs.py``)."""
    return nn.Sequential(
        nn.MaxPool2d(3, 1, 1),
        _conv(channels, FC_WIDTH, FC_GRID, padding=6, dilation=6),
        nn.ReLU(inplace=True),
        _conv(FC_WIDTH, FC_WIDTH, 1),
        nn.ReLU(inplace=True),
    )


class L2Norm(nn.Module):
    """Scales the values of each position to a norm of 1, then each channel by a learned factor (section 3)."""

    def __init__(self, channels: int, start: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels,), float(start)))

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Return maps of the same shape ``(N, channels, rows, columns)``."""
        return F.normalize(maps, dim=1, eps=1e-10) * self.weight.view(-1, 1, 1)


class Ssd(ShapedNetwork):
    """Scores and offsets for every default box.

    Maps of the backbone's convolutions have values of any size, so they are normalised as conv4_3 is; fc7 and the extra
    maps are not. New layers, fc6 and fc7 among them, are drawn as Glorot and Bengio do, biases 0 (``model_libs.py``).

    Raises:
        InputError: the backbone has no such maps, or the square is too small for as many.
    """

    SHAPE = SsdShape
    TITLE = "SSD"
    CONVOLUTIONS = "trunk.conv"
    shape: SsdShape

    def __init__(self, shape: SsdShape) -> None:
        super().__init__(shape)
        self.trunk = Trunk(shape.network, shape.taps)
        self.extra = nn.ModuleList()
        channels = self.trunk.channels
        for layer in shape.extra:
            self.extra.append(_extra(channels, *layer))
            channels = layer[1]
        widths = [*self.trunk.tap_channels, *(layer[1] for layer in shape.extra)]
        self.norms = nn.ModuleList(
            nn.Identity() if tap == FC7 else L2Norm(width, shape.l2_scale)
            for tap, width in zip(shape.taps, self.trunk.tap_channels, strict=True)
        )
        counts = [boxes_per_cell(ratios) for ratios in shape.ratios]
        self.scores = nn.ModuleList(_head(w, n * (shape.classes + 1)) for w, n in zip(widths, counts, strict=True))
        self.offsets = nn.ModuleList(_head(w, n * 4) for w, n in zip(widths, counts, strict=True))
        self.defaults: torch.Tensor
        self.register_buffer("defaults", torch.from_numpy(default_boxes(self.map_boxes())), persistent=False)
        self.variances: torch.Tensor
        self.register_buffer("variances", torch.from_numpy(VARIANCES), persistent=False)

    @property
    def new_layers(self) -> tuple[str, ...]:
        """Return the prefixes of the parameters that `load_backbone` did not fill."""
        return (*NEW_LAYERS, FC_LAYERS) if self.trunk.fc_is_new else NEW_LAYERS

    def boxes_by_map(self) -> list[int]:
        """Return the number of default boxes of each map."""
        return [each.cells**2 * each.per_cell for each in self.map_boxes()]

    def map_boxes(self) -> list[MapBoxes]:
        """Return the default boxes of each map, by the geometry of the layers before it."""
        stacks = self.trunk.layers()
        whole = stacks.pop()
        stacks += [nn.Sequential(whole, *self.extra[: number + 1]) for number in range(len(self.extra))]
        return [self._boxes_of(number, Geometry.from_layers(layers)) for number, layers in enumerate(stacks)]

    def _boxes_of(self, number: int, geometry: Geometry) -> MapBoxes:
        shape, cells = self.shape, geometry.size(self.shape.side)
        if not cells:
            raise InputError(
                f"params.yaml, ssd.side: with {shape.side} pixels no cell is left on map {number + 1}; a greater side "
                "or fewer layers in ssd.extra would be right."
            )
        step = shape.steps[number] if shape.steps else geometry.stride
        first = step / 2 if shape.steps else geometry.offset
        side, next_side = shape.sides[number : number + 2]
        return MapBoxes(cells, first, step, side, next_side, shape.ratios[number])

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return scores and offsets for the default boxes.

        Args:
            images: ``(N, 3, side, side)`` RGB, 0 to 255, uint8 or float.

        Returns:
            Scores before the softmax ``(N, A, classes + 1)``, the background first, and offsets ``(N, A, 4)`` of
            `boxes.encode` divided by `VARIANCES`, in the order of `defaults` ``(A, 4)``.
        """
        taps, last = self.trunk(normalise(images))
        maps = [norm(tap) for norm, tap in zip(self.norms, taps, strict=True)]
        last = last * self.input_scale
        for layer in self.extra:
            last = layer(last)
            maps.append(last)
        scores = [_by_box(head(each), self.shape.classes + 1) for head, each in zip(self.scores, maps, strict=True)]
        offsets = [_by_box(head(each), 4) for head, each in zip(self.offsets, maps, strict=True)]
        return torch.cat(scores, 1), torch.cat(offsets, 1)

    def decode(self, output: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return boxes ``(N, A, 4)`` in pixels of the square, not clipped, and probabilities ``(N, A, classes)``."""
        scores, offsets = output
        reference = self.defaults.expand(offsets.shape[0], -1, -1).reshape(-1, 4)
        boxes = decode(reference, (offsets * self.variances).reshape(-1, 4))
        return boxes.view_as(offsets), scores.softmax(2)[:, :, 1:]

    def load_backbone(self, backbone: Backbone) -> None:
        """Copy the convolutions, and fc6 and fc7 where they fit.

        Extra layers right behind the backbone's convolutions see their map at the scale of `ShapedNetwork.scale_input`.

        Raises:
            InputError: the convolution weights are missing or have other shapes.
        """
        self.trunk.load_backbone(backbone.weights)
        if FC7 not in self.shape.taps:
            self.scale_input(backbone)


def _extra(inputs: int, squeeze: int, channels: int, kernel: int, stride: int, padding: int) -> nn.Sequential:
    first, second = _conv(inputs, squeeze, 1), _conv(squeeze, channels, kernel, stride, padding)
    return nn.Sequential(first, nn.ReLU(inplace=True), second, nn.ReLU(inplace=True))


def _head(inputs: int, outputs: int) -> nn.Conv2d:
    return _conv(inputs, outputs, 3, padding=1)


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> nn.Conv2d:
    layer = nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


def _by_box(maps: torch.Tensor, values: int) -> torch.Tensor:
    """Turn ``(N, boxes * values, rows, columns)`` into ``(N, rows * columns * boxes, values)``."""
    return maps.permute(0, 2, 3, 1).reshape(maps.shape[0], -1, values)
