"""Pyramid pooling against a loop over its definition, and a network of one weight set for all sizes."""

import math

import numpy as np
import pytest
import torch

from pipeline.nets.backbones import architecture
from pipeline.pretraining import PyramidNetwork, SpatialPyramid

PAPER = (6, 3, 2, 1)


def pooled_slowly(maps: np.ndarray, levels: tuple[int, ...]) -> np.ndarray:
    """Return the pyramid by SPP-net's appendix A: bin i of n spans floor(i w / n) to ceil((i + 1) w / n)."""
    batch, _, height, width = maps.shape
    rows = []
    for sample in range(batch):
        values: list[float] = []
        for n in levels:
            for channel in maps[sample]:
                for i in range(n):
                    top, bottom = math.floor(i * height / n), math.ceil((i + 1) * height / n)
                    for j in range(n):
                        left, right = math.floor(j * width / n), math.ceil((j + 1) * width / n)
                        values.append(channel[top:bottom, left:right].max())
        rows.append(values)
    return np.array(rows, maps.dtype)


@pytest.mark.parametrize(("height", "width"), [(13, 13), (10, 10), (10, 7), (6, 25), (3, 2), (1, 1)])
def test_bins_are_the_papers(height: int, width: int) -> None:
    maps = np.random.default_rng(0).normal(size=(2, 3, height, width)).astype(np.float32)
    found = SpatialPyramid(PAPER)(torch.from_numpy(maps)).numpy()
    np.testing.assert_array_equal(found, pooled_slowly(maps, PAPER))


def test_the_papers_map_has_fifty_bins() -> None:
    assert SpatialPyramid(PAPER)(torch.zeros(1, 256, 13, 13)).shape == (1, 256 * 50)


def test_ten_cells_give_six_bins() -> None:
    """The paper's rule of fixed windows, window ceil(a/n) and stride floor(a/n), gives 9 outputs here."""
    cells = torch.arange(10.0).expand(1, 1, 10, 10)
    assert len(range(0, 10 - math.ceil(10 / 6) + 1, 10 // 6)) == 9
    bins = SpatialPyramid((6,))(cells).reshape(6, 6)
    assert bins[0].tolist() == [math.ceil((i + 1) * 10 / 6) - 1 for i in range(6)]


@torch.inference_mode()
def test_one_set_of_weights_serves_every_input_size() -> None:
    torch.manual_seed(0)
    network = PyramidNetwork(architecture("small"), PAPER, width=8, outputs=4).eval()
    assert network.pyramid["fc6"].in_features == 96 * 50
    for side in (48, 36, 61):
        images = torch.randn(2, 3, side, side)
        vectors = network.pyramid["pool"](network.features(images))
        assert vectors.shape == (2, 96 * 50)
        fc6 = network.pyramid["fc6"](vectors).clamp(min=0)
        expected = network.output(network.pyramid["fc7"](fc6).clamp(min=0))
        torch.testing.assert_close(network(images), expected)


def test_new_convolutions_keep_the_size_of_their_signal() -> None:
    """He's initialisation: the second moment after each rectifier stays near that of the input's."""
    torch.manual_seed(0)
    network = PyramidNetwork(architecture("small"), (1,), width=8, outputs=4)
    maps = network.features(torch.randn(4, 3, 64, 64))
    assert 0.2 < maps.pow(2).mean().item() < 20
