import numpy as np
import pytest

from pipeline.nets.backbones import architecture
from pipeline.nets.geometry import Geometry
from pipeline.systems.faster_rcnn.network import anchor_grid, reference_anchors

# The published table, by its rule: 0-based, the last pixel named.
TABLE = {
    0.5: [(-84, -40, 99, 55), (-176, -88, 191, 103), (-360, -184, 375, 199)],
    1: [(-56, -56, 71, 71), (-120, -120, 135, 135), (-248, -248, 263, 263)],
    2: [(-36, -80, 51, 95), (-80, -168, 95, 183), (-168, -344, 183, 359)],
}


def test_the_published_table() -> None:
    anchors = reference_anchors(16, (128, 256, 512), (0.5, 1, 2))
    expected = [box for ratio in TABLE for box in TABLE[ratio]]
    assert (anchors - np.array([0, 0, 1, 1])).tolist() == [list(map(float, box)) for box in expected]


def test_one_side_and_shape() -> None:
    assert reference_anchors(8, (24,), (1,)).tolist() == [[-8, -8, 16, 16]]


def test_the_grid_steps_by_the_stride_row_by_row() -> None:
    geometry = Geometry.from_architecture(architecture("vgg16"))
    reference = reference_anchors(16, (128, 256, 512), (0.5, 1, 2))
    grid = anchor_grid(reference, geometry, 37, 62)
    # 600 x 1000 pixels with poolings that round down; Caffe's round up and give 38 x 63 and 21,546 anchors.
    assert (geometry.size(600), geometry.size(1000)) == (37, 62)
    assert len(grid) == 37 * 62 * 9
    for row, column, anchor in ((0, 0, 0), (0, 1, 4), (36, 61, 8), (5, 7, 2)):
        place = (row * 62 + column) * 9 + anchor
        assert grid[place].tolist() == (reference[anchor] + [16 * column, 16 * row] * 2).tolist()


@pytest.mark.parametrize("name", ["small", "alexnet", "squeezenet1_0", "vgg16"])
def test_anchors_lie_around_the_centres_of_their_cells(name: str) -> None:
    """Which pixels does a cell see? Its anchor must have the same centre as the pixels with a gradient."""
    import torch

    from pipeline.imaging import resized_shape

    torch.manual_seed(0)
    conv = architecture(name).conv().eval()
    for layer in conv.modules():
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.constant_(layer.weight, 1 / layer.weight[0].numel())
            torch.nn.init.zeros_(layer.bias)
        if isinstance(layer, torch.nn.MaxPool2d):
            layer.forward = lambda x, own=layer: torch.nn.functional.avg_pool2d(
                x, own.kernel_size, own.stride, own.padding, own.ceil_mode
            )
    geometry = Geometry.from_layers(conv)
    image = torch.rand(1, 3, *resized_shape(320, 320, 1.0), requires_grad=True)
    maps = conv(image)
    cell = maps.shape[2] // 2
    maps[0, :, cell, cell].sum().backward()
    rows = torch.nonzero(image.grad[0].abs().sum(dim=(0, 2)))
    seen = (rows.min().item() + rows.max().item() + 1) / 2
    anchor = anchor_grid(np.array([[0, 0, 1, 1]], np.float32) * geometry.stride, geometry, *maps.shape[2:])
    x1, y1, x2, y2 = anchor[cell * maps.shape[3] + cell]
    assert (x1 + x2) / 2 == pytest.approx(seen)
    assert (y1 + y2) / 2 == pytest.approx(seen)
