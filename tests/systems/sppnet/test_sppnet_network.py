"""The layers above the maps: what they start from, and what is written and read."""

from pathlib import Path

import pytest
import torch
from torchvision.models import alexnet

from pipeline.core.errors import InputError
from pipeline.nets import weights
from pipeline.nets.backbones import architecture
from pipeline.nets.weights import Backbone
from pipeline.pretraining import PyramidNetwork, SpatialPyramid
from pipeline.systems.sppnet.network import PyramidHead, PyramidShape, place_in_pyramid

LEVELS = (3, 1)


def pretrained(levels: tuple[int, ...] = LEVELS, width: int = 8) -> PyramidNetwork:
    torch.manual_seed(3)
    return PyramidNetwork(architecture("small"), levels, width, outputs=4).eval()


def head(width: int = 8) -> PyramidHead:
    torch.manual_seed(4)
    return PyramidHead(PyramidShape("small", "abc", 96, "paper", 48, LEVELS, width, outputs=4)).eval()


def test_the_pretrained_pyramid_is_taken_over_and_gives_the_same_values() -> None:
    network, own = pretrained(), head()
    assert own.load_backbone(Backbone(network.state_dict(), 7.0, LEVELS)) == ["output"]
    assert own.input_scale == 1
    pooled = network.pyramid["pool"](torch.rand(2, 96, 7, 5))
    with torch.inference_mode():
        fc6 = network.pyramid["fc6"](pooled).relu()
        fc7 = network.pyramid["fc7"](fc6).relu()
        found = own.head_taps(pooled, ("pool5", "fc6", "fc7"))
    assert torch.equal(found["pool5"], pooled)
    assert torch.equal(found["fc6"], fc6)
    assert torch.equal(found["fc7"], fc7)


@pytest.mark.parametrize(
    ("network", "levels", "width", "fresh"),
    [
        (pretrained((1, 3)), (1, 3), 8, ["output", "fc6", "fc7"]),  # other bins in the same places
        (pretrained(), (), 8, ["output", "fc6", "fc7"]),
        (pretrained(), (3, 1), 16, ["output", "fc6", "fc7"]),
    ],
)
def test_layers_that_do_not_fit_stay_new(
    network: PyramidNetwork, levels: tuple[int, ...], width: int, fresh: list[str]
) -> None:
    own = head(width)
    before = own.fc6.weight.clone()
    assert own.load_backbone(Backbone(network.state_dict(), 4.0, levels)) == fresh
    assert own.input_scale == (0.25 if "fc6" in fresh else 1)
    assert torch.equal(own.fc6.weight, before)


@pytest.fixture(scope="module")
def published() -> torch.nn.Module:
    """Return torchvision's AlexNet with short weights, whose products with short inputs have no rounding."""
    torch.manual_seed(0)
    network = alexnet().eval()
    for name, parameter in network.named_parameters():
        if name.startswith("classifier.1."):
            parameter.data = (parameter.data * 256).round() / 256
    return network


def alexnets_head(levels: tuple[int, ...], width: int = 4096) -> PyramidHead:
    return PyramidHead(PyramidShape("alexnet", "abc", 256, "paper", 224, levels, width, outputs=4)).eval()


@torch.inference_mode()
@pytest.mark.parametrize("levels", [(6, 3, 2, 1), (3, 6, 1)])
def test_published_layers_give_the_networks_own_values(published: torch.nn.Module, levels: tuple[int, ...]) -> None:
    own = alexnets_head(levels)
    assert own.load_backbone(Backbone(published.state_dict(), 7.0)) == ["output"]
    assert own.input_scale == 1
    conv5 = (published.features[:-1](torch.rand(2, 3, 224, 224)) * 256).round() / 16
    assert conv5.shape[2:] == (13, 13)
    theirs = published.avgpool(published.features[-1](conv5)).flatten(1)
    pooled = SpatialPyramid(levels)(conv5)
    start = 256 * (9 if levels[0] == 3 else 0)
    assert torch.equal(pooled[:, start : start + 9216], theirs)
    fc6 = published.classifier[:3](theirs)
    found = own.head_taps(pooled, ("fc6", "fc7"))
    assert fc6.count_nonzero() > 1000
    assert torch.equal(found["fc6"], fc6)
    assert torch.equal(found["fc7"], published.classifier[3:6](fc6))


@pytest.mark.parametrize(("levels", "width"), [((4, 2, 1), 4096), ((6, 1), 512)])
def test_published_layers_that_do_not_fit_stay_new(
    published: torch.nn.Module, levels: tuple[int, ...], width: int
) -> None:
    own = alexnets_head(levels, width)
    assert own.load_backbone(Backbone(published.state_dict(), 4.0)) == ["output", "fc6", "fc7"]
    assert own.input_scale == 0.25


def test_vgg16s_pool5_is_level_7() -> None:
    conv5, weight = torch.randint(9, (1, 512, 14, 14)).float(), torch.randint(9, (4, 512 * 49)).float()
    placed = place_in_pyramid(weight, 512, (7, 3, 2, 1))
    assert placed is not None
    theirs = architecture("vgg16").pool5()(conv5).flatten(1)
    assert torch.equal(SpatialPyramid((7, 3, 2, 1))(conv5) @ placed.T, theirs @ weight.T)
    assert place_in_pyramid(weight, 512, (6, 3, 2, 1)) is None


def test_written_and_read_it_is_the_same(tmp_path: Path) -> None:
    own = head()
    own.save(tmp_path / "head.safetensors")
    again = PyramidHead.load(tmp_path / "head.safetensors", "systems/sppnet/dvc.yaml:finetune")
    assert again.shape == own.shape
    pooled = torch.rand(3, 960)
    assert torch.equal(again(pooled), own(pooled))
    assert not again.training


def test_other_files_are_refused(tmp_path: Path) -> None:
    weights.save(tmp_path / "x.safetensors", {"a": torch.zeros(1)}, {"network": "small"})
    with pytest.raises(
        InputError, match=r"no SPP-net head can be read.*; the stage systems/sppnet/dvc.yaml:finetune writes it"
    ):
        PyramidHead.load(tmp_path / "x.safetensors", "systems/sppnet/dvc.yaml:finetune")


def test_both_sizes_of_multi_size_training_share_weights_and_give_vectors_of_one_length() -> None:
    network = pretrained((6, 3, 2, 1))
    large, small = torch.rand(2, 3, 48, 48), torch.rand(2, 3, 36, 36)
    vectors = [network.pyramid["pool"](network.features(images)) for images in (large, small)]
    assert [tuple(vector.shape) for vector in vectors] == [(2, 96 * 50)] * 2
    before = network(small).detach()
    network.zero_grad()
    network(large).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    with torch.no_grad():
        for parameter in network.parameters():
            parameter -= 1e-3 * parameter.grad
    assert not torch.equal(network(small), before)  # a step at one size moves the other's output
