"""Receptive fields against gradients: a unit sees a pixel where, and only where, the pixel can move it."""

import numpy as np
import pytest
import torch
from pipeline.inspect.reading.cached_rows import CachedRows
from pipeline.inspect.views.units.receptive import unit_grid
from torch import nn

from pipeline.features.maps import map_cells
from pipeline.nets.backbones import architecture


def seen_by(layers: nn.Module, side: int, y: int, x: int) -> list[int]:
    """Return the box of pixels with a gradient; max pooling is made average pooling, so that no pixel is hidden."""
    image = torch.ones(1, 3, side, side, requires_grad=True)
    layers(image)[0, :, y, x].sum().backward()
    rows, columns = np.nonzero(image.grad[0].abs().sum(0).numpy())
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def positive(layers: nn.Module) -> nn.Sequential:
    """Return the layers with weights of 1 and average pooling: everything that can reach a unit does."""
    out = []
    for layer in layers.children() if isinstance(layers, nn.Sequential) else [layers]:
        if isinstance(layer, nn.Sequential):
            out.append(positive(layer))
        elif isinstance(layer, nn.MaxPool2d):
            out.append(nn.AvgPool2d(layer.kernel_size, layer.stride, layer.padding, layer.ceil_mode))
        else:
            out.append(layer)
    for parameter in (p for layer in out for p in layer.parameters()):
        nn.init.constant_(parameter, 0.01)
    return nn.Sequential(*out).double().float()


@pytest.mark.parametrize(
    ("name", "side", "layer"),
    [("small", 48, "pool5"), ("small", 48, "conv5"), ("alexnet", 227, "pool5"), ("alexnet", 131, "pool5")],
)
def test_fields_are_where_gradients_are(name, side, layer):
    net = architecture(name)
    layers = positive(nn.Sequential(net.conv(), net.pool5()) if layer == "pool5" else net.conv())
    _, channels, height, width = layers(torch.zeros(1, 3, side, side)).shape
    grid = unit_grid(name, side, layer, channels * height * width)
    assert grid.channels == channels
    assert grid.fields.shape == (height, width, 4)
    for y, x in ((0, 0), (1, height - 1), (height - 1, width // 2)):
        unit = (channels - 1) * height * width + y * width + x
        assert grid.cell(unit) == (channels - 1, y, x)
        assert grid.field(unit).tolist() == pytest.approx(seen_by(layers, side, y, x))


def test_layers_without_places_have_no_grid():
    assert unit_grid("small", 48, "fc7", 256) is None
    assert unit_grid("small", 48, "pool5", 256) is None


def test_a_cell_moves_with_the_pixels_of_its_box_alone(maps):
    """Cells of a map are of the image, not of the resized input: here the input is the image."""
    conv = positive(architecture("small").conv()).eval()
    box = CachedRows.of(maps, "cells").boxes[3 * 12 + 6]  # line 3, column 6
    image = torch.rand(3, 60, 100) + 0.1
    inside = image.clone()
    y1, y2, x1, x2 = (int(v) for v in (max(box[1], 0), box[3], max(box[0], 0), box[2]))
    inside[:, y1:y2, x1:x2] = 0
    outside = torch.zeros_like(image)
    outside[:, y1:y2, x1:x2] = image[:, y1:y2, x1:x2]
    cell = [map_cells(conv, pixels, (60, 100))[3 * 12 + 6] for pixels in (image, outside, inside)]
    assert torch.allclose(cell[0], cell[1], rtol=1e-4)
    assert not torch.allclose(cell[0], cell[2], rtol=1e-2)
