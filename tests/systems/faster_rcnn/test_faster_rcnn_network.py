"""The proposal network and its anchors."""

import numpy as np
import pytest
import torch
from torchvision.ops import nms

from pipeline.core.boxes import decode
from pipeline.core.errors import InputError
from pipeline.data.index import ImageRecord
from pipeline.nets.backbones import architecture
from pipeline.nets.geometry import Geometry
from pipeline.nets.weights import Backbone
from pipeline.systems.faster_rcnn.detector import propose
from pipeline.systems.faster_rcnn.network import RegionProposalNetwork, RpnShape, anchor_grid, reference_anchors
from pipeline.systems.faster_rcnn.params import RpnProposals

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
    grid = anchor_grid(reference, geometry, geometry.size(600), geometry.size(1000))
    assert len(grid) == 21_546  # "about 20000" (section 3.1.2)
    for row, column, anchor in ((0, 0, 0), (0, 1, 4), (37, 62, 8), (5, 7, 2)):
        place = (row * 63 + column) * 9 + anchor
        assert grid[place].tolist() == (reference[anchor] + [16 * column, 16 * row] * 2).tolist()


@pytest.mark.parametrize("name", ["small", "alexnet", "squeezenet1_0", "vgg16"])
def test_anchors_lie_around_the_centres_of_their_cells(name: str) -> None:
    """Which pixels does a cell see? Its anchor must have the same centre as the pixels with a gradient."""
    import torch

    from pipeline.imaging import resized_shape

    torch.manual_seed(0)
    conv = architecture(name).conv().eval().requires_grad_(False)
    for layer in conv.modules():
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.constant_(layer.weight, 1 / layer.weight[0].numel())
            torch.nn.init.zeros_(layer.bias)
        if isinstance(layer, torch.nn.MaxPool2d):
            layer.forward = lambda x, own=layer: torch.nn.functional.avg_pool2d(
                x, own.kernel_size, own.stride, own.padding, own.ceil_mode
            )
    geometry = Geometry.from_layers(conv)
    image = torch.rand(1, 3, *resized_shape(256, 256, 1.0), requires_grad=True)
    maps = conv(image)
    cell = maps.shape[2] // 2
    maps[0, :, cell, cell].sum().backward()
    rows = torch.nonzero(image.grad[0].abs().sum(dim=(0, 2)))
    seen = (rows.min().item() + rows.max().item() + 1) / 2
    anchor = anchor_grid(np.array([[0, 0, 1, 1]], np.float32) * geometry.stride, geometry, *maps.shape[2:])
    x1, y1, x2, y2 = anchor[cell * maps.shape[3] + cell]
    assert (x1 + x2) / 2 == pytest.approx(seen)
    assert (y1 + y2) / 2 == pytest.approx(seen)


SHAPE = RpnShape("small", 16, (24.0, 40.0), (0.5, 1.0, 2.0), (96,), 128)


@pytest.fixture
def network() -> RegionProposalNetwork:
    torch.manual_seed(0)
    return RegionProposalNetwork(SHAPE).eval()


def test_vgg16_has_the_published_number_of_new_weights() -> None:
    with torch.device("meta"):
        network = RegionProposalNetwork(RpnShape("vgg16", 512, (128, 256, 512), (0.5, 1, 2), (600,), 1000))
    new = sum(p.numel() for name, p in network.named_parameters() if not name.startswith("conv."))
    assert round(new / 1e6, 2) == 2.39


def test_outputs_stand_in_the_order_of_the_anchors(network: RegionProposalNetwork) -> None:
    maps = torch.rand(2, 96, 4, 5)
    with torch.no_grad():
        scores, offsets = network.head(maps)
        hidden = network.window(maps).relu()
    assert scores.shape == (2, 4 * 5 * 6, 2)
    assert offsets.shape == (2, 4 * 5 * 6, 4)
    for image, row, column, anchor in ((0, 0, 0, 0), (1, 3, 4, 5), (1, 2, 1, 3)):
        place, cell = (row * 5 + column) * 6 + anchor, hidden[image, :, row, column]
        all_scores = network.scores.weight[:, :, 0, 0] @ cell
        all_offsets = network.offsets.weight[:, :, 0, 0] @ cell
        assert torch.allclose(scores[image, place], all_scores[[anchor, 6 + anchor]], atol=1e-5)
        assert torch.allclose(offsets[image, place], all_offsets[4 * anchor : 4 * anchor + 4], atol=1e-5)
    assert len(network.anchors(96, 112)) == network(torch.rand(1, 3, 96, 112))[0].shape[1]


def test_new_layers_see_the_map_divided_by_its_size(network: RegionProposalNetwork, tmp_path) -> None:
    scaled = RegionProposalNetwork(SHAPE)
    scaled.scale_input(Backbone({}, 32.0))
    scaled.load_state_dict({**network.state_dict(), "input_scale": scaled.input_scale})
    maps = torch.rand(1, 96, 4, 5)
    scaled.save(tmp_path / "n.safetensors")
    for same in (scaled, RegionProposalNetwork.load(tmp_path / "n.safetensors", "s")):
        for found, expected in zip(same.head(32 * maps), network.head(maps), strict=True):
            assert torch.allclose(found, expected, atol=1e-6)


def test_proposals_against_torchvision(network: RegionProposalNetwork) -> None:
    with torch.no_grad():
        network.offsets.weight.mul_(20)
    record = ImageRecord(1, "a", 120, 100, "")
    settings = RpnProposals(min_side=12, pre_nms_top_n=80, nms=0.6, post_nms_top_n=25)
    maps = torch.rand(1, 96, 10, 12)
    found = propose(network, maps, (80, 96), 0.8, (record.width, record.height), settings)
    with torch.no_grad():
        scores, offsets = network.head(maps)
    boxes = decode(torch.from_numpy(network.anchors(80, 96)), offsets[0]) / 0.8
    boxes[:, 0::2] = boxes[:, 0::2].clamp(0, 120)
    boxes[:, 1::2] = boxes[:, 1::2].clamp(0, 100)
    large = (boxes[:, 2:] - boxes[:, :2] >= 12).all(dim=1)
    boxes, objectness = boxes[large], scores[0].softmax(1)[large, 1]
    best = objectness.argsort(descending=True, stable=True)[:80]
    expected = boxes[best][nms(boxes[best], objectness[best], 0.6)[:25]]
    assert len(found) > 5
    assert np.allclose(found, expected.numpy(), atol=1e-3)


def test_no_box_may_be_large_enough(network: RegionProposalNetwork) -> None:
    settings = RpnProposals(min_side=500, pre_nms_top_n=0, nms=0.7, post_nms_top_n=10)
    found = propose(network, torch.rand(1, 96, 10, 12), (80, 96), 1.0, (96, 80), settings)
    assert found.shape == (0, 4)


def test_saved_and_read_again(network: RegionProposalNetwork, tmp_path) -> None:
    network.save(tmp_path / "n.safetensors")
    copy = RegionProposalNetwork.load(tmp_path / "n.safetensors", "s")
    assert copy.shape == SHAPE
    assert np.array_equal(copy.reference, network.reference)
    assert all(torch.equal(tensor, copy.state_dict()[name]) for name, tensor in network.state_dict().items())
    from pipeline.systems.fast_rcnn.network import FastRcnn, FastRcnnShape

    FastRcnn(FastRcnnShape("small", 3, 8, 2, (64,), 96)).save(tmp_path / "fast.safetensors")
    with pytest.raises(
        InputError, match=r"no proposal network can be read .* the stage systems/faster_rcnn/dvc.yaml:rpn@1 writes it"
    ):
        RegionProposalNetwork.load(tmp_path / "fast.safetensors", "systems/faster_rcnn/dvc.yaml:rpn@1")
