"""The network of YOLO v1: one look at the whole image, one row of numbers for all cells (section 2).

A backbone with a head; the paper's two networks are the backbones ``extraction`` and ``darknet`` with heads of theirs.
Sources: YOLO, section 2.1 and figure 3; ``cfg/yolo.cfg`` and ``cfg/yolo-tiny.cfg`` of darknet in November 2015.
These have no batch normalisation: it came with darknet's later ``yolov1.cfg``, which is another model.

The layout of the output is darknet's (``src/detection_layer.c``): the class scores of all cells, then all confidences,
then all boxes; cells go row by row. The published weights have this layout, and each part is one contiguous slice; the
paper's ``7 x 7 x 30`` is only the count.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from pipeline.nets.backbones import architecture, normalise
from pipeline.nets.weights import Backbone, ShapedNetwork, load_conv
from pipeline.systems.yolo.params import YoloHead

SLOPE = 0.1


def convolutions(inputs: int, layers: Sequence[tuple[int, int]]) -> nn.Sequential:
    """Return 3 x 3 convolutions of these channels and strides for maps of ``inputs`` channels, each with `leaky`."""
    return nn.Sequential(*_convolutions(inputs, layers))


def _convolutions(inputs: int, layers: Sequence[tuple[int, int]]) -> Iterator[nn.Module]:
    for channels, stride in layers:
        yield nn.Conv2d(inputs, channels, 3, stride, padding=1)
        yield leaky()
        inputs = channels


def fully_connected(
    layer: Callable[[int, int], nn.Module], inputs: int, widths: Sequence[int], outputs: int, dropout: float
) -> nn.Sequential:
    """Return the layers from the last map to the output, which is linear.

    ``widths`` are those of the hidden layers; dropout follows the last of them. Of two the first is a linear
    bottleneck, as in ``yolo-tiny.cfg``. ``layer`` makes one from its inputs and outputs.
    """
    layers: list[nn.Module] = []
    for position, width in enumerate(widths):
        layers.append(layer(inputs, width))
        if position == len(widths) - 1:
            layers += [leaky(), nn.Dropout(dropout)]
        inputs = width
    return nn.Sequential(*layers, layer(inputs, outputs))


def leaky() -> nn.Module:
    """Return the paper's activation: ``x`` above 0, ``0.1 x`` below."""
    return nn.LeakyReLU(SLOPE, inplace=True)


def draw(layers: nn.Module, last: bool = False) -> None:
    """Give new layers random weights that keep the size of the signal (He et al.), small ones the last; no bias."""
    for layer in layers.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            if last:
                nn.init.normal_(layer.weight, std=0.01)
            else:
                nn.init.kaiming_normal_(layer.weight, a=SLOPE, nonlinearity="leaky_relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


@dataclass(frozen=True)
class Output:
    """The parts of the last layer's output for ``N`` images, ``S`` x ``S`` cells, ``B`` boxes a cell, ``C`` classes.

    Attributes:
        classes: ``(N, S*S, C)``, scores of the classes given that the cell has an object; no softmax.
        confidences: ``(N, S*S, B)``, the overlap that each box expects to have with an object.
        boxes: ``(N, S*S, B, 4)``: centre ``x, y`` inside the cell from 0 to 1, and the square roots of width and
            height as shares of the image's.
    """

    classes: torch.Tensor
    confidences: torch.Tensor
    boxes: torch.Tensor


def split(flat: torch.Tensor, grid: int, boxes: int, classes: int) -> Output:
    """Split ``flat`` ``(N, grid * grid * (classes + 5 * boxes))`` into its parts."""
    cells = grid * grid
    first, second, third = flat.split([cells * classes, cells * boxes, cells * boxes * 4], dim=1)
    return Output(
        first.unflatten(1, (cells, classes)),
        second.unflatten(1, (cells, boxes)),
        third.unflatten(1, (cells, boxes, 4)),
    )


def order_of_maps(grid: int, boxes: int, classes: int) -> torch.Tensor:
    """Return the position of each number of the flat output in a map ``(classes + 5 * boxes, grid, grid)``, flattened.

    The map's channels are those of one cell: class scores, confidences, then the boxes.
    """
    parts = torch.arange(grid * grid * (classes + 5 * boxes)).view(-1, grid * grid).split([classes, boxes, 4 * boxes])
    return torch.cat([part.T.flatten() for part in parts])


def corners(boxes: torch.Tensor, grid: int) -> torch.Tensor:
    """Return boxes ``(..., S*S, B, 4)`` of `Output` as corners ``x1 y1 x2 y2``, shares of the image; not clipped."""
    cells = torch.arange(grid * grid, device=boxes.device)
    column, row = cells % grid, torch.div(cells, grid, rounding_mode="floor")
    origin = torch.stack([column, row], dim=1)[:, None, :]  # (S*S, 1, 2)
    centre = (boxes[..., :2] + origin) / grid
    half = boxes[..., 2:] ** 2 / 2
    return torch.cat([centre - half, centre + half], dim=-1)


def boxes_and_scores(output: Output, grid: int, side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return boxes and scores of the network's output (section 2, equation 1).

    Returns:
        Boxes ``(N, S*S*B, 4)``, corners in pixels of a square of ``side``, not clipped, and scores
        ``(N, S*S*B, C)``: the box's confidence times the cell's class score.
    """
    scores = output.confidences[..., None] * output.classes[:, :, None, :]
    return corners(output.boxes, grid).flatten(1, 2) * side, scores.flatten(1, 2)


@dataclass(frozen=True)
class YoloShape:
    """All that is needed to build the network.

    Attributes:
        network: name of the backbone.
        side: of the square that the network sees, in pixels.
        boxes: predicted by each cell.
        classes: without the background, which YOLO does not have.
        convolutions: channels and stride of each 3 x 3 convolution on the backbone.
        fc_widths: of the hidden fully connected layers; of a cell where they are shared.
        shared: whether the fully connected layers are 1 x 1 convolutions, the same for all cells.
    """

    network: str
    side: int
    boxes: int
    classes: int
    convolutions: tuple[tuple[int, int], ...]
    fc_widths: tuple[int, ...]
    shared: bool

    @classmethod
    def from_params(cls, network: str, side: int, boxes: int, classes: int, head: YoloHead) -> "YoloShape":
        """Return the shape that the parameters describe."""
        return cls(network, side, boxes, classes, head.convolutions, head.fc_widths, head.shared)


class Yolo(ShapedNetwork):
    """Scores, confidences and boxes of a grid of cells over the image.

    Attributes:
        shape: what it was built from.
        grid: cells along each side; follows from the side in pixels and the strides.
    """

    SHAPE = YoloShape
    TITLE = "YOLO network"
    shape: YoloShape

    def __init__(self, shape: YoloShape, dropout: float = 0.5) -> None:
        super().__init__(shape)
        self.conv, self.head = _layers(shape)
        channels, self.grid = _map_size(shape)
        # The paper's layers see all cells at once; shared ones see each cell alone.
        cells = 1 if shape.shared else self.grid**2
        layer = partial(nn.Conv2d, kernel_size=1) if shape.shared else nn.Linear
        outputs = shape.classes + 5 * shape.boxes
        self.fc = fully_connected(layer, channels * cells, shape.fc_widths, outputs * cells, dropout)
        self.order: torch.Tensor
        self.register_buffer("order", order_of_maps(self.grid, shape.boxes, shape.classes), persistent=False)
        for layers in (self.conv, self.head, self.fc):
            draw(layers)
        draw(self.fc[-1], last=True)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the outputs ``(N, grid * grid * (classes + 5 * boxes))``; see `split`.

        Args:
            images: ``(N, 3, side, side)`` RGB from 0 to 255, uint8 or float.
        """
        maps = self.head(self.conv(normalise(images)) * self.input_scale)
        if self.shape.shared:
            return self.fc(maps).flatten(1).index_select(1, self.order)
        return self.fc(maps.flatten(1))

    def split(self, flat: torch.Tensor) -> Output:
        """Split the output of `forward` into its parts."""
        return split(flat, self.grid, self.shape.boxes, self.shape.classes)

    def decode(self, flat: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the boxes ``(N, K, 4)``, pixels of the square, and scores ``(N, K, classes)`` of a `forward` pass."""
        return boxes_and_scores(self.split(flat), self.grid, self.shape.side)

    def load_backbone(self, backbone: Backbone) -> None:
        """Copy the convolutions; the head is new and sees the map at the scale of `ShapedNetwork.scale_input`.

        Raises:
            InputError: the convolution weights are missing or have other shapes.
        """
        load_conv(self.conv, self.shape.network, backbone.weights)
        self.scale_input(backbone)


def _layers(shape: YoloShape) -> tuple[nn.Sequential, nn.Sequential]:
    """Return the convolutions of the backbone and those of the head."""
    net = architecture(shape.network)
    return net.conv(), convolutions(net.channels, shape.convolutions)


def _map_size(shape: YoloShape) -> tuple[int, int]:
    """Return channels and side of the last map; shapes alone are computed."""
    with torch.device("meta"):
        conv, head = _layers(shape)
        maps = head(conv(torch.zeros(1, 3, shape.side, shape.side)))
    return maps.shape[1], maps.shape[2]
