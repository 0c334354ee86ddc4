"""Pyramid pooling of many windows, against a slow loop over bins and against the module that pools whole maps."""

from math import ceil, floor

import numpy as np
import pytest
import torch

from pipeline.features.pyramid import mosaic, pool_regions, rectangle_maxima
from pipeline.pretraining import SpatialPyramid

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


def test_a_mosaic_holds_every_piece_once() -> None:
    rng = np.random.default_rng(3)
    cuts = [rng.integers(1, 99, (*rng.integers(1, 9, 2), 2)) for _ in range(40)]
    whole, windows = mosaic(cuts)
    for cut, (x1, y1, x2, y2) in zip(cuts, windows.tolist(), strict=True):
        np.testing.assert_array_equal(whole[y1:y2, x1:x2], cut)
    assert (whole > 0).sum() == sum(cut.size for cut in cuts)  # nothing overlaps
