"""The backbones are torchvision's networks: same layers, same names, same values at every tap."""

import pytest
import torch
import torchvision

from pipeline.nets.backbones import ARCHITECTURES, MEAN, STD, architecture, normalise
from pipeline.nets.weights import Backbone
from pipeline.systems.rcnn.network import RegionNetwork, RegionShape


def with_weights_of(reference: torch.nn.Module, name: str, side: int) -> RegionNetwork:
    network = RegionNetwork(RegionShape(name, side=side, fc_width=8, outputs=3))
    network.load_backbone(Backbone(reference.state_dict()))
    return network.eval()


@torch.inference_mode()
def test_taps_of_alexnet_are_torchvisions() -> None:
    torch.manual_seed(0)
    reference = torchvision.models.alexnet().eval()
    network = with_weights_of(reference, "alexnet", side=99)
    regions = torch.randn(2, 3, 99, 99)
    taps = network.taps(regions, ("conv5", "pool5", "fc6", "fc7"))
    pooled = reference.avgpool(reference.features(regions)).flatten(1)
    torch.testing.assert_close(reference.features[12](taps["conv5"]), reference.features(regions))
    torch.testing.assert_close(taps["pool5"], pooled)
    torch.testing.assert_close(taps["fc6"], reference.classifier[:3](pooled))
    torch.testing.assert_close(taps["fc7"], reference.classifier[:6](pooled))
    # torchvision's own last layer on our fc7 gives torchvision's answer: nothing lies between tap and output.
    torch.testing.assert_close(reference.classifier[6](taps["fc7"]), reference(regions))


@torch.inference_mode()
def test_conv5_of_squeezenet_is_torchvisions_last_map() -> None:
    torch.manual_seed(0)
    reference = torchvision.models.squeezenet1_0().eval()
    network = with_weights_of(reference, "squeezenet1_0", side=64)
    regions = torch.randn(2, 3, 64, 64)
    taps = network.taps(regions, ("conv5", "pool5"))
    torch.testing.assert_close(taps["conv5"], reference.features(regions))
    pooled = torch.nn.functional.max_pool2d(taps["conv5"], 3, 2, ceil_mode=True).flatten(1)
    torch.testing.assert_close(taps["pool5"], pooled)


def test_shapes_at_the_papers_input_size() -> None:
    """R-CNN's table: conv5 is 13 x 13 x 256 at 227 pixels and pool5 has 9,216 values; VGG16's are 14 x 14 x 512."""
    expected = {
        "alexnet": (227, (1, 256, 13, 13), 9216, 4096),
        "vgg16": (224, (1, 512, 14, 14), 25088, 4096),
        "squeezenet1_0": (227, (1, 512, 13, 13), 512 * 6 * 6, 10),
        "small": (48, (1, 96, 6, 6), 96 * 3 * 3, 10),
    }
    assert expected.keys() == ARCHITECTURES.keys()
    with torch.device("meta"):
        for name, (side, conv5, pool5, width) in expected.items():
            network = RegionNetwork(RegionShape(name, side=side, fc_width=10, outputs=21))
            taps = network.taps(torch.zeros(1, 3, side, side), ("conv5", "pool5", "fc6", "fc7"))
            assert taps["conv5"].shape == conv5, name
            assert (taps["pool5"].shape, taps["fc6"].shape) == ((1, pool5), (1, width)), name
            assert taps["fc7"].shape == (1, width), name
            assert taps["conv5"].shape[1] == architecture(name).channels, name


def test_vgg16_has_torchvisions_names_shapes_and_order() -> None:
    with torch.device("meta"):
        reference = torchvision.models.vgg16()
        ours = architecture("vgg16").conv()
    theirs = {k.removeprefix("features."): v.shape for k, v in reference.features.state_dict().items()}
    assert {name: tensor.shape for name, tensor in ours.state_dict().items()} == theirs
    assert [type(layer) for layer in ours] == [type(layer) for layer in reference.features[:-1]]
    fc6, fc7, _ = architecture("vgg16").fc or ("", "", 0)
    assert reference.classifier[int(fc6)].in_features == 25088
    assert reference.classifier[int(fc7)].in_features == 4096


def test_normalise_is_torchvisions() -> None:
    image = torch.randint(0, 256, (3, 5, 7), dtype=torch.uint8)
    expected = torchvision.transforms.functional.normalize(image.float() / 255, list(MEAN), list(STD))
    torch.testing.assert_close(normalise(image), expected)


@pytest.mark.parametrize(("name", "side", "batch"), [("alexnet", 227, 16), ("vgg16", 454, 1), ("small", 48, 179)])
def test_a_cpu_batch_holds_as_many_pixels_at_every_side(name: str, side: int, batch: int) -> None:
    assert architecture(name).batch(side, torch.device("cpu")) == batch


def test_a_gpu_batch_is_large_and_bounded() -> None:
    assert architecture("vgg16").batch(227, torch.device("cuda")) == 512
    assert architecture("vgg16").batch(32, torch.device("cuda")) == 512
