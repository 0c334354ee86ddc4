"""The network of Fast R-CNN: one map an image, RoI pooling, fc6, fc7 and two sibling layers (section 2).

`to_cells` turns boxes into cells of the map with the rounding that RoI pooling was published with.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pipeline.core.boxes import Boxes
from pipeline.core.operators import roi_pool
from pipeline.imaging import resized_shape
from pipeline.nets.backbones import architecture
from pipeline.nets.geometry import Geometry
from pipeline.nets.weights import Backbone, ShapedNetwork, load_conv, load_fc
from pipeline.systems.fast_rcnn.params import ImageSize


def map_shift(geometry: Geometry) -> float:
    """Return the pixels by which cell ``i`` is right of pixels ``stride * i`` up to ``stride * (i + 1)``.

    Zero for VGG16, as the papers' rounding rule assumes. Convolutions without full padding (AlexNet, SqueezeNet) move
    the map.
    """
    return geometry.offset - geometry.stride / 2


def to_cells(boxes: Boxes, factor: float, geometry: Geometry, size: tuple[int, int]) -> NDArray[np.float32]:
    """Return first and last cell ``(x1, y1, x2, y2)``, both inclusive, of ``boxes`` (N, 4): whole numbers, float32.

    ``boxes`` are in pixels of the original image of ``size``, width and height, which was resized by ``factor``.
    Coordinates are rounded half away from zero, as C's ``round`` does (``roi_pooling_layer.cpp``). A cell beyond the
    image's map becomes the one at its border, as in SPP-net (``spm_response_boxes.m``): RoI pooling would fill bins
    beyond it with zeros.
    """
    # The official boxes name the last pixel, ours the one after it.
    inclusive = (boxes - np.array([0, 0, 1, 1], np.float32)).astype(np.float64) * factor
    cells = (inclusive - map_shift(geometry)) / geometry.stride
    height, width = resized_shape(*size, factor)
    # An image without any cell is padded until it has one (`pipeline.imaging.pad`).
    last = [max(0, geometry.size(side) - 1) for side in (width, height)]
    return np.clip(np.sign(cells) * np.floor(np.abs(cells) + 0.5), 0, last * 2).astype(np.float32)


@dataclass(frozen=True)
class FastRcnnShape:
    """All that is needed to build the network.

    Attributes:
        network: name of the backbone.
        grid: side of the RoI pooling's output.
        fc_width: of fc6 and fc7 where the backbone has neither.
        classes: without the background.
        short_sides: of the images in pixels; a network is tested at the sizes that it was trained at.
        long_side: limit of the longer side in pixels.
        fc6_rank: of a truncated SVD of fc6; 0: fc6 is one layer.
        fc7_rank: of a truncated SVD of fc7; 0: fc7 is one layer.
        svm: whether the scores are those of SVMs instead of logits.
    """

    network: str
    grid: int
    fc_width: int
    classes: int
    short_sides: tuple[int, ...]
    long_side: int
    fc6_rank: int = 0
    fc7_rank: int = 0
    svm: bool = False

    @classmethod
    def from_params(
        cls, network: str, grid: int | None, fc_width: int, classes: int, size: ImageSize
    ) -> "FastRcnnShape":
        """Return the shape of a new network; ``grid`` None takes the network's own."""
        return cls(network, grid or architecture(network).grid, fc_width, classes, size.short_sides, size.long_side)


class FastRcnn(ShapedNetwork):
    """Scores and box offsets for regions of images.

    New layers are drawn from N(0, 0.01) for scores and N(0, 0.001) for offsets, biases 0 (section 2.3).
    """

    SHAPE = FastRcnnShape
    TITLE = "Fast R-CNN"
    shape: FastRcnnShape

    def __init__(self, shape: FastRcnnShape) -> None:
        super().__init__(shape)
        net = architecture(shape.network)
        width = net.fc[2] if net.fc else shape.fc_width
        self.conv = net.conv()
        self.geometry = Geometry.from_layers(self.conv)
        self.fc6 = _linear(net.channels * shape.grid**2, width, shape.fc6_rank)
        self.fc7 = _linear(width, width, shape.fc7_rank)
        self.dropout = nn.Dropout()
        self.scores = nn.Linear(width, shape.classes + 1)
        self.offsets = nn.Linear(width, 4 * (shape.classes + 1))
        for layer, std in ((self.scores, 0.01), (self.offsets, 0.001)):
            nn.init.normal_(layer.weight, std=std)
            nn.init.zeros_(layer.bias)

    def forward(
        self, images: torch.Tensor, cells: torch.Tensor, *, mapped: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return `head` of the maps of ``images`` ``(N, 3, H, W)``, normalised RGB; with ``mapped`` of these maps."""
        return self.head(images if mapped else self.conv(images), cells)

    def head(self, maps: torch.Tensor, cells: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return scores and offsets of regions of ``maps``.

        Args:
            maps: ``(N, channels, rows, columns)``, of `conv`.
            cells: ``(R, 5)``, whole numbers of any type: position in the batch, first and last cell ``x1 y1 x2 y2``
                (`to_cells`).

        Returns:
            Scores ``(R, classes + 1)``, the background first, and offsets ``(R, classes + 1, 4)`` of `boxes.encode`;
            those of the background are never used.
        """
        return self.classify(self.pool(maps, cells))

    def classify(self, pooled: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the scores and offsets of `head` for regions that `pool` has pooled."""
        fc7 = self.dropout(self.features(pooled))
        return self.scores(fc7), self.offsets(fc7).view(-1, self.shape.classes + 1, 4)

    def pool(self, maps: torch.Tensor, cells: torch.Tensor) -> torch.Tensor:
        """Return the RoI pooling of regions, ``(R, channels * grid * grid)``; arguments as for `head`."""
        # torchvision's op bins and pools as Caffe's layer does; whole numbers leave it nothing to round. It takes no
        # bfloat16 on a CPU, and whole numbers above 256 do not fit into one.
        return roi_pool(maps.float(), cells.float(), self.shape.grid).flatten(1)

    def features(self, pooled: torch.Tensor) -> torch.Tensor:
        """Return fc7 after its rectifier, ``(R, width)``, of pooled regions."""
        return self.fc7(self.dropout(self.fc6(pooled * self.input_scale).relu())).relu()

    def load_backbone(self, backbone: Backbone) -> list[str]:
        """Copy the convolutions, and fc6 and fc7 where they fit; return the layers that stay new.

        A new fc6 sees the features at the scale of `ShapedNetwork.scale_input`.

        Raises:
            InputError: the convolution weights are missing or have other shapes.
        """
        load_conv(self.conv, self.shape.network, backbone.weights)
        names = architecture(self.shape.network).fc_names
        fresh = load_fc({"fc6": self.fc6, "fc7": self.fc7}, backbone.weights, names)
        if "fc6" in fresh:
            self.scale_input(backbone)
        return ["scores", "offsets", *fresh]


def _linear(inputs: int, outputs: int, rank: int) -> nn.Module:
    """Return a layer, or the two layers of a truncated SVD of ``rank``; new layers are drawn as He et al. do."""
    layers = [nn.Linear(inputs, rank, bias=False), nn.Linear(rank, outputs)] if rank else [nn.Linear(inputs, outputs)]
    for layer in layers:
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    return nn.Sequential(*layers) if rank else layers[0]
