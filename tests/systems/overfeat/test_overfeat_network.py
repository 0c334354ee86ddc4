"""Fully connected layers as convolutions against crops and against pooling offset by offset, and the papers' sizes."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from pipeline.core.errors import InputError
from pipeline.nets.geometry import Geometry
from pipeline.systems.overfeat.network import Head, Overfeat, OverfeatShape


def network_of(*scales: int, pool: int = 2, window: int = 3, per_class: bool = False) -> Overfeat:
    torch.manual_seed(3)
    return Overfeat(OverfeatShape("small", 2, scales, pool, window, (8, 8), (8,), per_class)).eval()


@pytest.fixture
def unpadded() -> Overfeat:
    """Return a network whose trunk has no padding, as the paper's first layers: a window knows nothing beyond it."""
    network = network_of(96)
    torch.manual_seed(4)
    network.conv = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 96, 3), nn.ReLU()
    )
    network.geometry = Geometry.from_layers(network.conv)
    return network


@pytest.mark.parametrize("offsets", [True, False])
def test_one_pass_over_an_image_gives_what_its_crops_give(unpadded: Overfeat, offsets: bool) -> None:
    """A crop is what the cells of a window see; alone it is one window."""
    rng = np.random.default_rng(1)
    image = torch.from_numpy(rng.integers(0, 256, (1, 3, 96, 96), dtype=np.uint8))
    logits, edges = unpadded(image, offsets=offsets)
    windows = unpadded.windows(96, offsets)
    geometry = unpadded.geometry
    seen = geometry.field + geometry.stride * (unpadded.cells - 1)
    assert len(windows) == logits.shape[1] == edges.shape[1] > 20
    for number, (x1, y1, x2, y2) in enumerate(windows):
        left, top = round(float(x1 + x2 - seen) / 2), round(float(y1 + y2 - seen) / 2)
        alone = unpadded(image[:, :, top : top + seen, left : left + seen], offsets=False)
        assert [part.shape[1] for part in alone] == [1, 1]
        assert torch.allclose(alone[0][:, 0], logits[:, number], atol=1e-5)
        assert torch.allclose(alone[1][:, 0], edges[:, number], atol=1e-5)


@pytest.mark.parametrize(("pool", "window"), [(2, 3), (3, 5), (3, 1), (1, 2)])
def test_pooling_at_every_cell_is_pooling_at_each_offset_interleaved(pool: int, window: int) -> None:
    torch.manual_seed(5)
    head = Head(4, pool, window, (6,), 3, 0).eval()
    maps = torch.randn(2, 4, 19, 23)
    every = head(maps, offsets=True)
    assert every.shape[2:] == (19 - pool * window + 1, 23 - pool * window + 1)
    for y in range(pool):
        for x in range(pool):
            part = head(maps[:, :, y:, x:], offsets=False)
            assert torch.equal(part, every[:, :, y::pool, x::pool])


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((17, 17), (3, 3)),
        ((20, 23), (6, 9)),
        ((23, 29), (9, 15)),
        ((29, 35), (15, 21)),
        ((32, 38), (18, 24)),
        ((35, 44), (21, 30)),
    ],
)
def test_maps_of_the_six_scales_are_the_papers(size: tuple[int, int], expected: tuple[int, int]) -> None:
    """Layer 5 before its last pooling, and the class map of all nine offsets; pooling of 3, windows of 5."""
    head = Head(1, 3, 5, (2,), 2, 0)
    assert head(torch.zeros(1, 1, *size), offsets=True).shape[2:] == expected


def test_offset_pooling_of_a_line() -> None:
    """Twenty values pooled in threes from each offset, five pooled values summed up, interleaved."""
    line = torch.tensor([3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3, 2, 3, 8, 4], dtype=torch.float32)
    by_offset = [F.max_pool1d(line[None, offset:], 3)[0].tolist() for offset in range(3)]
    assert by_offset == [[4, 9, 6, 8, 9, 3], [4, 9, 6, 9, 9, 8], [5, 9, 5, 9, 9, 8]]
    head = Head(1, 3, 5, (), 1, 0)
    # Equal rows: pooling and summing down a column multiplies by 5.
    nn.init.constant_(head.layers[0].weight, 0.2)
    nn.init.zeros_(head.layers[0].bias)
    found = head(line.expand(1, 1, 20, 20), offsets=True)[0, 0, 0]
    assert found.tolist() == pytest.approx([36, 37, 37, 35, 41, 40])


def test_the_released_networks_have_the_papers_maps() -> None:
    """The fast network for 231, 263 and 500 pixels, the accurate one for 221, 257 and 500."""

    def cells(pixels: int, *layers: nn.Module) -> int:
        return Geometry.from_layers(nn.Sequential(*layers)).size(pixels)

    def conv(kernel: int, stride: int = 1, padding: int = 0) -> nn.Module:
        return nn.Conv2d(1, 1, kernel, stride, padding)

    fast = (conv(11, 4), nn.MaxPool2d(2), conv(5), nn.MaxPool2d(2), conv(3, 1, 1), nn.MaxPool2d(2), conv(6))
    accurate = (conv(7, 2), nn.MaxPool2d(3), conv(7), nn.MaxPool2d(2), conv(3, 1, 1), nn.MaxPool2d(3), conv(5))
    assert [cells(pixels, *fast) for pixels in (231, 263, 500)] == [1, 2, 9]
    assert [cells(pixels, *accurate) for pixels in (221, 257, 500)] == [1, 2, 8]


def test_windows_lie_where_the_network_looks() -> None:
    """The answer of a window depends on pixels around its middle."""
    network = network_of(112, window=1)
    image = torch.rand(1, 3, 112, 112, requires_grad=True)
    windows = network.windows(112)
    middle = len(windows) // 2
    network(image * 255)[0][0, middle].square().sum().backward()
    rows, columns = torch.nonzero(image.grad[0].abs().sum(0), as_tuple=True)
    x1, y1, x2, y2 = windows[middle]
    assert ((columns.min() + columns.max() + 1) / 2).item() == pytest.approx((x1 + x2) / 2, abs=1)
    assert ((rows.min() + rows.max() + 1) / 2).item() == pytest.approx((y1 + y2) / 2, abs=1)


def test_boxes_are_edges_in_sides_of_the_window() -> None:
    network = network_of(112, per_class=True)
    windows = torch.tensor([[8.0, 16, 56, 64]])
    edges = torch.tensor([[[[0.0, 0, 1, 1], [0.25, 0.5, 0.75, 1.5]]]])
    assert network.boxes(edges, windows).tolist() == [[[[8, 16, 56, 64], [20, 40, 44, 88]]]]


def test_a_head_alone_is_asked_for() -> None:
    network = network_of(112)
    logits, edges = network(torch.zeros(2, 3, 112, 112), regress=False)
    assert (logits.shape, edges.shape) == ((2, 81, 3), (2, 0, 1, 4))
    logits, edges = network(torch.zeros(2, 3, 112, 112), classify=False)
    assert (logits.shape[1], edges.shape) == (0, (2, 81, 1, 4))


def test_a_scale_without_room_for_a_window_is_refused() -> None:
    with pytest.raises(InputError, match=r"overfeat.scales: found 40, but small makes 5 cells a side of it and a wind"):
        network_of(112, 40)
