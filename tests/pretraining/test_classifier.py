"""Pre-training learns what is easy, and its accuracy is counted right."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.nets.backbones import architecture
from pipeline.pretraining import CropBatches, PyramidNetwork, accuracy, pretrain

CPU = torch.device("cpu")


def trained(made, settings, scratch: Path) -> PyramidNetwork:
    torch.manual_seed(0)
    network = PyramidNetwork(architecture("small"), settings.pyramid, settings.fc_width, 3)
    crops = CropBatches(made.images, made.cache, settings, seed=1)
    pretrain(network, crops, settings, scratch=scratch, seed=1, device=CPU, workers=0)
    return network


def test_coloured_squares_are_told_apart_at_every_size(squares: Callable, settings: Callable, tmp_path: Path) -> None:
    network = trained(squares(4, 4, 4, 2), settings(steps=40), tmp_path)
    unseen = squares(3, 0, 3, seed=5)
    for size in (32, 24, 40):
        assert accuracy(network, unseen.images, unseen.cache, size, CPU) == 1.0


def test_the_same_seed_gives_the_same_network(squares: Callable, settings: Callable, tmp_path: Path) -> None:
    made = squares(4, 4)
    one, other = (trained(made, settings(steps=4), tmp_path / name) for name in "ab")
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name


class Always(nn.Module):
    """Answers the same class for every crop, and notes the crops' shapes."""

    def __init__(self, label: int) -> None:
        super().__init__()
        self._label = label
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, regions: torch.Tensor) -> torch.Tensor:
        self.shapes.append(tuple(regions.shape))
        return nn.functional.one_hot(torch.full((len(regions),), self._label), 3).float()


def test_accuracy_is_the_share_of_all_objects(squares: Callable) -> None:
    made = squares(3, 0, 1, 1)
    labels = np.concatenate([image.labels for image in made.images])
    assert labels.tolist() == [1, 2, 1, 2, 1]
    network = Always(1).train()
    assert accuracy(network, made.images, made.cache, 24, CPU) == pytest.approx(3 / 5)
    assert network.shapes == [(3, 3, 24, 24), (1, 3, 24, 24), (1, 3, 24, 24)]
    assert not network.training
    assert accuracy(Always(2), made.images, made.cache, 24, CPU) == pytest.approx(2 / 5)
    assert accuracy(Always(0), made.images, made.cache, 24, CPU) == 0


def test_without_any_object_there_is_no_accuracy(squares: Callable) -> None:
    made = squares(0, 0)
    assert accuracy(Always(1), made.images, made.cache, 24, CPU) is None
    assert accuracy(Always(1), [], made.cache, 24, CPU) is None
