"""The network against published counts, torchvision's model and what its parts should do."""

from pathlib import Path

import numpy as np
import pytest
import torch
from ruamel.yaml import YAML

from pipeline import params, presets
from pipeline.core.boxes import encode
from pipeline.core.errors import InputError
from pipeline.nets.backbones import MEAN, STD, architecture
from pipeline.nets.weights import Backbone
from pipeline.systems.ssd.boxes import VARIANCES
from pipeline.systems.ssd.network import L2Norm, Ssd, SsdShape

ROOT = Path(__file__).resolve().parents[3]
SMALL = SsdShape(
    "small", 2, 96, ("conv3", "conv5"), ((8, 16, 3, 2, 1),), 8.0, (16, 24, 48, 80), ((2,), (2, 3), ()), None
)


def shape_of(preset: str, network: str | None = None) -> SsdShape:
    """Return SSD as a preset has it, for 20 classes."""
    text = (ROOT / "params.yaml").read_text()
    laid, _ = presets.lay_over(text, presets.read(ROOT / "presets", preset), "params.yaml")
    p = params.parse(YAML(typ="safe").load(laid), preset)
    s = p.ssd
    return SsdShape.from_params(network or s.backbone, 20, s.side, s.taps, s.extra, s.l2_scale, s.default_boxes)


@pytest.mark.parametrize("preset", ["digits", "tiny", "folder"])
def test_presets_fit_their_backbone(preset: str) -> None:
    shape = shape_of(preset)
    network = Ssd(shape).eval()
    with torch.inference_mode():
        scores, offsets = network(torch.zeros(1, 3, shape.side, shape.side, dtype=torch.uint8))
    assert scores.shape == (1, len(network.defaults), 21)
    assert offsets.shape == (1, len(network.defaults), 4)
    assert sum(network.boxes_by_map()) == len(network.defaults)


def test_the_published_settings_give_the_published_network() -> None:
    """SSD300 of torchvision is the same but for its boxes' sizes, which count no weights."""
    from torchvision.models.detection import ssd300_vgg16

    with torch.device("meta"):
        theirs = ssd300_vgg16(weights=None, weights_backbone=None, num_classes=21)
        ours = Ssd(shape_of("voc2007", "vgg16"))
    assert sum(ours.boxes_by_map()) == 8732
    counts = [sum(weight.numel() for weight in network.parameters()) for network in (ours, theirs)]
    assert counts[0] == counts[1] == 26_285_486


def test_fc_layers_become_convolutions_of_every_fourth_unit() -> None:
    fc6, fc7, bias = torch.zeros(4096, 25088), torch.zeros(4096, 4096), torch.arange(4096.0)
    places = ((0, 0, 0, 0), (1023, 511, 2, 2), (17, 300, 1, 2))
    for number, (unit, channel, row, column) in enumerate(places, 1):
        # Cells 0, 3 and 6 of fc6's seven, its inputs in the order channel, row, column.
        fc6[4 * unit, channel * 49 + 3 * row * 7 + 3 * column] = number
        fc7[4 * unit, 4 * channel] = number
    fc = {"classifier.0.weight": fc6, "classifier.3.weight": fc7, "classifier.0.bias": bias, "classifier.3.bias": bias}
    with torch.device("meta"):
        network = Ssd(shape_of("voc2007", "vgg16"))
    network.trunk.to_empty(device="cpu")
    conv = {f"features.{name}": tensor for name, tensor in network.trunk.conv.state_dict().items()}
    network.trunk.load_backbone(conv | fc)
    first, second = network.trunk.fc[1], network.trunk.fc[3]
    assert first.dilation == (6, 6)
    for number, (unit, channel, row, column) in enumerate(places, 1):
        assert first.weight[unit, channel, row, column] == number
        assert second.weight[unit, channel, 0, 0] == number
    assert int((first.weight != 0).sum()) == int((second.weight != 0).sum()) == 3
    assert torch.equal(second.bias, bias[::4])
    before = second.weight.clone()
    network.trunk.load_backbone(conv)
    assert torch.equal(second.weight, before), "without published ones they stay as they are"


def test_fc_layers_that_no_classifier_gives_are_new_layers() -> None:
    torch.manual_seed(0)
    network = Ssd(
        SsdShape("alexnet", 2, 96, ("conv5", "fc7"), ((8, 16, 3, 2, 1),), 8.0, (16, 24, 48, 80), ((2,), (2,), ()), None)
    )
    first, second = network.trunk.fc[1], network.trunk.fc[3]
    # Glorot and Bengio: uniform up to sqrt(6 / (inputs + outputs)), with the cells of the kernel in both.
    for layer, ends in ((first, 9 * (256 + 1024)), (second, 1024 + 1024)):
        assert layer.weight.abs().max().item() == pytest.approx((6 / ends) ** 0.5, rel=1e-3)
        assert not layer.bias.any()
    conv = {f"features.{name}": tensor for name, tensor in network.trunk.conv.state_dict().items()}
    network.load_backbone(Backbone(conv))
    assert "trunk.fc." in network.new_layers
    sizes = {"classifier.1": (4096, 256 * 36), "classifier.4": (4096, 4096)}
    weights = {f"{name}.weight": torch.zeros(size) for name, size in sizes.items()}
    network.load_backbone(Backbone(conv | weights | {f"{name}.bias": torch.zeros(4096) for name in sizes}))
    assert "trunk.fc." not in network.new_layers
    assert not first.weight.any()


def test_normalised_maps_have_the_size_given_and_a_learned_scale() -> None:
    maps = torch.rand(2, 512, 3, 4)
    norm = L2Norm(512, 20.0)
    assert torch.allclose(norm(maps).norm(dim=1), torch.full((2, 3, 4), 20.0), atol=1e-3)
    assert norm.weight.requires_grad
    assert torch.isfinite(norm(torch.zeros(1, 512, 1, 1))).all()


def test_extra_layers_see_the_map_divided_by_its_size() -> None:
    torch.manual_seed(0)
    network = Ssd(SMALL).eval()
    backbone = {f"features.{name}": tensor for name, tensor in architecture("small").conv().state_dict().items()}
    images = torch.rand(1, 3, 96, 96) * 255
    network.load_backbone(Backbone(backbone, 1.0))
    before = network(images)[0][:, -36:]
    backbone["features.15.weight"] *= 8
    backbone["features.15.bias"] *= 8
    network.load_backbone(Backbone(backbone, 8.0))
    assert torch.allclose(network(images)[0][:, -36:], before, atol=1e-4)
    assert network.input_scale.item() == 1 / 8


def test_behind_fc7_they_see_it_as_it_is() -> None:
    shape = SsdShape(
        "alexnet", 2, 96, ("conv5", "fc7"), ((8, 16, 3, 2, 1),), 8.0, (16, 24, 48, 80), ((2,), (2,), ()), None
    )
    network = Ssd(shape).eval()
    conv = {f"features.{name}": tensor for name, tensor in architecture("alexnet").conv().state_dict().items()}
    network.load_backbone(Backbone(conv, 8.0))
    assert network.input_scale.item() == 1
    assert [type(norm).__name__ for norm in network.norms] == ["L2Norm", "Identity"]
    assert network(torch.zeros(1, 3, 96, 96, dtype=torch.uint8))[0].shape == (1, len(network.defaults), 3)


def test_heads_and_default_boxes_have_one_order() -> None:
    """Only one cell of one map answers: that cell's default boxes must, and no other."""
    network = Ssd(SMALL).eval()
    for head in network.scores:
        torch.nn.init.zeros_(head.weight)
    head = network.scores[1]
    with torch.no_grad():
        head.bias.copy_(torch.arange(len(head.bias)))
    scores, _ = network(torch.zeros(1, 3, 96, 96, dtype=torch.uint8))
    first, second, _ = network.boxes_by_map()
    assert not scores[0, :first].any()
    assert not scores[0, first + second :].any()
    # Six shapes a cell, three scores each: shape 4 of any cell has 12, 13, 14.
    assert scores[0, first + 4 + 6 * 7].tolist() == [12, 13, 14]


def test_pixels_are_taken_as_they_are() -> None:
    torch.manual_seed(0)
    network = Ssd(SMALL).eval()
    images = torch.randint(0, 256, (2, 3, 96, 96), dtype=torch.uint8)
    raw = network(images)
    assert all(torch.equal(a, b) for a, b in zip(raw, network(images.float()), strict=True))
    wanted = (images.float() / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    seen = []
    network.trunk.conv[0].register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0]))
    network(images)
    assert torch.allclose(seen[0], wanted, atol=1e-6)


def test_decoding_inverts_the_targets() -> None:
    network = Ssd(SMALL)
    defaults = network.defaults.numpy()
    truth = (defaults + np.random.default_rng(0).uniform(-3, 3, defaults.shape)).astype(np.float32)
    offsets = torch.from_numpy((encode(defaults, truth) / VARIANCES).astype(np.float32))
    logits = torch.zeros(2, len(defaults), 3)
    logits[:, 0] = torch.log(torch.tensor([1.0, 2, 5]))
    boxes, scores = network.decode((logits, offsets.expand(2, -1, -1)))
    assert np.allclose(boxes[1].numpy(), truth, atol=1e-3)
    assert boxes.min() < 0, "boxes are not clipped here"
    assert scores.shape == (2, len(defaults), 2)
    assert scores[0, 0].tolist() == pytest.approx([0.25, 0.625])


def test_saved_and_read_again(tmp_path: Path) -> None:
    network = Ssd(SMALL)
    network.input_scale.fill_(0.25)
    network.save(tmp_path / "n.safetensors")
    copy = Ssd.load(tmp_path / "n.safetensors", "systems/ssd/dvc.yaml:train")
    assert copy.shape == SMALL
    assert not copy.training
    assert torch.equal(copy.defaults, network.defaults)
    assert all(torch.equal(tensor, copy.state_dict()[name]) for name, tensor in network.state_dict().items())


def test_a_file_of_another_kind_is_named(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, tmp_path / "n.safetensors")
    with pytest.raises(InputError, match=r"no SSD can be read .* the stage systems/ssd/dvc.yaml:train writes it"):
        Ssd.load(tmp_path / "n.safetensors", "systems/ssd/dvc.yaml:train")


def test_unknown_maps_are_named() -> None:
    with pytest.raises(InputError, match=r"ssd.taps: found conv4_3, but small has conv3, conv5, in this order"):
        Ssd(SsdShape("small", 2, 96, ("conv4_3",), (), 8.0, (16, 24), ((),), None))
    with pytest.raises(InputError, match=r"ssd.taps: found fc7, but squeezenet1_0"):
        Ssd(SsdShape("squeezenet1_0", 2, 96, ("fc7",), (), 8.0, (16, 24), ((),), None))
    with pytest.raises(InputError, match=r"ssd.taps: found conv5, conv3, but small"):
        Ssd(SsdShape("small", 2, 96, ("conv5", "conv3"), (), 8.0, (16, 24, 32), ((), ()), None))


def test_a_square_too_small_is_named() -> None:
    with pytest.raises(InputError, match=r"ssd.side: with 32 pixels no cell is left on map 2"):
        Ssd(SsdShape("small", 2, 32, ("conv5",), ((8, 8, 5, 1, 0),), 8.0, (16, 24, 32), ((), ()), None))


def test_early_layers_are_counted_over_convolutions() -> None:
    assert Ssd(SMALL).early_layers(2) == ("trunk.conv.0.", "trunk.conv.2.")
    assert Ssd(SMALL).early_layers(0) == ()
