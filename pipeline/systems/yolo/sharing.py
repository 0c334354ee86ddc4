"""Fully connected layers that learn from few images: while they train, all cells share a part of their weights.

A fully connected layer must learn the look of a class in every cell separately; from a few hundred images it learns
those images by heart. So its weights train as the sum of a matrix, unconstrained but with a low learning rate, and of a
1x1 convolution over the cells, written out as a matrix. At the end the sum is one matrix: the network on disk and at
test is the paper's.
"""

import torch
from torch import nn
from torch.nn.utils import parametrize

from pipeline.core.errors import InputError
from pipeline.systems.yolo.network import Yolo, draw, order_of_maps


class SharedWeight(nn.Module):
    """Adds a convolution over the cells to a layer's matrix.

    Args:
        kernel: ``(outputs, inputs)`` of the 1x1 convolution.
        cells: of the map.
        order: ``(outputs * cells,)`` int64, the position of each of the layer's outputs in a flattened map.
    """

    def __init__(self, kernel: torch.Tensor, cells: int, order: torch.Tensor) -> None:
        super().__init__()
        self.kernel = nn.Parameter(kernel)
        self.cells: torch.Tensor
        self.order: torch.Tensor
        self.register_buffer("cells", torch.eye(cells), persistent=False)
        self.register_buffer("order", order, persistent=False)

    def forward(self, matrix: torch.Tensor) -> torch.Tensor:
        """Return the layer's whole weight, of the shape of ``matrix`` ``(outputs * cells, inputs * cells)``."""
        return matrix + torch.kron(self.kernel, self.cells)[self.order]


class SharedBias(nn.Module):
    """Adds one bias for all cells to the bias of a layer; arguments as for `SharedWeight`."""

    def __init__(self, outputs: int, cells: int, order: torch.Tensor) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(outputs))
        self._cells = cells
        self.order: torch.Tensor
        self.register_buffer("order", order, persistent=False)

    def forward(self, bias: torch.Tensor) -> torch.Tensor:
        """Return the layer's whole bias, of the shape of ``bias`` ``(outputs * cells,)``."""
        return bias + self.bias.repeat_interleave(self._cells)[self.order]


def share(network: Yolo) -> tuple[str, ...]:
    """Give each fully connected layer a new kernel for all cells, and a matrix of zeros beside it.

    Returns:
        The prefixes of the parameters that the cells do not share.

    Raises:
        InputError: the width of a layer is no multiple of the number of cells.
    """
    cells, shape = network.grid**2, network.shape
    prefixes: list[str] = []
    for width in shape.fc_widths:
        if width % cells:
            raise InputError(
                f"params.yaml, yolo.head.fc_widths: {width} is no multiple of the {cells} cells that share weights; "
                f"{max(1, round(width / cells)) * cells} would be right, or yolo.train.matrix_lr null."
            )
    linear = [(position, layer) for position, layer in enumerate(network.fc) if isinstance(layer, nn.Linear)]
    for position, layer in linear:
        last = layer is linear[-1][1]
        outputs, inputs = layer.out_features // cells, layer.in_features // cells
        start = nn.Linear(inputs, outputs)
        draw(start, last=last)
        order = order_of_maps(network.grid, shape.boxes, shape.classes) if last else torch.arange(layer.out_features)
        with torch.no_grad():
            layer.weight.zero_()
        weight = SharedWeight(start.weight.detach().clone(), cells, order)
        parametrize.register_parametrization(layer, "weight", weight)
        parametrize.register_parametrization(layer, "bias", SharedBias(outputs, cells, order))
        prefixes += [f"fc.{position}.parametrizations.{name}.original" for name in ("weight", "bias")]
    return tuple(prefixes)


def unite(network: Yolo) -> None:
    """Make plain layers of those that `share` changed: the same outputs, one matrix each."""
    for layer in network.fc:
        for name in ("weight", "bias"):
            if parametrize.is_parametrized(layer, name):
                parametrize.remove_parametrizations(layer, name, leave_parametrized=True)
