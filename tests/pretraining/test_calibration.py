"""The size of a backbone's activations."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from pipeline.data.images import read_image
from pipeline.nets.backbones import architecture, normalise
from pipeline.nets.weights import Backbone
from pipeline.pretraining import conv5_rms
from pipeline.systems.rcnn.network import RegionNetwork, RegionShape


@pytest.fixture
def files(tmp_path):
    paths = [tmp_path / f"{i}.png" for i in range(5)]
    for i, path in enumerate(paths):
        pixels = np.random.default_rng(i).integers(0, 255, (20, 30 + i, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    return paths


@pytest.mark.parametrize(("most", "used"), [(16, [0, 1, 2, 3, 4]), (3, [0, 2, 4])])
def test_the_root_mean_square_over_images_spread_evenly(files, most, used):
    found = conv5_rms(nn.Identity(), files, torch.device("cpu"), most)
    pixels = [normalise(torch.from_numpy(read_image(files[i])).permute(2, 0, 1)).flatten() for i in used]
    assert found == pytest.approx(torch.cat(pixels).pow(2).mean().sqrt().item(), rel=1e-5)


def test_a_dead_network_and_no_image_give_one(files):
    dead = nn.Conv2d(3, 4, 1)
    nn.init.zeros_(dead.weight)
    nn.init.zeros_(dead.bias)
    assert conv5_rms(dead, files, torch.device("cpu")) == 1
    assert conv5_rms(dead, [], torch.device("cpu")) == 1


def test_new_layers_do_not_see_how_loud_the_backbone_is():
    backbone = {f"features.{name}": tensor for name, tensor in architecture("small").conv().state_dict().items()}
    loud = {name: tensor * 64 if name.startswith("features.15.") else tensor for name, tensor in backbone.items()}
    regions = torch.randn(2, 3, 32, 32)
    outputs = []
    for weights, rms in ((backbone, 1.0), (loud, 64.0)):
        torch.manual_seed(0)
        network = RegionNetwork(RegionShape("small", 32, 16, 3)).eval()
        assert network.load_backbone(Backbone(weights, rms)) == ["output", "fc6", "fc7"]
        outputs.append(network.taps(regions, ("pool5", "fc7")))
    torch.testing.assert_close(outputs[1]["fc7"], outputs[0]["fc7"])
    torch.testing.assert_close(outputs[1]["pool5"], outputs[0]["pool5"] * 64)
