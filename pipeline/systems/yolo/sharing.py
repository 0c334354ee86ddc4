"""Fully connected layers that learn from few images: while they train, all cells share a part of their weights.

A fully connected layer must learn the look of a class in every cell separately; from a few hundred images it learns
those images by heart. So its weights train as the sum of a matrix, unconstrained but with a low learning rate, and of a
1x1 convolution over the cells. At the end the convolution is written out as a matrix, and the sum is one matrix: the
network on disk and at test is the paper's.
"""

import torch
from torch import nn
from torch.nn import functional as F

from pipeline.core.errors import InputError
from pipeline.systems.yolo.network import Yolo, draw, order_of_maps


class SharedLinear(nn.Module):
    """A fully connected layer: a matrix without constraints, and a 1x1 convolution over the cells.

    The convolution is computed as what it is: written out at every step it would be another matrix of the same size,
    to be filled, added and run through backwards.

    Args:
        kernel: ``(outputs, inputs)`` of the convolution.
        cells: of the map.
        order: ``(outputs * cells,)`` int64, the position of each of the layer's outputs in a flattened map.

    Attributes:
        kernel: see above.
        bias: ``(outputs,)`` of the convolution.
        matrix: ``(outputs * cells, inputs * cells)``, at first zeros.
        offset: ``(outputs * cells,)``, the bias of the matrix; at first zeros. It trains as the matrix does, so its
            name is not that of a bias (`pipeline.training.parameter_groups`).
    """

    def __init__(self, kernel: torch.Tensor, cells: int, order: torch.Tensor) -> None:
        super().__init__()
        outputs, inputs = kernel.shape
        self.kernel = nn.Parameter(kernel)
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.matrix = nn.Parameter(torch.zeros(outputs * cells, inputs * cells))
        self.offset = nn.Parameter(torch.zeros(outputs * cells))
        self._cells = cells
        self.order: torch.Tensor
        self.register_buffer("order", order, persistent=False)

    def forward(self, flat: torch.Tensor) -> torch.Tensor:
        """Return the outputs ``(N, outputs * cells)`` of flattened maps ``(N, inputs * cells)``."""
        shared = self.kernel @ flat.unflatten(1, (-1, self._cells)) + self.bias[:, None]  # (N, outputs, cells)
        return F.linear(flat, self.matrix, self.offset) + shared.flatten(1).index_select(1, self.order)

    @torch.no_grad()
    def united(self) -> nn.Linear:
        """Return the plain layer with the same outputs."""
        layer = nn.Linear(self.matrix.shape[1], self.matrix.shape[0], device=self.matrix.device)
        cells = torch.eye(self._cells, device=self.kernel.device)
        layer.weight.copy_(self.matrix + torch.kron(self.kernel, cells)[self.order])
        layer.bias.copy_(self.offset + self.bias.repeat_interleave(self._cells)[self.order])
        return layer


def share(network: Yolo) -> tuple[str, ...]:
    """Put in each fully connected layer's place a new kernel for all cells, and a matrix of zeros beside it.

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
        network.fc[position] = SharedLinear(start.weight.detach(), cells, order)
        prefixes += [f"fc.{position}.{name}" for name in ("matrix", "offset")]
    return tuple(prefixes)


def unite(network: Yolo) -> None:
    """Make plain layers of those that `share` put in: the same outputs, one matrix each."""
    for position, layer in enumerate(network.fc):
        if isinstance(layer, SharedLinear):
            network.fc[position] = layer.united()
