"""Fast R-CNN's network: layers, backbone, regions in cells, and weights on disk."""

from pathlib import Path

import numpy as np
import pytest
import torch
from defusedxml import ElementTree
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.boxes import from_voc
from pipeline.core.errors import InputError
from pipeline.nets.backbones import architecture
from pipeline.nets.geometry import Geometry
from pipeline.nets.weights import Backbone
from pipeline.systems.fast_rcnn.network import FastRcnn, FastRcnnShape, map_shift, to_cells
from pipeline.systems.fast_rcnn.svd import compress

SHAPE = FastRcnnShape("small", 3, 8, 2, (64,), 96)


def test_vgg16_has_the_published_number_of_weights() -> None:
    with torch.device("meta"):
        network = FastRcnn(FastRcnnShape("vgg16", 7, 0, 20, (600,), 1000))
    assert sum(parameter.numel() for parameter in network.parameters()) == 134_690_729


def test_new_layers_start_as_published() -> None:
    torch.manual_seed(0)
    network = FastRcnn(FastRcnnShape("small", 5, 256, 100, (64,), 96))
    assert network.scores.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert network.offsets.weight.std().item() == pytest.approx(0.001, rel=0.05)
    assert not network.scores.bias.any()
    assert not network.offsets.bias.any()


def test_fc_layers_come_from_the_backbone_where_they_fit() -> None:
    torch.manual_seed(0)
    conv = {f"features.{name}": tensor for name, tensor in architecture("alexnet").conv().state_dict().items()}
    fc = {
        "classifier.1.weight": torch.rand(4096, 9216),
        "classifier.1.bias": torch.rand(4096),
        "classifier.4.weight": torch.rand(4096, 4096),
        "classifier.4.bias": torch.rand(4096),
    }
    network = FastRcnn(FastRcnnShape.from_params("alexnet", None, 0, 2, _size()))
    assert network.load_backbone(Backbone(conv | fc, 4.0)) == ["scores", "offsets"]
    assert network.input_scale.item() == 1
    assert torch.equal(network.fc6.weight, fc["classifier.1.weight"])
    assert torch.equal(network.fc7.bias, fc["classifier.4.bias"])
    small = FastRcnn(FastRcnnShape.from_params("alexnet", 3, 0, 2, _size()))
    assert small.load_backbone(Backbone(conv | fc, 4.0)) == ["scores", "offsets", "fc6"]
    with pytest.raises(InputError, match="the weights do not fit alexnet"):
        network.load_backbone(Backbone(fc))


def test_a_new_fc6_sees_features_divided_by_their_size(tmp_path: Path) -> None:
    torch.manual_seed(0)
    backbone = {f"features.{name}": tensor for name, tensor in architecture("small").conv().state_dict().items()}
    network = FastRcnn(SHAPE).eval()
    pooled = torch.rand(5, network.fc6.in_features)
    expected = network.features(pooled)
    assert network.load_backbone(Backbone(backbone, 32.0)) == ["scores", "offsets", "fc6", "fc7"]
    assert torch.allclose(network.features(32 * pooled), expected, atol=1e-5)
    network.save(tmp_path / "n.safetensors")
    copy = FastRcnn.load(tmp_path / "n.safetensors", "s")
    for same in (copy, compress(copy, 5, 0)):
        assert same.input_scale.item() == 1 / 32


def test_regions_of_a_padded_batch_score_as_alone() -> None:
    torch.manual_seed(0)
    network = FastRcnn(SHAPE).eval()
    images = torch.rand(2, 3, 64, 64)
    cells = torch.tensor([[0.0, 1, 1, 4, 5], [1, 0, 0, 7, 7], [1, 2, 3, 2, 3]])
    scores, offsets = network(images, cells)
    assert scores.shape == (3, 3)
    assert offsets.shape == (3, 3, 4)
    for row, (image, *corners) in enumerate(cells.tolist()):
        alone, _ = network(images[int(image)][None], torch.tensor([[0.0, *corners]]))
        assert torch.allclose(alone[0], scores[row], atol=1e-6)


def test_no_region_gives_no_score() -> None:
    scores, offsets = FastRcnn(SHAPE).eval()(torch.rand(1, 3, 32, 32), torch.zeros(0, 5))
    assert scores.shape == (0, 3)
    assert offsets.shape == (0, 3, 4)


def test_saved_and_read_again(tmp_path: Path) -> None:
    network = FastRcnn(SHAPE)
    network.save(tmp_path / "n.safetensors")
    copy = FastRcnn.load(tmp_path / "n.safetensors", "s")
    assert copy.shape == SHAPE
    assert all(torch.equal(tensor, copy.state_dict()[name]) for name, tensor in network.state_dict().items())
    with pytest.raises(InputError, match="does not exist"):
        FastRcnn.load(tmp_path / "other.safetensors", "s")


def test_a_file_of_another_kind_is_named(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, tmp_path / "n.safetensors")
    with pytest.raises(
        InputError, match=r"no Fast R-CNN can be read .* the stage systems/fast_rcnn/dvc.yaml:train writes it"
    ):
        FastRcnn.load(tmp_path / "n.safetensors", "systems/fast_rcnn/dvc.yaml:train")


def test_early_layers_are_counted_over_convolutions() -> None:
    with torch.device("meta"):
        network = FastRcnn(FastRcnnShape("vgg16", 7, 0, 20, (600,), 1000))
    # conv1_1, conv1_2, conv2_1 and conv2_2 are torchvision's features 0, 2, 5 and 7; conv3_1 is 10.
    assert network.early_layers(4) == ("conv.0.", "conv.2.", "conv.5.", "conv.7.")
    assert network.early_layers(0) == ()


def _size():
    from pipeline.systems.fast_rcnn.params import ImageSize

    return ImageSize(short_sides=(64,), long_side=96)


VGG16 = Geometry.from_architecture(architecture("vgg16"))


def official(*corners: float) -> np.ndarray:
    """Return a box that names its last pixel, as the official code has it, in the project's half-open form."""
    x1, y1, x2, y2 = corners
    return np.array([[x1, y1, x2 + 1, y2 + 1]], np.float32)


def test_the_published_example() -> None:
    # 50/16 = 3.1, 20/16 = 1.25, 370/16 = 23.1, 148/16 = 9.25: 21 x 9 cells, ends included.
    assert to_cells(official(50, 20, 370, 148), 1.0, VGG16, (500, 375)).tolist() == [[3, 1, 23, 9]]


@pytest.mark.parametrize(("pixel", "cell"), [(7.99, 0), (8, 1), (24, 2), (40, 3), (0, 0)])
def test_halves_round_away_from_zero(pixel: float, cell: int) -> None:
    assert to_cells(official(pixel, pixel, pixel, pixel), 1.0, VGG16, (500, 375)).tolist() == [[cell] * 4]


def test_boxes_grow_with_the_image() -> None:
    assert to_cells(official(25, 10, 185, 74), 2.0, VGG16, (250, 188)).tolist() == [[3, 1, 23, 9]]


@pytest.mark.parametrize(
    ("box", "cells"),
    [
        # Alone -1 to 4 and 12 to 17, 34 to 39 and 24 to 29: the map has columns 0 to 38 and rows 0 to 28.
        ((0, 200, 80, 280), (0, 12, 4, 17)),
        ((560, 400, 640, 480), (34, 24, 38, 28)),
        ((300, 200, 380, 280), (18, 12, 23, 17)),
    ],
)
def test_cells_end_with_the_map_so_that_no_bin_is_empty(box: tuple[int, ...], cells: tuple[int, ...]) -> None:
    geometry = Geometry.from_architecture(architecture("squeezenet1_0"))
    assert (geometry.size(480), geometry.size(640)) == (29, 39)
    found = to_cells(np.array([box], np.float32), 1.0, geometry, (640, 480))
    assert found.tolist() == [list(cells)]
    assert empty_bins(found, 29, 39) == 0


@pytest.mark.parametrize(("short", "share"), [(480, 0.203), (600, 0.0845)])
def test_a_fifth_of_the_blood_cells_would_have_empty_bins(shared: Path, short: int, share: float) -> None:
    """4,888 objects on photographs of 640 x 480 pixels, SqueezeNet; by the cells before they end with the map."""
    places = [
        [float(place.find(key).text) for key in ("xmin", "ymin", "xmax", "ymax")]
        for file in sorted((shared / "data/bccd/Annotations").glob("*.xml"))
        for place in ElementTree.parse(file).iter("bndbox")
    ]
    geometry = Geometry.from_architecture(architecture("squeezenet1_0"))
    factor, map_size = short / 480, (geometry.size(short * 640 // 480), geometry.size(short))
    beyond = np.floor(((np.array(places) - 1) * factor - map_shift(geometry)) / geometry.stride + 0.5)
    inside = to_cells(from_voc(places), factor, geometry, (640, 480))
    assert _some_bin_is_empty(beyond, map_size).mean() == pytest.approx(share, abs=5e-4)
    assert not _some_bin_is_empty(inside, map_size).any()


def _some_bin_is_empty(cells: np.ndarray, map_size: tuple[int, int]) -> np.ndarray:
    """Return whether one of 7 bins along x or y has no cell of the map, for each of ``cells`` (N, 4)."""
    empty = np.zeros(len(cells), np.bool_)
    for axis, size in enumerate(map_size):
        first, last = cells[:, axis, None], cells[:, axis + 2, None]
        length, number = np.maximum(last - first + 1, 1), np.arange(7)
        start = np.clip(first + number * length // 7, 0, size)
        stop = np.clip(first - (-(number + 1) * length // 7), 0, size)
        empty |= (stop <= start).any(axis=1)
    return empty


def test_the_map_of_vgg16_reaches_the_end_of_a_photograph() -> None:
    # 500 x 375 pixels at 600 are 800 x 600: 38 rows, where 37, rounded down, would leave 7 of the 49 bins empty.
    found = to_cells(np.array([[100, 335, 300, 375]], np.float32), 1.6, VGG16, (500, 375))
    assert found.tolist() == [[10, 34, 30, 37]]
    assert (empty_bins(found, 38, 50), empty_bins(found, 37, 50)) == (0, 7)


def empty_bins(cells: np.ndarray, rows: int, columns: int) -> int:
    """Return how many of 7 x 7 bins RoI pooling leaves 0 on a map of ones."""
    regions = np.concatenate([np.zeros((1, 1), np.float32), cells], axis=1)
    pooled = pool_slowly(np.ones((1, 1, rows, columns), np.float32), regions, 7)
    return int((pooled == 0).sum())


def test_a_strip_has_one_row_of_cells() -> None:
    found = to_cells(np.array([[0, 0, 2000, 3], [900, 1, 1000, 2]], np.float32), 0.16, VGG16, (2000, 3))
    assert found[:, [1, 3]].tolist() == [[0, 0], [0, 0]]
    small = Geometry.from_architecture(architecture("small"))
    assert small.size(3) == 0
    assert to_cells(np.array([[0, 0, 2000, 20]], np.float32), 0.16, small, (2000, 20)).tolist() == [[0, 0, 39, 0]]


def test_only_maps_of_unpadded_layers_are_shifted() -> None:
    shifts = {name: map_shift(Geometry.from_architecture(architecture(name))) for name in ("small", "vgg16", "alexnet")}
    # AlexNet: centres 11/2 - 2 = 3.5, + 4 = 7.5 and + 8 = 15.5 after two poolings, where 8 would be aligned.
    assert shifts == {"small": 0, "vgg16": 0, "alexnet": 7.5}


def pool_slowly(maps: np.ndarray, cells: np.ndarray, grid: int) -> np.ndarray:
    """RoI pooling as ``roi_pooling_layer.cpp`` states it, cell by cell."""
    pooled = np.zeros((len(cells), maps.shape[1], grid, grid), np.float32)
    for r, (image, x1, y1, x2, y2) in enumerate(cells.astype(int)):
        width, height = max(x2 - x1 + 1, 1), max(y2 - y1 + 1, 1)
        for i in range(grid):
            top, bottom = y1 + i * height // grid, y1 - (-(i + 1) * height // grid)
            for j in range(grid):
                left, right = x1 + j * width // grid, x1 - (-(j + 1) * width // grid)
                inside = maps[image, :, max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
                if inside.size:
                    pooled[r, :, i, j] = inside.max(axis=(1, 2))
    return pooled.reshape(len(cells), maps.shape[1] * grid * grid)


@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), count=st.integers(0, 12))
def test_pooling_equals_a_slow_loop(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    network = FastRcnn(FastRcnnShape("small", 5, 8, 2, (64,), 96))
    maps = rng.normal(size=(2, 96, 9, 11)).astype(np.float32)
    corners = np.sort(rng.uniform(-12, 100, (count, 2, 2)), axis=1).reshape(-1, 4).astype(np.float32)
    cells = np.concatenate(
        [rng.integers(0, 2, (count, 1)), to_cells(corners, 1.0, network.geometry, (120, 96))], axis=1
    )
    cells = cells.astype(np.float32)
    pooled = network.pool(torch.from_numpy(maps), torch.from_numpy(cells))
    assert np.array_equal(pooled.numpy(), pool_slowly(maps, cells, 5))
