"""The network of YOLO v1: one look at the whole image, one row of numbers for all cells (section 2)."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from pipeline.detectors.yolo.layers import FAST_YOLO, YOLO, convolutions, draw, fully_connected
from pipeline.detectors.yolo.output import Output, boxes_and_scores, split
from pipeline.nets import weights
from pipeline.nets.backbones import architecture, normalise
from pipeline.nets.shaped_network import ShapedNetwork
from pipeline.params.single_shot import YoloHead


@dataclass(frozen=True)
class YoloShape:
    """All that is needed to build the network.

    Attributes:
        network: ``yolo`` (24 convolutions), ``fast_yolo`` (9), or ``backbone``: that of the project, and a head.
        backbone: its name; not read by the other two.
        side: of the square that the network sees, in pixels.
        boxes: predicted by each cell.
        classes: without the background, which YOLO does not have.
        convolutions: channels and stride of each 3 x 3 convolution on the backbone; the other two have their own.
        fc_widths: of the hidden fully connected layers.
    """

    network: str
    backbone: str
    side: int
    boxes: int
    classes: int
    convolutions: tuple[tuple[int, int], ...]
    fc_widths: tuple[int, ...]

    @classmethod
    def of(cls, network: str, backbone: str, side: int, boxes: int, classes: int, head: YoloHead) -> "YoloShape":
        """Return the shape that the parameters describe."""
        return cls(network, backbone, side, boxes, classes, head.convolutions, head.fc_widths)


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
        super().__init__()
        self.shape = shape
        self.conv, self.head = _convolutions(shape)
        channels, self.grid = _map_size(shape)
        outputs = self.grid**2 * (shape.classes + 5 * shape.boxes)
        self.input_scale: torch.Tensor
        self.register_buffer("input_scale", torch.tensor(1.0))
        self.fc = fully_connected(channels * self.grid**2, shape.fc_widths, outputs, dropout)
        for layers in (self.conv, self.head, self.fc):
            draw(layers)
        draw(self.fc[-1], last=True)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the outputs ``(N, grid * grid * (classes + 5 * boxes))``; `split` says what stands where.

        Args:
            images: ``(N, 3, side, side)`` RGB from 0 to 255, uint8 or float.
        """
        # Published backbones have statistics of their own; darknet's crop layer gives values from -1 to 1.
        pixels = normalise(images) if self.shape.network == "backbone" else images.float() / 127.5 - 1
        return self.fc(self.head(self.conv(pixels) * self.input_scale).flatten(1))

    def split(self, flat: torch.Tensor) -> Output:
        """Name the parts of what `forward` returned."""
        return split(flat, self.grid, self.shape.boxes, self.shape.classes)

    def decode(self, flat: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the boxes ``(N, K, 4)``, pixels of the square, and scores ``(N, K, classes)`` that `forward` means."""
        return boxes_and_scores(self.split(flat), self.grid, self.shape.side)

    def load_backbone(self, backbone: Mapping[str, torch.Tensor], conv5_rms: float) -> None:
        """Copy the convolutions of backbone weights (torchvision's names); the paper's networks stay as drawn.

        The head is new and sees the features divided by ``conv5_rms``, their size in this backbone.

        Raises:
            InputError: the convolution weights are missing or have other shapes.
        """
        if self.shape.network == "backbone":
            weights.load_conv(self.conv, self.shape.backbone, backbone)
            self.input_scale.fill_(1 / conv5_rms)


def _convolutions(shape: YoloShape) -> tuple[nn.Sequential, nn.Sequential]:
    """Return the convolutions of the backbone and those of the head, none for the paper's own networks."""
    if shape.network != "backbone":
        return convolutions(3, YOLO if shape.network == "yolo" else FAST_YOLO), nn.Sequential()
    net = architecture(shape.backbone)
    return net.conv(), convolutions(net.channels, [(3, *layer) for layer in shape.convolutions])


def _map_size(shape: YoloShape) -> tuple[int, int]:
    """Return channels and side of the last map; shapes alone are computed."""
    with torch.device("meta"):
        conv, head = _convolutions(shape)
        found = head(conv(torch.zeros(1, 3, shape.side, shape.side)))
    return found.shape[1], found.shape[2]
