"""Fully connected layers whose cells share weights while they train."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from pipeline.core.errors import InputError
from pipeline.systems.yolo.network import Yolo, YoloShape, order_of_maps, split
from pipeline.systems.yolo.sharing import share, unite

SHAPE = YoloShape("backbone", "small", 96, 2, 3, ((8, 2),), (72,))  # 6 x 6 cells, 2 hidden units each


def shared_network() -> Yolo:
    torch.manual_seed(3)
    network = Yolo(SHAPE).eval()
    share(network)
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


def test_the_shared_part_is_a_convolution_over_the_cells() -> None:
    network = shared_network()
    hidden, output = network.fc[0], network.fc[-1]
    with torch.no_grad():
        hidden.bias.copy_(torch.tensor([0.3, -0.2]))
        output.bias.normal_()
    maps = torch.randn(4, 8, 6, 6)
    found = split(network.fc(maps.flatten(1)), 6, 2, 3)
    middle = F.leaky_relu(F.conv2d(maps, hidden.kernel[:, :, None, None], hidden.bias), 0.1)
    expected = F.conv2d(middle, output.kernel[:, :, None, None], output.bias).flatten(2)
    assert torch.allclose(found.classes, expected[:, :3].permute(0, 2, 1), atol=1e-5)
    assert torch.allclose(found.confidences, expected[:, 3:5].permute(0, 2, 1), atol=1e-5)
    assert torch.allclose(found.boxes.flatten(2), expected[:, 5:].permute(0, 2, 1), atol=1e-5)


def test_united_layers_are_plain_and_give_the_same_output() -> None:
    network = shared_network()
    with torch.no_grad():
        for parameter in network.fc.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    images = torch.randint(256, (2, 3, 96, 96), dtype=torch.uint8)
    before = network(images)
    unite(network)
    assert torch.allclose(network(images), before, atol=1e-5)
    assert set(network.state_dict()) == set(Yolo(SHAPE).state_dict())
    unite(network)  # nothing is left to do
    assert torch.allclose(network(images), before, atol=1e-5)


def test_gradients_are_those_of_the_matrix_written_out() -> None:
    network = shared_network()
    layer = network.fc[-1]
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_()
    flat, weights = torch.randn(3, 72), torch.randn(3, 36 * 13)
    (layer(flat) * weights).sum().backward()
    kernel, bias = (values.detach().clone().requires_grad_() for values in (layer.kernel, layer.bias))
    order = order_of_maps(6, 2, 3)
    matrix = layer.matrix.detach() + torch.kron(kernel, torch.eye(36))[order]
    (F.linear(flat, matrix, bias.repeat_interleave(36)[order]) * weights).sum().backward()
    assert torch.allclose(layer.kernel.grad, kernel.grad, atol=1e-4)
    assert torch.allclose(layer.bias.grad, bias.grad, atol=1e-4)
    assert torch.allclose(layer.matrix.grad, weights.T @ flat, atol=1e-4)


def test_the_slow_parameters_are_the_matrices() -> None:
    torch.manual_seed(3)
    network = Yolo(SHAPE)
    prefixes = share(network)
    fc = {name: parameter for name, parameter in network.named_parameters() if name.startswith("fc.")}
    slow = {name for name in fc if name.startswith(prefixes)}
    assert slow == {name for name in fc if name.endswith((".matrix", ".offset"))}
    assert len(slow) == 4
    assert all(not fc[name].any() for name in slow)
    matrices = [parameter for name, parameter in fc.items() if name in slow and parameter.dim() == 2]
    assert [tuple(matrix.shape) for matrix in matrices] == [(72, 288), (36 * 13, 72)]


def test_a_width_that_cells_cannot_share_is_refused() -> None:
    network = Yolo(YoloShape("backbone", "small", 96, 2, 3, ((8, 2),), (100,)))
    with pytest.raises(InputError, match=r"100 is no multiple of the 36 cells .* 108 would be right"):
        share(network)
    assert [type(layer) for layer in network.fc] == [nn.Linear, nn.LeakyReLU, nn.Dropout, nn.Linear]
