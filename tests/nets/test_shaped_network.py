"""Networks with their shape in one file, on a small one made here."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import nn

from pipeline.core.errors import InputError
from pipeline.nets import weights
from pipeline.nets.weights import ShapedNetwork


@dataclass(frozen=True)
class Shape:
    widths: tuple[int, ...]
    layers: tuple[tuple[int, int], ...]


class Network(ShapedNetwork):
    SHAPE = Shape
    TITLE = "made-up network"
    CONVOLUTIONS = "inner.conv"

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        first, second = (nn.Conv2d(3, 3, *layer) for layer in shape.layers)
        self.inner = nn.ModuleDict({"conv": nn.Sequential(first, nn.ReLU(), second)})
        self.output = nn.Linear(*shape.widths)


SHAPE = Shape((4, 2), ((3, 1), (1, 2)))


def test_a_network_comes_back_with_its_shape_and_ready_for_inference(tmp_path: Path) -> None:
    network = Network(SHAPE)
    network.save(tmp_path / "network.safetensors")
    again = Network.load(tmp_path / "network.safetensors", "made_up_train")
    assert again.shape == SHAPE
    assert hash(again.shape) == hash(SHAPE)  # tuples all the way down, not the lists of JSON
    assert not again.training
    assert again.state_dict().keys() == network.state_dict().keys()
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in again.state_dict().items())


def test_early_layers_are_convolutions_in_their_order() -> None:
    network = Network(SHAPE)
    assert network.early_layers(0) == ()
    assert network.early_layers(1) == ("inner.conv.0.",)
    assert network.early_layers(9) == ("inner.conv.0.", "inner.conv.2.")


@pytest.mark.parametrize(
    "metadata", [{}, {"shape": "{"}, {"shape": "{}"}, {"shape": '{"widths": [4, 3], "layers": [[3, 1], [1, 2]]}'}]
)
def test_another_file_is_named_with_the_stage_that_writes_it(tmp_path: Path, metadata: dict[str, str]) -> None:
    path = tmp_path / "network.safetensors"
    weights.save(path, Network(SHAPE).state_dict(), metadata)
    with pytest.raises(InputError, match=r"safetensors: no made-up network can be read .* made_up_train writes"):
        Network.load(path, "made_up_train")
