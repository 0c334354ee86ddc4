"""Projection to cells and RoI pooling, against worked examples and a slow loop."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.nets.backbones import architecture
from pipeline.nets.geometry import Geometry
from pipeline.systems.fast_rcnn.network import FastRcnn, FastRcnnShape, map_shift, to_cells

VGG16 = Geometry.from_architecture(architecture("vgg16"))


def official(*corners: float) -> np.ndarray:
    """Return a box that names its last pixel, as the official code has it, in the project's half-open form."""
    x1, y1, x2, y2 = corners
    return np.array([[x1, y1, x2 + 1, y2 + 1]], np.float32)


def test_the_published_example() -> None:
    # 50/16 = 3.1, 20/16 = 1.25, 370/16 = 23.1, 148/16 = 9.25: 21 x 9 cells, ends included.
    assert to_cells(official(50, 20, 370, 148), 1.0, VGG16).tolist() == [[3, 1, 23, 9]]


@pytest.mark.parametrize(("pixel", "cell"), [(7.99, 0), (8, 1), (24, 2), (40, 3), (0, 0)])
def test_halves_round_away_from_zero(pixel: float, cell: int) -> None:
    assert to_cells(official(pixel, pixel, pixel, pixel), 1.0, VGG16).tolist() == [[cell] * 4]


def test_boxes_grow_with_the_image() -> None:
    assert to_cells(official(25, 10, 185, 74), 2.0, VGG16).tolist() == [[3, 1, 23, 9]]


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


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(0, 12))
def test_pooling_equals_a_slow_loop(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    network = FastRcnn(FastRcnnShape("small", 5, 8, 2, (64,), 96))
    maps = rng.normal(size=(2, 96, 9, 11)).astype(np.float32)
    corners = np.sort(rng.uniform(-12, 100, (count, 2, 2)), axis=1).reshape(-1, 4).astype(np.float32)
    cells = np.concatenate([rng.integers(0, 2, (count, 1)), to_cells(corners, 1.0, network.geometry)], axis=1)
    cells = cells.astype(np.float32)
    pooled = network.pool(torch.from_numpy(maps), torch.from_numpy(cells))
    assert np.array_equal(pooled.numpy(), pool_slowly(maps, cells, 5))
