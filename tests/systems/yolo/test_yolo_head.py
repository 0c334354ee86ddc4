"""The fully connected layers: the paper's, and those that all cells share."""

import torch
from torch import nn
from torch.nn import functional as F

from pipeline.systems.yolo.network import Yolo, YoloShape, order_of_maps, split

SHARED = YoloShape("small", 96, 2, 3, ((8, 2),), (5,), True)  # 6 x 6 cells, 5 hidden units each


def drawn(shape: YoloShape) -> Yolo:
    torch.manual_seed(3)
    network = Yolo(shape).eval()
    with torch.no_grad():
        for layer in (network.fc[0], network.fc[-1]):
            layer.weight.normal_(std=0.3)
            layer.bias.normal_()
    return network


def test_the_order_of_a_map_is_that_of_the_layout() -> None:
    # 2 classes and 2 boxes in 3 x 3 cells: each channel of the map holds its own number plus a thousandth of the cell.
    channels = torch.arange(12.0).view(12, 1) + torch.arange(9.0) / 1000
    parts = split(channels.flatten()[order_of_maps(3, 2, 2)][None], 3, 2, 2)
    for cell in range(9):
        at = cell / 1000
        assert torch.allclose(parts.classes[0, cell], torch.tensor([0, 1]) + at)
        assert torch.allclose(parts.confidences[0, cell], torch.tensor([2, 3]) + at)
        assert torch.allclose(parts.boxes[0, cell].flatten(), torch.arange(4, 12) + at)


def test_shared_layers_see_each_cell_alone_and_all_alike() -> None:
    network = drawn(SHARED)
    images = torch.randint(256, (2, 3, 96, 96), dtype=torch.uint8)
    seen = []
    network.fc.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    found = network.split(network(images))
    hidden, output = network.fc[0], network.fc[-1]
    for cell in (0, 17, 35):
        units = F.leaky_relu(hidden.weight[:, :, 0, 0] @ seen[0][1, :, cell // 6, cell % 6] + hidden.bias, 0.1)
        expected = output.weight[:, :, 0, 0] @ units + output.bias
        numbers = torch.cat([found.classes[1, cell], found.confidences[1, cell], found.boxes[1, cell].flatten()])
        assert torch.allclose(numbers, expected, atol=1e-5)


def test_shared_layers_are_the_papers_with_blocks_on_the_diagonal() -> None:
    shared = drawn(SHARED)
    paper = drawn(YoloShape("small", 96, 2, 3, ((8, 2),), (5 * 36,), False))
    paper.conv.load_state_dict(shared.conv.state_dict())
    paper.head.load_state_dict(shared.head.state_dict())
    orders = (torch.arange(5 * 36), shared.order)
    with torch.no_grad():
        for small, large, order in zip((shared.fc[0], shared.fc[-1]), (paper.fc[0], paper.fc[-1]), orders, strict=True):
            assert isinstance(large, nn.Linear)
            large.weight.copy_(torch.kron(small.weight[:, :, 0, 0], torch.eye(36))[order])
            large.bias.copy_(small.bias.repeat_interleave(36)[order])
    images = torch.randint(256, (2, 3, 96, 96), dtype=torch.uint8)
    assert torch.allclose(shared(images), paper(images), atol=1e-4)


def test_shared_weights_grow_with_units_and_not_with_cells() -> None:
    def weights(grid_side: int, shared: bool, units: int = 128) -> int:
        with torch.device("meta"):
            network = Yolo(YoloShape("small", grid_side * 8, 2, 3, ((128, 1),), (units,), shared))
        assert network.grid == grid_side
        return sum(parameter.numel() for parameter in network.fc.parameters())

    assert weights(18, True) == weights(9, True) == 128 * 128 + 128 + 13 * 128 + 13
    assert weights(9, False) == 81 * 128 * 128 + 128 + 81 * 13 * 128 + 81 * 13
    assert round(weights(18, False, 324 * 128) / 1e9, 1) == 1.9, "128 units a cell that see the whole map"
    assert round(weights(9, False, 81 * 128) / 1e6) == 118
