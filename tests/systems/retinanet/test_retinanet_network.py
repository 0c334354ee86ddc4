"""The network against torchvision's pyramid and heads, published counts and what its parts should do."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from ruamel.yaml import YAML
from torch import nn
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelP6P7

from pipeline import params, presets
from pipeline.core.boxes import encode
from pipeline.core.errors import InputError
from pipeline.nets.backbones import architecture
from pipeline.nets.weights import Backbone
from pipeline.systems.retinanet.loss import class_loss
from pipeline.systems.retinanet.network import Pyramid, Retinanet, RetinanetShape
from pipeline.systems.retinanet.params import ClassLoss

ROOT = Path(__file__).resolve().parents[3]
SMALL = RetinanetShape("small", 2, 96, ("conv3", "conv5"), 1, 16, 2, 4.0, 2, (1.0, 2.0))


def shape_of(preset: str) -> RetinanetShape:
    """Return RetinaNet as a preset has it, for 20 classes."""
    laid, _ = presets.lay_over(presets.template(), presets.read(ROOT / "presets", preset), "params.yaml")
    p = params.parse(YAML(typ="safe").load(laid), preset)
    return RetinanetShape.from_params(p.retinanet, 20)


@pytest.mark.parametrize("preset", ["digits", "tiny", "folder"])
def test_presets_fit_their_backbone(preset: str) -> None:
    shape = shape_of(preset)
    network = Retinanet(shape).eval()
    with torch.inference_mode():
        logits, offsets = network(torch.zeros(1, 3, shape.side, shape.side, dtype=torch.uint8))
    assert logits.shape == (1, len(network.anchors), 20)
    assert offsets.shape == (1, len(network.anchors), 4)
    assert sum(network.by_level) == len(network.anchors)


def test_the_published_settings_give_the_published_heads_and_levels() -> None:
    with torch.device("meta"):
        network = Retinanet(shape_of("voc2007"))
        coco = Retinanet(RetinanetShape("resnet50", 80, 256, ("layer2", "conv5"), 3, 256, 4, 4.0, 3, (1.0, 2.0, 0.5)))
    levels = network.geometries()
    assert [each.stride for each in levels] == [8, 16, 32, 64, 128]
    assert [each.size(600) for each in levels] == [75, 38, 19, 10, 5]
    assert network.shape.per_cell == 9

    def weights(layers: nn.Module) -> int:
        return sum(parameter.numel() for parameter in layers.parameters())

    for tower, outputs in ((coco.scores, 1_659_600), (coco.offsets, 82_980)):
        assert (weights(tower[:-1]), weights(tower[-1])) == (2_360_320, outputs)


@pytest.mark.parametrize("cells", [(16, 8, 4), (19, 10, 5)])
def test_the_pyramid_is_torchvisions_with_the_same_weights(cells: tuple[int, ...]) -> None:
    """With as many channels in the last map as in the pyramid, torchvision's P6 would come from P5."""
    torch.manual_seed(0)
    channels = (6, 10, 14)
    ours = Pyramid(channels, 8, 2)
    theirs = FeaturePyramidNetwork(list(channels), 8, LastLevelP6P7(channels[-1], 8))
    for number in range(3):
        theirs.inner_blocks[number][0].load_state_dict(ours.lateral[number].state_dict())
        theirs.layer_blocks[number][0].load_state_dict(ours.output[number].state_dict())
    theirs.extra_blocks.p6.load_state_dict(ours.further[0].state_dict())
    theirs.extra_blocks.p7.load_state_dict(ours.further[1].state_dict())
    maps = [torch.randn(2, width, side, side) for width, side in zip(channels, cells, strict=True)]
    expected = list(theirs(dict(zip("345", maps, strict=True))).values())
    found = ours(maps)
    assert [tuple(level.shape) for level in found] == [tuple(level.shape) for level in expected]
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(found, expected, strict=True))


def test_a_deeper_map_is_repeated_and_added_before_the_last_convolution() -> None:
    pyramid = Pyramid((1, 1), 1, 0)
    with torch.no_grad():
        for layer in (*pyramid.lateral, *pyramid.output):
            layer.weight.zero_()
            layer.weight[0, 0, layer.kernel_size[0] // 2, layer.kernel_size[0] // 2] = 1
    fine, coarse = torch.arange(16.0).view(1, 1, 4, 4), torch.tensor([[[[100.0, 200], [300, 400]]]])
    first, second = pyramid([fine, coarse])
    repeated = coarse.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    assert torch.equal(first, fine + repeated)
    assert torch.equal(second, coarse)


def test_new_layers_of_the_pyramid_are_drawn_by_their_fan_in() -> None:
    torch.manual_seed(0)
    pyramid = Pyramid((64, 96), 64, 1)
    for layer in (*pyramid.lateral, *pyramid.output, *pyramid.further):
        fan_in = layer.weight[0].numel()
        assert layer.weight.abs().max().item() == pytest.approx((3 / fan_in) ** 0.5, rel=0.01)  # XavierFill of Caffe
        assert not layer.bias.any()


def test_towers_are_torchvisions_with_the_same_weights_on_every_level() -> None:
    torch.manual_seed(0)
    network = Retinanet(RetinanetShape("small", 3, 96, ("conv5",), 1, 16, 4, 4.0, 3, (1.0, 2.0, 0.5)))
    head = RetinaNetHead(16, 9, 3)
    pairs = (
        (head.classification_head, "cls_logits", network.scores),
        (head.regression_head, "bbox_reg", network.offsets),
    )
    for theirs, last, tower in pairs:
        for number in range(4):
            theirs.conv[number][0].load_state_dict(tower[2 * number].state_dict())
        theirs.get_submodule(last).load_state_dict(tower[-1].state_dict())
    levels = []
    network.pyramid.register_forward_hook(lambda layer, inputs, output: levels.extend(output))
    logits, offsets = network(torch.randint(0, 256, (2, 3, 96, 96), dtype=torch.uint8))
    assert [level.shape[2] for level in levels] == [12, 6]
    expected = head(levels)
    assert torch.allclose(logits, expected["cls_logits"], atol=1e-5)
    assert torch.allclose(offsets, expected["bbox_regression"], atol=1e-5)


def test_each_class_starts_at_the_prior_and_nothing_else_is_biased() -> None:
    network = Retinanet(SMALL, prior=0.01)
    bias = network.scores[-1].bias
    assert bias.tolist() == pytest.approx([-4.59512] * len(bias), abs=1e-5)
    assert bias.sigmoid().tolist() == pytest.approx([0.01] * len(bias), rel=1e-5)
    towers = [layer for tower in (network.scores, network.offsets) for layer in tower if isinstance(layer, nn.Conv2d)]
    assert not any(layer.bias.any() for layer in towers if layer is not network.scores[-1])


def test_towers_are_drawn_by_their_width_or_as_in_the_paper() -> None:
    shape = RetinanetShape("small", 2, 96, ("conv5",), 0, 64, 2, 4.0, 3, (1.0,))
    for deviation, expected in ((None, math.sqrt(2 / (9 * 64))), (0.01, 0.01)):
        torch.manual_seed(0)
        network = Retinanet(shape, deviation=deviation)
        for tower in (network.scores, network.offsets):
            assert [layer.weight.std().item() for layer in tower[:4:2]] == pytest.approx([expected] * 2, rel=0.02)
            assert tower[4].weight.std().item() == pytest.approx(0.01, rel=0.1)


def test_the_first_loss_is_that_of_the_prior() -> None:
    """All anchors are background: the cross entropy of a new network is near ``-log(1 - prior)`` for each class."""
    images = torch.randint(0, 256, (1, 3, 96, 96), dtype=torch.uint8)
    first = {}
    for prior in (0.01, 0.5):
        torch.manual_seed(0)
        network = Retinanet(SMALL, prior)
        logits, _ = network(images)
        labels = torch.zeros(1, len(network.anchors), dtype=torch.int64)
        settings = ClassLoss(kind="cross_entropy", alpha=None)
        first[prior] = class_loss(logits, labels, network.anchors, settings).item()
        assert first[prior] == pytest.approx(-logits.numel() * math.log(1 - prior), rel=0.1)
    assert first[0.5] > 60 * first[0.01]


def test_towers_and_anchors_have_one_order() -> None:
    """Each cell's outputs count up from 0: those of shape 3 are 6 and 7 of two classes, on every level."""
    network = Retinanet(SMALL).eval()
    for tower, outputs in ((network.scores, 8), (network.offsets, 16)):
        nn.init.zeros_(tower[-1].weight)
        with torch.no_grad():
            tower[-1].bias.copy_(torch.arange(outputs))
    logits, offsets = network(torch.zeros(1, 3, 96, 96, dtype=torch.uint8))
    assert network.by_level == [24 * 24 * 4, 12 * 12 * 4, 6 * 6 * 4]
    assert torch.equal(logits[0, 3::4], torch.tensor([[6.0, 7]]).expand(sum(network.by_level) // 4, 2))
    assert offsets[0, 5].tolist() == [4, 5, 6, 7]
    # Second cell of the second level: stride 8, so it lies 8 pixels to the right of the first.
    start = network.by_level[0]
    moved = network.anchors[start + 4 : start + 8] - network.anchors[start : start + 4]
    assert torch.allclose(moved, torch.tensor([8.0, 0, 8, 0]).expand(4, 4), atol=1e-4)


def test_anchors_lie_around_what_their_cells_see() -> None:
    """Where is the centre of the pixels with a gradient? All weights equal, pooling by averages, no rectifier."""
    network = Retinanet(RetinanetShape("small", 1, 128, ("conv5",), 2, 4, 1, 4.0, 1, (1.0,))).eval()
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.constant_(layer.weight, 1 / layer.weight[0].numel())
    for place, layer in enumerate(network.conv):
        if isinstance(layer, nn.MaxPool2d):
            network.conv[place] = nn.AvgPool2d(2)
    image = (255 * torch.rand(1, 3, 128, 128)).requires_grad_()
    levels = []
    network.pyramid.register_forward_hook(lambda layer, inputs, output: levels.extend(output))
    network(image)
    start = 0
    for level, count in zip(levels, network.by_level, strict=True):
        cells = level.shape[2]
        row = cells // 2
        (slope,) = torch.autograd.grad(level[0, :, row, row].sum(), image, retain_graph=True)
        rows = torch.nonzero(slope[0].abs().sum(dim=(0, 2)))
        x1, _, x2, _ = network.anchors[start + row * cells + row].tolist()
        assert x1 + x2 == rows.min().item() + rows.max().item() + 1
        start += count


def test_the_pyramid_sees_the_maps_divided_by_their_size() -> None:
    torch.manual_seed(0)
    network = Retinanet(SMALL).eval()
    weights = {f"features.{name}": tensor for name, tensor in architecture("small").conv().state_dict().items()}
    images = torch.randint(0, 256, (1, 3, 96, 96), dtype=torch.uint8)
    seen = []
    network.pyramid.register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0]))
    for rms in (1.0, 8.0):
        network.load_backbone(Backbone(weights, rms))
        network(images)
    once, scaled = seen
    assert [tuple(each.shape[1:]) for each in once] == [(64, 24, 24), (96, 12, 12)]
    assert all(torch.allclose(a, 8 * b, rtol=1e-5) for a, b in zip(once, scaled, strict=True))


def test_decoding_inverts_the_targets_and_keeps_the_best_of_each_level() -> None:
    torch.manual_seed(0)
    network = Retinanet(SMALL)
    anchors = network.anchors.numpy()
    truth = (anchors + np.random.default_rng(0).uniform(-2, 2, anchors.shape)).astype(np.float32)
    offsets = torch.from_numpy(encode(anchors, truth)).expand(2, -1, -1)
    logits = torch.randn(2, len(anchors), 2)
    boxes, scores = network.decode((logits, offsets))
    assert np.allclose(boxes[1].numpy(), truth, atol=1e-3)
    assert boxes.min() < 0, "boxes are not clipped here"
    start = 0
    for count in network.by_level:
        for image in range(2):
            given = logits[image, start : start + count].sigmoid().flatten()
            found = scores[image, start : start + count].flatten()
            least = given.sort(descending=True).values[:1000].min()
            assert torch.equal(found, given.where(given >= least, 0))
        start += count
    assert (scores > 0).sum().item() == 2 * (1000 + 1000 + 288)


def test_saved_and_read_again(tmp_path: Path) -> None:
    network = Retinanet(SMALL)
    network.input_scale.fill_(0.25)
    network.save(tmp_path / "n.safetensors")
    copy = Retinanet.load(tmp_path / "n.safetensors", "systems/retinanet/dvc.yaml:train")
    assert copy.shape == SMALL
    assert not copy.training
    assert torch.equal(copy.anchors, network.anchors)
    assert all(torch.equal(tensor, copy.state_dict()[name]) for name, tensor in network.state_dict().items())


def test_unknown_maps_are_named() -> None:
    for name, taps in (("small", ("conv4_3",)), ("small", ("conv5", "conv3")), ("alexnet", ("conv5", "fc7"))):
        known = ", ".join(architecture(name).taps)
        with pytest.raises(InputError, match=rf"retinanet\.taps: found {', '.join(taps)}, but {name} has {known}, in"):
            Retinanet(RetinanetShape(name, 2, 96, taps, 1, 8, 1, 4.0, 1, (1.0,)))


def test_early_layers_are_counted_over_convolutions() -> None:
    assert Retinanet(SMALL).early_layers(2) == ("conv.0.", "conv.2.")
