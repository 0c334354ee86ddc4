"""The backbones are torchvision's networks: same layers, same names, same values at every tap."""

from pathlib import Path
from typing import Literal, get_args

import pytest
import torch
import torchvision
from torch import nn
from torchvision.models import get_model, get_model_weights

from pipeline.core.sections import Network
from pipeline.nets import weights
from pipeline.nets.backbones import (
    ARCHITECTURES,
    MEAN,
    STD,
    DarknetPixels,
    FrozenBatchNorm,
    architecture,
    normalise,
)
from pipeline.nets.geometry import Geometry
from pipeline.nets.weights import Backbone
from pipeline.systems.rcnn.network import RegionNetwork, RegionShape

DOCS = Path(__file__).resolve().parents[2] / "docs/backbones.md"


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
        "mobilenet_v2": (224, (1, 96, 14, 14), 96 * 7 * 7, 10),
        "resnet18": (224, (1, 256, 14, 14), 256 * 7 * 7, 10),
        "resnet50": (224, (1, 1024, 14, 14), 1024 * 7 * 7, 10),
        "extraction": (448, (1, 1024, 14, 14), 1024 * 7 * 7, 10),
        "darknet": (448, (1, 1024, 7, 7), 1024 * 4 * 4, 10),
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


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_taps_have_their_channels_and_the_last_is_conv5(name: str) -> None:
    net = architecture(name)
    with torch.device("meta"):
        conv = net.conv()
        found = {tap: conv[:end](torch.zeros(1, 3, 224, 224)).shape[1] for tap, (end, _) in net.taps.items()}
    assert found == {tap: channels for tap, (_, channels) in net.taps.items()}
    assert list(net.taps.items())[-1] == ("conv5", (len(conv), net.channels))


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet18", "resnet50"])
def test_conv5_has_the_published_weights_up_to_it(name: str) -> None:
    """Torchvision publishes the number of all weights; the rest is in its own layers behind conv5."""
    with torch.device("meta"):
        reference, ours = get_model(name), architecture(name).conv().state_dict()
    behind = (
        [reference.features[14:], reference.classifier] if name == "mobilenet_v2" else [reference.layer4, reference.fc]
    )
    rest = sum(parameter.numel() for part in behind for parameter in part.parameters())
    found = sum(tensor.numel() for key, tensor in ours.items() if not key.endswith(("running_mean", "running_var")))
    assert found == get_model_weights(name).IMAGENET1K_V1.meta["num_params"] - rest


@torch.no_grad()
@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet18", "resnet50"])
def test_conv5_is_torchvisions_map_in_training_too(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    reference, images = get_model(name), torch.randn(4, 3, 64, 64)
    reference(images)  # moves the statistics of its batch normalisation
    reference.eval()
    weights.save(tmp_path / "file", reference.state_dict(), {})
    conv = architecture(name).conv()
    weights.load_conv(conv, name, weights.published(tmp_path / "file", name))
    before = {key: tensor.clone() for key, tensor in conv.state_dict().items()}
    if name == "mobilenet_v2":
        expected = reference.features[:14](images)
    else:
        expected = images
        for part in ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3"):
            expected = getattr(reference, part)(expected)
    assert torch.equal(conv.train()(images), expected)
    assert all(torch.equal(tensor, before[key]) for key, tensor in conv.state_dict().items())
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in conv.modules())
    assert all(parameter.dim() == 4 for parameter in conv.parameters())  # nothing of batch normalisation is trained


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_the_table_of_the_docs(name: str) -> None:
    (row,) = [line for line in DOCS.read_text(encoding="utf-8").splitlines() if line.startswith(f"| `{name}` |")]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    net, geometry = architecture(name), Geometry.from_architecture(architecture(name))
    with torch.device("meta"):
        conv = net.conv()
    convolutions = [
        key for key, layer in conv.named_modules() if isinstance(layer, nn.Conv2d) and "downsample" not in key
    ]
    count = sum(tensor.numel() for key, tensor in conv.state_dict().items() if not key.endswith(("_mean", "_var")))
    assert cells[1:6] == [
        str(len(convolutions)),
        f"{count:,}",
        str(geometry.stride),
        str(geometry.field),
        str(net.channels),
    ]
    assert cells[6] == (f"{net.fc[2]:,}" if net.fc else "")
    assert [tap.strip(" `") for tap in cells[7].split(",")] == [*net.taps, *(["fc7"] if net.fc else [])]


def test_frozen_batch_normalisation_is_torchs_with_running_statistics() -> None:
    torch.manual_seed(0)
    reference, maps = nn.BatchNorm2d(5), torch.randn(3, 5, 4, 4) * 3 + 1
    nn.init.normal_(reference.weight)
    nn.init.normal_(reference.bias)
    reference(maps)
    frozen = FrozenBatchNorm(5)
    frozen.load_state_dict({k: v for k, v in reference.state_dict().items() if k != "num_batches_tracked"})
    assert torch.equal(frozen.train()(maps), reference.eval()(maps))


def test_darknet_sees_pixels_from_minus_one_to_one() -> None:
    values = torch.arange(256, dtype=torch.uint8).expand(3, 1, 256)
    seen = DarknetPixels()(normalise(values))
    torch.testing.assert_close(seen, (values / 127.5 - 1).expand(3, 1, 256), atol=1e-6, rtol=0)


def test_normalise_is_torchvisions() -> None:
    image = torch.randint(0, 256, (3, 5, 7), dtype=torch.uint8)
    expected = torchvision.transforms.functional.normalize(image.float() / 255, list(MEAN), list(STD))
    torch.testing.assert_close(normalise(image), expected)


@pytest.mark.parametrize(("name", "side", "batch"), [("alexnet", 227, 16), ("vgg16", 454, 1), ("small", 48, 179)])
def test_a_cpu_batch_holds_as_many_pixels_at_every_side(name: str, side: int, batch: int) -> None:
    assert architecture(name).batch(side, torch.device("cpu")) == batch


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_a_cpu_batch_is_twice_as_large_in_16_bits(precision: Literal["fp16", "bf16"]) -> None:
    assert architecture("alexnet").batch(227, torch.device("cpu"), precision) == 32
    assert architecture("alexnet").batch(227, torch.device("cpu"), "fp32") == 16


def test_a_gpu_batch_is_large_and_bounded() -> None:
    assert architecture("vgg16").batch(227, torch.device("cuda"), "fp16") == 512
    assert architecture("vgg16").batch(32, torch.device("cuda")) == 512


def test_the_parameters_know_every_network() -> None:
    assert get_args(Network) == tuple(ARCHITECTURES)
