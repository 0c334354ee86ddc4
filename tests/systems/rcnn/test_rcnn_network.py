"""The region network: taps, weights from a backbone, weights on disk."""

from pathlib import Path

import pytest
import torch

from pipeline.core.errors import InputError
from pipeline.nets import weights
from pipeline.nets.backbones import architecture
from pipeline.nets.weights import Backbone
from pipeline.pretraining import PyramidNetwork
from pipeline.systems.rcnn.network import RegionNetwork, RegionShape


def small(outputs: int = 3, dropout: float = 0.5) -> RegionNetwork:
    torch.manual_seed(0)
    return RegionNetwork(RegionShape("small", side=32, fc_width=16, outputs=outputs), dropout)


@torch.inference_mode()
def test_logits_are_the_output_layer_on_fc7() -> None:
    network = small().eval()
    regions = torch.randn(4, 3, 32, 32)
    fc7 = network.taps(regions, ("fc7",))["fc7"]
    torch.testing.assert_close(network(regions), fc7 @ network.output.weight.T + network.output.bias)
    assert (fc7 >= 0).all()


@torch.inference_mode()
def test_taps_give_what_is_asked_for_and_compute_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    network = small().eval()
    regions = torch.randn(2, 3, 32, 32)
    together = network.taps(regions, ("fc7", "pool5"))
    assert list(together) == ["fc7", "pool5"]
    for layer, values in together.items():
        torch.testing.assert_close(network.taps(regions, (layer,))[layer], values)
    monkeypatch.setattr(network, "fc6", None)
    assert network.taps(regions, ("conv5", "pool5"))["pool5"].shape == (2, 96 * 2 * 2)


@torch.inference_mode()
def test_without_an_output_layer_the_network_gives_fc7() -> None:
    network = small(outputs=0).eval()
    regions = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(network(regions), network.taps(regions, ("fc7",))["fc7"])


def test_dropout_acts_in_training_only() -> None:
    network = small()
    regions = torch.randn(2, 3, 32, 32)
    assert not torch.equal(network(regions), network(regions))
    network.eval()
    assert torch.equal(network(regions), network(regions))


def test_new_layers_start_as_the_papers_do() -> None:
    network = RegionNetwork(RegionShape("small", side=48, fc_width=256, outputs=21))
    assert network.output.weight.std().item() == pytest.approx(0.01, rel=0.05)
    for layer in (network.fc6, network.fc7, network.output):
        assert (layer.bias == 0).all()


def test_a_backbone_without_fc_layers_leaves_them_new() -> None:
    donor = PyramidNetwork(architecture("small"), (2, 1), 8, 3)
    network = small()
    assert network.load_backbone(Backbone(donor.state_dict())) == ["output", "fc6", "fc7"]
    for name, tensor in donor.features.state_dict().items():
        assert torch.equal(network.conv.state_dict()[name], tensor)


def test_fc_layers_are_taken_where_the_network_has_its_own() -> None:
    """On the meta device: AlexNet's fc layers alone have 54 million weights."""
    with torch.device("meta"):
        from torchvision.models import alexnet

        published = dict(alexnet().state_dict())
        network = RegionNetwork(RegionShape("alexnet", side=67, fc_width=8, outputs=3))
        assert network.load_backbone(Backbone(published)) == ["output"]
        without = {name: tensor for name, tensor in published.items() if not name.startswith("classifier.4")}
        assert network.load_backbone(Backbone(without)) == ["output", "fc7"]
        published["classifier.1.weight"] = torch.zeros(4096, 25088)
        assert network.load_backbone(Backbone(published)) == ["output", "fc6"]


def test_another_networks_backbone_is_refused() -> None:
    donor = PyramidNetwork(architecture("squeezenet1_0"), (1,), 8, 3)
    with pytest.raises(InputError, match=r"^backbone: the weights do not fit small: "):
        small().load_backbone(Backbone(donor.state_dict()))
    with pytest.raises(InputError, match="Missing key"):
        small().load_backbone(Backbone({}))


@torch.inference_mode()
def test_a_saved_network_comes_back_whole(tmp_path: Path) -> None:
    network = small(outputs=5).eval()
    network.save(tmp_path / "a.safetensors")
    loaded = RegionNetwork.load(tmp_path / "a.safetensors", "rcnn_finetune")
    assert not loaded.training
    regions = torch.randn(2, 3, 32, 32)
    assert torch.equal(loaded(regions), network(regions))
    loaded.save(tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_memory_layout_changes_no_byte_of_a_file(tmp_path: Path) -> None:
    network = small()
    network.save(tmp_path / "plain.safetensors")
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    network.save(tmp_path / "channels_last.safetensors")
    assert (tmp_path / "plain.safetensors").read_bytes() == (tmp_path / "channels_last.safetensors").read_bytes()


@pytest.mark.parametrize(
    "shape",
    [
        "{}",
        '{"network": "resnet", "side": 32, "fc_width": 16, "outputs": 3}',
        '{"network": "small", "side": 32, "fc_width": 16, "outputs": 4}',
        '{"network": "small", "side": "many", "fc_width": 16, "outputs": 3}',
    ],
)
def test_a_file_of_something_else_names_the_stage_that_writes_the_right_one(tmp_path: Path, shape: str) -> None:
    file = tmp_path / "network.safetensors"
    weights.save(file, small().state_dict(), {"shape": shape})
    with pytest.raises(InputError, match=f"^{file}: .*rcnn_finetune writes it"):
        RegionNetwork.load(file, "rcnn_finetune")


def test_a_missing_network_names_the_stage_that_writes_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"^{tmp_path}/network.safetensors: .*rcnn_finetune writes it"):
        RegionNetwork.load(tmp_path / "network.safetensors", "rcnn_finetune")
