"""The networks of YOLO: published counts, the grid, saving and loading."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from pipeline.core.errors import InputError
from pipeline.nets.backbones import MEAN, STD, architecture
from pipeline.nets.weights import Backbone
from pipeline.systems.yolo.network import Yolo, YoloShape

SMALL = YoloShape("backbone", "small", 96, 2, 3, ((16, 1), (8, 2)), (24,))


def parameters(layers: nn.Module) -> int:
    return sum(parameter.numel() for parameter in layers.parameters())


def test_the_papers_network_has_the_published_number_of_weights() -> None:
    with torch.device("meta"):
        network = Yolo(YoloShape("yolo", "", 448, 2, 20, (), (4096,)))
    convolutions = [layer for layer in network.conv if isinstance(layer, nn.Conv2d)]
    hidden, output = (layer for layer in network.fc if isinstance(layer, nn.Linear))
    assert len(convolutions) == 24
    assert network.grid == 7
    assert output.out_features == 1470
    millions = [round(parameters(part) / 1e6, 2) for part in (network.conv, hidden, output)]
    assert millions == [60.16, 205.52, 6.02]
    assert parameters(network) == 271_703_550


def test_fast_yolo_has_nine_convolutions_and_a_linear_bottleneck() -> None:
    with torch.device("meta"):
        network = Yolo(YoloShape("fast_yolo", "", 448, 2, 20, (), (256, 4096)))
    assert sum(isinstance(layer, nn.Conv2d) for layer in network.conv) == 9
    assert network.grid == 7
    assert [type(layer).__name__ for layer in network.fc] == ["Linear", "Linear", "LeakyReLU", "Dropout", "Linear"]
    # 3x3 convolutions 3, 16, 32, ... 1024, 1024, 1024, and their biases, by hand.
    widths = [3, 16, 32, 64, 128, 256, 512, 1024, 1024, 1024]
    assert parameters(network.conv) == sum(9 * a * b + b for a, b in pairwise(widths))


@pytest.mark.parametrize(("strides", "grid"), [((1, 1), 12), ((1, 2), 6), ((2, 2), 3)])
def test_the_grid_follows_from_side_and_strides(strides, grid) -> None:
    shape = YoloShape("backbone", "small", 96, 1, 4, tuple((8, stride) for stride in strides), (16,))
    network = Yolo(shape).eval()
    assert network.grid == grid
    assert network(torch.zeros(2, 3, 96, 96, dtype=torch.uint8)).shape == (2, grid * grid * 9)


def test_pixels_are_normalised_inside_as_each_network_expects() -> None:
    images = torch.randint(256, (2, 3, 96, 96), dtype=torch.uint8)
    network = Yolo(SMALL).eval()
    seen = []
    network.conv.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    assert torch.equal(network(images), network(images.float()))
    expected = (images / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    assert torch.allclose(seen[0], expected, atol=1e-5)
    fast = Yolo(YoloShape("fast_yolo", "", 64, 2, 3, (), (8,))).eval()
    fast.conv.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    fast(torch.tensor([0, 255]).repeat(32).expand(1, 3, 64, 64))
    assert seen[-1].unique().tolist() == [-1, 1]


def test_a_backbone_is_copied_and_its_features_are_brought_to_size() -> None:
    torch.manual_seed(1)
    conv = architecture("small").conv()
    with torch.no_grad():
        conv[0].weight.mul_(30)
    backbone = {f"features.{name}": tensor for name, tensor in conv.state_dict().items()}
    network = Yolo(SMALL).eval()
    network.load_backbone(Backbone(backbone, 8.0))
    assert torch.equal(network.conv[0].weight, conv[0].weight)
    assert network.input_scale.item() == 0.125
    assert network.early_layers(2) == ("conv.0.", "conv.2.")
    with pytest.raises(InputError, match="do not fit small"):
        network.load_backbone(Backbone({}, 1.0))
    own = Yolo(YoloShape("fast_yolo", "", 64, 2, 3, (), (8,)))
    own.load_backbone(Backbone({}, 8.0))
    assert own.input_scale.item() == 1


def test_a_saved_network_gives_the_same_output(tmp_path) -> None:
    torch.manual_seed(2)
    network = Yolo(SMALL).eval()
    network.input_scale.fill_(0.5)
    network.save(tmp_path / "n.safetensors")
    loaded = Yolo.load(tmp_path / "n.safetensors", "yolo_train")
    images = torch.randint(256, (3, 3, 96, 96), dtype=torch.uint8)
    assert loaded.shape == SMALL
    assert torch.equal(network(images), loaded(images))
    (tmp_path / "n.safetensors").write_bytes(b"no")
    with pytest.raises(InputError, match="not a safetensors file"):
        Yolo.load(tmp_path / "n.safetensors", "yolo_train")


def test_another_networks_file_is_refused(tmp_path) -> None:
    from pipeline.nets import weights

    weights.save(tmp_path / "n.safetensors", {"a": torch.zeros(1)}, {"shape": '{"network": "small"}'})
    with pytest.raises(InputError, match=r"no YOLO network can be read .* yolo_train writes it"):
        Yolo.load(tmp_path / "n.safetensors", "yolo_train")
