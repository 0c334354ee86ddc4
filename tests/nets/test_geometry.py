"""The geometry of convolutional maps, against gradients through the layers, real map sizes and published figures."""

import pytest
import torch
from torch import nn

from pipeline.nets.backbones import ARCHITECTURES, architecture
from pipeline.nets.geometry import Geometry, Step


def reach(conv: nn.Module, side: int, cells: tuple[int, ...]) -> list[tuple[float, int]]:
    """Return centre and length of the stretch of pixels that each of some cells of the map's diagonal depends on."""
    _smooth(conv)
    for parameter in conv.parameters():
        nn.init.constant_(parameter, 0.5 / parameter[0].numel() if parameter.dim() > 1 else 0.0).requires_grad_(False)
    image = torch.ones(1, 3, side, side, requires_grad=True)
    maps = conv(image)
    stretches = []
    for cell in cells:
        (gradient,) = torch.autograd.grad(maps[0, :, cell, cell].sum(), image, retain_graph=True)
        seen = torch.nonzero(gradient[0].abs().sum(dim=(0, 1))).flatten()
        stretches.append(((int(seen[0]) + int(seen[-1]) + 1) / 2, int(seen[-1] - seen[0]) + 1))
    return stretches


def _smooth(layers: nn.Module) -> None:
    """Let all poolings average: the greatest of several pixels would hide the others from the gradient."""
    for name, layer in layers.named_children():
        if isinstance(layer, nn.MaxPool2d):
            setattr(layers, name, nn.AvgPool2d(layer.kernel_size, layer.stride, layer.padding, layer.ceil_mode))
        _smooth(layer)


@pytest.mark.parametrize(
    ("name", "side", "cell"),
    [
        ("small", 128, 8),
        ("alexnet", 415, 12),
        ("squeezenet1_0", 415, 12),
        ("mobilenet_v2", 320, 9),
        ("resnet18", 320, 9),
        ("resnet50", 320, 9),
        pytest.param("extraction", 448, 6, marks=pytest.mark.slow),
        ("darknet", 448, 3),
    ],
)
def test_stride_offset_and_field_are_where_the_gradient_goes(name: str, side: int, cell: int) -> None:
    geometry = Geometry.from_architecture(architecture(name))
    (centre, field), (beside, _) = reach(architecture(name).conv(), side, (cell, cell + 1))
    assert centre == geometry.offset + cell * geometry.stride
    assert beside - centre == geometry.stride
    assert field == geometry.field


@pytest.mark.parametrize(
    ("name", "stride", "field"),
    [
        ("alexnet", 16, 163),
        ("vgg16", 16, 196),
        ("squeezenet1_0", 16, None),
        ("mobilenet_v2", 16, None),
        ("resnet18", 16, None),
        ("resnet50", 16, None),
        ("extraction", 32, None),
        ("darknet", 64, None),
    ],
)
def test_the_published_networks_have_their_published_strides_and_fields(
    name: str, stride: int, field: int | None
) -> None:
    geometry = Geometry.from_architecture(architecture(name))
    assert geometry.stride == stride
    assert field is None or geometry.field == field


def test_vgg_maps_have_as_many_cells_as_caffes() -> None:
    """Caffe's poolings round up: 600 by 1,000 pixels are 38 x 63 cells, 21,546 anchors of nine shapes."""
    geometry = Geometry.from_architecture(architecture("vgg16"))
    assert [geometry.size(side) for side in (224, 600, 800, 1000)] == [14, 38, 50, 63]


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_sizes_are_those_of_real_maps(name: str) -> None:
    net = architecture(name)
    geometry = Geometry.from_architecture(net)
    with torch.device("meta"):
        conv = net.conv()
        for side in (64, 65, 71, 97, 224, 227, 333):
            assert conv(torch.zeros(1, 3, side, side)).shape[2] == geometry.size(side), side


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_the_smallest_input_gives_a_cell_and_one_pixel_less_none(name: str) -> None:
    geometry = Geometry.from_architecture(architecture(name))
    assert geometry.size(geometry.smallest()) == 1
    assert geometry.size(geometry.smallest() - 1) == 0


@pytest.mark.parametrize(("name", "side"), [("small", 8), ("squeezenet1_0", 21), ("alexnet", 31), ("vgg16", 1)])
def test_the_smallest_inputs_by_hand(name: str, side: int) -> None:
    """Poolings that round up, as VGG16's do, leave a cell of any image; three that halve need 8 pixels.

    AlexNet's two poolings of 3 need 7 cells before them, so (7 - 1) * 4 + 11 - 2 * 2 = 31 pixels.
    """
    assert Geometry.from_architecture(architecture(name)).smallest() == side


@pytest.mark.parametrize("pixels", range(3, 12))
def test_partial_windows_count_as_torch_counts_them(pixels: int) -> None:
    pool = nn.MaxPool2d(2, 3, padding=1, ceil_mode=True)
    assert Step(2, 3, 1, ceil=True).size(pixels) == pool(torch.zeros(1, 1, pixels, pixels)).shape[2]


def test_dilation_widens_the_window() -> None:
    assert Geometry.from_layers(nn.Sequential(nn.Conv2d(1, 1, 3, dilation=2))) == Geometry((Step(5, 1, 0),), 1, 2.5, 5)


def test_what_is_not_known_is_refused() -> None:
    with pytest.raises(TypeError, match="geometry of Linear is not known"):
        Geometry.from_layers(nn.Sequential(nn.Linear(1, 1)))
    with pytest.raises(TypeError, match="only square ones"):
        Geometry.from_layers(nn.Sequential(nn.Conv2d(1, 1, (3, 5))))
