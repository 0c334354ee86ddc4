"""Spatial pyramid pooling: regions to cells by both rules, scales, and the pooled vectors."""

from functools import lru_cache
from math import ceil, floor

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.features.pyramid import (
    Rule,
    bins,
    cells_along,
    choose_scale,
    pool_cuts,
    pool_regions,
    project,
    rectangle_maxima,
)
from pipeline.nets.backbones import architecture
from pipeline.nets.geometry import Geometry
from pipeline.pretraining import SpatialPyramid

# 1-based pixels and cells, as the released code counts.
RELEASED = [((50, 150), (3, 9)), ((100, 110), (6, 6)), ((1, 224), (0, 13)), ((200, 480), (13, 29))]
# The paper's rule for the same windows; 100 to 110 crosses: cells 7 and 6, of which the middle is 6.
PAPER = [((50, 150), (4, 9)), ((100, 110), (6, 6)), ((1, 224), (1, 13)), ((200, 480), (13, 29))]


@lru_cache
def geometry_of(network: str) -> Geometry:
    return Geometry.from_architecture(architecture(network))


def along(pixels: tuple[int, int], centre: float, rule: Rule) -> tuple[int, int]:
    left, right = cells_along(np.array([pixels[0] * 1.0]), np.array([pixels[1] * 1.0]), 16, centre, rule)
    return int(left[0]), int(right[0])


@pytest.mark.parametrize(("pixels", "cells"), RELEASED)
def test_worked_examples_of_the_released_rule(pixels: tuple[int, int], cells: tuple[int, int]) -> None:
    # The first receptive field of the released network is centred on its 21st pixel: 20, counted from 0.
    left, right = along((pixels[0] - 1, pixels[1] - 1), 20, "released")
    assert (left + 1, right + 1) == cells


@pytest.mark.parametrize(("pixels", "cells"), PAPER)
def test_worked_examples_of_the_paper_s_rule(pixels: tuple[int, int], cells: tuple[int, int]) -> None:
    assert along(pixels, 0, "paper") == cells


def test_the_paper_s_formula_crosses_before_it_is_mended() -> None:
    assert (100 // 16 + 1, -(-110 // 16) - 1) == (7, 6)


def test_a_window_over_a_border_is_limited_to_the_map() -> None:
    # 1 to 224 in the released network: cells 0 to 13, limited to 1 to 13 of 13.
    geometry = Geometry((), 16, 20.5, 1)
    assert project([[0, 0, 224, 224]], (1, 1), (13, 13), geometry, "released").tolist() == [[0, 0, 13, 13]]
    assert project([[-90, -90, -80, -80]], (1, 1), (13, 9), geometry, "released").tolist() == [[0, 0, 1, 1]]
    assert project([[900, 900, 901, 901]], (1, 1), (9, 13), geometry, "paper").tolist() == [[12, 8, 13, 9]]


@pytest.mark.parametrize("rule", ["paper", "released"])
@pytest.mark.parametrize("network", ["small", "alexnet", "vgg16"])
@given(
    corner=st.tuples(st.floats(0, 599), st.floats(0, 399)),
    size=st.tuples(st.floats(1, 600), st.floats(1, 400)),
    factor=st.floats(0.2, 3),
)
def test_any_window_gets_cells_inside_the_map_that_lie_in_it(
    rule: Rule, network: str, corner: tuple[float, float], size: tuple[float, float], factor: float
) -> None:
    geometry = geometry_of(network)
    hw = (max(1, geometry.size(round(400 * factor))), max(1, geometry.size(round(600 * factor))))
    box = np.float32([*corner, min(600, corner[0] + size[0]), min(400, corner[1] + size[1])])
    x1, y1, x2, y2 = project(box, (factor, factor), hw, geometry, rule)[0].tolist()
    assert 0 <= x1 < x2 <= hw[1]
    assert 0 <= y1 < y2 <= hw[0]
    # No further than one cell from the window, at the scale of the network's input.
    centres = geometry.offset + geometry.stride * np.array([x1, x2 - 1])
    limits = np.clip(box[[0, 2]] * factor, geometry.offset, geometry.offset + geometry.stride * (hw[1] - 1))
    assert (centres >= limits[0] - geometry.stride).all()
    assert (centres <= limits[1] + geometry.stride).all()


def test_the_paper_s_cells_are_those_centred_strictly_inside() -> None:
    geometry = geometry_of("alexnet")
    rng = np.random.default_rng(0)
    for left, length in rng.integers([0, 40], [300, 300], (50, 2)).tolist():
        found = project([[left, left, left + length, left + length]], (1, 1), (60, 60), geometry, "paper")[0]
        pixels = geometry.offset - 0.5 + geometry.stride * np.arange(60)  # the pixel in each cell's middle
        inside = np.flatnonzero((pixels > left) & (pixels < left + length - 1))
        assert (found[0], found[2] - 1) == (inside[0], inside[-1])


def test_each_window_can_have_its_own_map() -> None:
    geometry = geometry_of("small")
    boxes = np.float32([[0, 0, 40, 40], [0, 0, 40, 40]])
    both = project(boxes, [[1, 1], [2, 2]], [[10, 10], [20, 20]], geometry, "released")
    assert both[0].tolist() == project(boxes[:1], (1, 1), (10, 10), geometry, "released")[0].tolist()
    assert both[1].tolist() == project(boxes[:1], (2, 2), (20, 20), geometry, "released")[0].tolist()


def test_a_window_takes_the_scale_that_brings_it_near_the_square() -> None:
    boxes = np.float32([[0, 0, 100, 100], [0, 0, 224, 224], [0, 0, 400, 30], [0, 0, 500, 400], [0, 0, 1, 1]])
    scales = np.array([480, 688, 1200])
    factors = np.repeat(scales[:, None] / 500, 2, axis=1)  # of an image whose shorter side is 500
    pixels = [100**2, 224**2, 400 * 30, 500 * 400, 1]
    nearest = [min(range(3), key=lambda s: abs(p * (scales[s] / 500) ** 2 - 224**2)) for p in pixels]
    assert choose_scale(boxes, factors, scales, 224, "paper").tolist() == nearest
    wanted = [round(13 * 16 * 500 / p**0.5) for p in pixels]
    closest = [min(range(3), key=lambda s: abs(w - scales[s])) for w in wanted]
    assert choose_scale(boxes, factors, scales, 208, "released").tolist() == closest
    assert choose_scale(np.zeros((0, 4)), factors, scales, 208, "released").shape == (0,)


PYRAMIDS = [(6, 3, 2, 1), (1, 2, 3, 6), (4, 3, 2, 1), (4, 2, 1), (3, 2, 1), (5,)]


def slow(grid: np.ndarray, window: list[int], levels: tuple[int, ...]) -> np.ndarray:
    x1, y1, x2, y2 = window
    part = grid[y1:y2, x1:x2]
    height, width, channels = part.shape
    return np.array(
        [
            part[
                floor(i * height / n) : ceil((i + 1) * height / n), floor(j * width / n) : ceil((j + 1) * width / n), c
            ].max()
            for n in levels
            for c in range(channels)
            for i in range(n)
            for j in range(n)
        ]
    )


def windows_of(rng: np.random.Generator, height: int, width: int, count: int) -> np.ndarray:
    corners = rng.integers(0, [width, height], (count, 2))
    sizes = rng.integers(1, [width, height] - corners + 1)
    return np.concatenate([corners, corners + sizes], axis=1)


@pytest.mark.parametrize("levels", PYRAMIDS)
@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 3), (7, 4), (13, 19)])
def test_every_window_is_pooled_as_a_slow_loop_pools_it(levels: tuple[int, ...], height: int, width: int) -> None:
    rng = np.random.default_rng(height)
    grid = rng.normal(size=(height, width, 3)).astype(np.float32)
    windows = windows_of(rng, height, width, 25)
    pooled = pool_regions(torch.from_numpy(grid).flatten(0, 1), (height, width), windows, levels)
    assert pooled.shape == (25, 3 * sum(n * n for n in levels))
    for vector, window in zip(pooled.numpy(), windows.tolist(), strict=True):
        np.testing.assert_array_equal(vector, slow(grid, window, levels))


@pytest.mark.parametrize("levels", PYRAMIDS)
@pytest.mark.parametrize("hw", [(10, 10), (13, 13), (3, 50), (37, 62)])
def test_a_window_over_the_whole_map_is_what_the_classifier_s_pyramid_gives(
    levels: tuple[int, ...], hw: tuple[int, int]
) -> None:
    maps = torch.rand(1, 5, *hw, generator=torch.Generator().manual_seed(0))
    cells = maps[0].permute(1, 2, 0).flatten(0, 1)
    pooled = pool_regions(cells, hw, np.array([[0, 0, hw[1], hw[0]]]), levels)
    assert torch.equal(pooled, SpatialPyramid(levels)(maps))


@pytest.mark.parametrize("level", [1, 2, 3, 4, 6])
def test_bins_are_those_of_the_released_code(level: int) -> None:
    """``spm_pool_caffe_mex.cpp`` divides and multiplies in float32; no rounding moves a bin of up to 129 cells."""
    for width in range(1, 130):
        shares, cells = np.arange(level + 1, dtype=np.float32) / np.float32(level), np.float32(width)
        first, stop = np.floor(shares[:-1] * cells), np.ceil(shares[1:] * cells)
        found = bins(torch.tensor([[0, 0, width, width]]), level)[0, :level]
        assert found[:, 0].tolist() == first.tolist()
        assert found[:, 2].tolist() == stop.tolist()


def test_ten_cells_give_six_bins_where_fixed_windows_would_give_nine() -> None:
    # Window ceil(10 / 6) = 2 and stride floor(10 / 6) = 1, the paper's rule for fixed sizes, fit nine times.
    assert (10 - 2) // 1 + 1 == 9
    cells = torch.arange(100.0)[:, None]
    assert pool_regions(cells, (10, 10), np.array([[0, 0, 10, 10]]), (6,)).shape == (1, 36)


def test_the_fixed_rule_agrees_at_thirteen_cells() -> None:
    maps = torch.rand(1, 2, 13, 13, generator=torch.Generator().manual_seed(1))
    cells = maps[0].permute(1, 2, 0).flatten(0, 1)
    for level in (6, 3, 2, 1):
        fixed = torch.nn.functional.max_pool2d(maps, ceil(13 / level), 13 // level)
        assert torch.equal(pool_regions(cells, (13, 13), np.array([[0, 0, 13, 13]]), (level,)), fixed.flatten(1))


def test_no_window_and_negative_values() -> None:
    cells = -torch.ones(12, 2)
    assert pool_regions(cells, (3, 4), np.zeros((0, 4), np.int64), (2, 1)).shape == (0, 10)
    assert (pool_regions(cells, (3, 4), np.array([[0, 0, 1, 1]]), (6, 1)) == -1).all()


def test_rectangles_of_every_size() -> None:
    grid = torch.rand(9, 11, 2, generator=torch.Generator().manual_seed(2))
    every = [
        (x1, y1, x2, y2) for x1 in range(11) for x2 in range(x1 + 1, 12) for y1 in range(9) for y2 in range(y1 + 1, 10)
    ]
    found = rectangle_maxima(grid, torch.tensor(every))
    expected = torch.stack([grid[y1:y2, x1:x2].amax(dim=(0, 1)) for x1, y1, x2, y2 in every])
    assert torch.equal(found, expected)


@pytest.mark.parametrize("levels", PYRAMIDS)
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_windows_of_many_maps_are_pooled_as_a_slow_loop_pools_them(levels: tuple[int, ...], dtype: type) -> None:
    rng = np.random.default_rng(3)
    maps = [np.maximum(rng.normal(size=(*rng.integers(1, 20, 2), 3)), 0).astype(dtype) for _ in range(12)]
    windows = [windows_of(rng, *grid.shape[:2], 1)[0].tolist() for grid in maps]
    pooled = pool_cuts([grid[y1:y2, x1:x2] for grid, (x1, y1, x2, y2) in zip(maps, windows, strict=True)], levels)
    assert pooled.numpy().dtype == dtype
    for vector, grid, window in zip(pooled.numpy(), maps, windows, strict=True):
        np.testing.assert_array_equal(vector, slow(grid, window, levels))
