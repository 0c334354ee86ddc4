"""Networks on disk: plain weights, published ones, and networks with their shape."""

import copy
import hashlib
import io
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import nn

from pipeline.core.errors import InputError
from pipeline.data.images import read_image
from pipeline.nets import darknet, weights
from pipeline.nets.backbones import ARCHITECTURES, architecture, normalise
from pipeline.nets.weights import ShapedNetwork
from pipeline.systems.rcnn.network import RegionNetwork, RegionShape

PHOTO = "2007_000027.jpg"


def squeezenet() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return dict(torchvision.models.squeezenet1_0().state_dict())


def test_equal_weights_give_equal_bytes_in_any_order(tmp_path: Path) -> None:
    state = squeezenet()
    weights.save(tmp_path / "a", state, {"network": "squeezenet1_0", "source": "x"})
    backwards = dict(reversed(state.items()))
    weights.save(tmp_path / "b", backwards, {"source": "x", "network": "squeezenet1_0"})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    loaded, metadata = weights.load(tmp_path / "a")
    assert metadata == {"network": "squeezenet1_0", "source": "x"}
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[name], state[name]) for name in state)


def test_a_missing_and_a_broken_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"^{tmp_path}/none: the weights file does not exist"):
        weights.load(tmp_path / "none")
    (tmp_path / "broken").write_bytes(b"\x80\x02}q\x00.")
    with pytest.raises(InputError, match=f"^{tmp_path}/broken: not a safetensors file"):
        weights.load(tmp_path / "broken")
    weights.save(tmp_path / "whole", squeezenet(), {})
    (tmp_path / "cut").write_bytes((tmp_path / "whole").read_bytes()[:-100])
    with pytest.raises(InputError, match="not a safetensors file"):
        weights.load(tmp_path / "cut")


def test_published_weights_lose_the_class_layer_only(tmp_path: Path) -> None:
    state = squeezenet()
    weights.save(tmp_path / "file", {name: tensor.half() for name, tensor in state.items()}, {})
    found = weights.published(tmp_path / "file", "squeezenet1_0")
    assert state.keys() - found.keys() == {"classifier.1.weight", "classifier.1.bias"}
    assert {tensor.dtype for tensor in found.values()} == {torch.float32}
    torch.testing.assert_close(found["features.0.weight"], state["features.0.weight"], atol=1e-4, rtol=1e-3)


def test_a_class_layer_for_other_classes_is_fine(tmp_path: Path) -> None:
    state = squeezenet()
    state["classifier.1.weight"], state["classifier.1.bias"] = torch.zeros(7, 512, 1, 1), torch.zeros(7)
    weights.save(tmp_path / "file", state, {})
    assert "features.0.weight" in weights.published(tmp_path / "file", "squeezenet1_0")


def test_the_small_network_is_its_convolutions(tmp_path: Path) -> None:
    conv = {f"features.{name}": tensor for name, tensor in architecture("small").conv().state_dict().items()}
    weights.save(tmp_path / "file", conv, {})
    assert weights.published(tmp_path / "file", "small").keys() == conv.keys()


def test_fully_connected_layers_are_copied_where_they_fit() -> None:
    fc6, fc7 = nn.Linear(6, 4), nn.Linear(4, 4)
    before = fc7.weight.detach().clone()
    backbone = {"classifier.1.weight": torch.ones(4, 6), "classifier.1.bias": torch.arange(4.0)}
    backbone |= {"classifier.4.weight": torch.ones(5, 4), "classifier.4.bias": torch.zeros(5)}
    names = {"fc6": "classifier.1", "fc7": "classifier.4"}
    assert weights.load_fc({"fc6": fc6, "fc7": fc7}, backbone, names) == ["fc7"]
    assert fc6.weight.tolist() == [[1.0] * 6] * 4
    assert fc6.bias.tolist() == [0, 1, 2, 3]
    assert torch.equal(fc7.weight, before)
    assert weights.load_fc({"fc6": fc6, "fc7": fc7}, backbone, {}) == ["fc6", "fc7"]


def test_wrong_names_and_shapes_are_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    state = squeezenet()
    weights.save(file, {name: t for name, t in state.items() if name != "features.0.bias"}, {})
    with pytest.raises(InputError, match=r"1 names are missing \(features.0.bias\) and 0 are unknown \(none\)"):
        weights.published(file, "squeezenet1_0")
    weights.save(file, {**state, **{f"extra.{i}": torch.zeros(1) for i in range(4)}}, {})
    with pytest.raises(InputError, match=r"0 names .*4 are unknown \(extra.0, extra.1, extra.2, \.\.\.\)"):
        weights.published(file, "squeezenet1_0")
    weights.save(file, {**state, "features.0.weight": torch.zeros(96, 3, 3, 3)}, {})
    with pytest.raises(InputError, match=r"features.0.weight has shape \(96, 3, 3, 3\), but .* \(96, 3, 7, 7\)"):
        weights.published(file, "squeezenet1_0")
    with pytest.raises(InputError, match=f"^{file}: not the weights of vgg16: "):
        weights.published(file, "vgg16")


def test_the_shipped_squeezenet_loads_and_has_learned(shared: Path) -> None:
    backbone = weights.published(shared / "weights/squeezenet1_0.safetensors", "squeezenet1_0")
    network = RegionNetwork(RegionShape("squeezenet1_0", side=67, fc_width=8, outputs=2))
    assert network.load_backbone(weights.Backbone(backbone)) == ["output", "fc6", "fc7"]
    reference = torchvision.models.squeezenet1_0()
    reference.load_state_dict(weights.load(shared / "weights/squeezenet1_0.safetensors")[0])
    image = torch.randn(1, 3, 67, 67)
    with torch.inference_mode():
        conv5 = network.eval().taps(image, ("conv5",))["conv5"]
        torch.testing.assert_close(conv5, reference.eval().features(image))


@pytest.fixture
def publish(
    serve: Callable[[bytes], tuple[str, list[str]]], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[dict[str, torch.Tensor], list[str]]]:
    """Return a function that puts a small state dict behind torchvision's entry for SqueezeNet, on a local server."""

    def start(*, damaged: bool = False) -> tuple[dict[str, torch.Tensor], list[str]]:
        state = {"features.0.weight": torch.arange(6.0)}
        buffer = io.BytesIO()
        torch.save(state, buffer)
        content = buffer.getvalue()
        name = f"squeezenet1_0-{hashlib.sha256(content).hexdigest()[:8]}.pth"
        address, requests = serve(content[:-1] + bytes([content[-1] ^ 1]) if damaged else content)
        entry = torchvision.models.SqueezeNet1_0_Weights
        monkeypatch.setattr(entry, "url", property(lambda _: f"{address}/{name}"))
        return state, requests

    return start


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bytes], tuple[str, list[str]]]]:
    """Return a function that starts a local server: it answers every request with the same bytes.

    The function returns the server's address and the list of paths that were asked for; torch's cache is empty.
    """
    servers: list[ThreadingHTTPServer] = []
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))

    def start(content: bytes) -> tuple[str, list[str]]:
        requests: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                requests.append(self.path)
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                pass

        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}", requests

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_torchvisions_weights_are_downloaded_once_and_checked(publish: Callable) -> None:
    state, requests = publish()
    for _ in range(2):
        found, source = weights.download("squeezenet1_0")
        assert source == "torchvision IMAGENET1K_V1"
        assert found.keys() == state.keys()
        assert torch.equal(found["features.0.weight"], state["features.0.weight"])
    assert len(requests) == 1


def test_a_damaged_download_is_refused(publish: Callable) -> None:
    publish(damaged=True)
    with pytest.raises(InputError, match=r"weights of squeezenet1_0 cannot be downloaded \(invalid hash value"):
        weights.download("squeezenet1_0")


def test_without_a_network_the_sentence_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    entry = torchvision.models.AlexNet_Weights
    monkeypatch.setattr(entry, "url", property(lambda _: "http://127.0.0.1:1/alexnet-00000000.pth"))
    with pytest.raises(InputError, match=r"^http://127\.0\.0\.1:1/.*set backbones\.alexnet\.weights to a file"):
        weights.download("alexnet")


@pytest.mark.parametrize("network", ["small", "darknet"])
def test_some_networks_have_no_published_weights(network: str) -> None:
    with pytest.raises(InputError, match=rf"backbones\.{network}\.init is 'published', but nobody has published"):
        weights.download(network)


def test_darknets_file_is_downloaded_once_and_read_back(
    serve: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    conv = nn.Sequential(nn.Conv2d(3, 4, 7, 2), nn.LeakyReLU(0.1), nn.Conv2d(4, 2, 3))
    content = struct.pack("<4i", 0, 1, 0, 64)
    for layer in (conv[0], conv[2]):
        for tensor in (layer.bias, layer.weight):
            content += struct.pack(f"<{tensor.numel()}f", *tensor.flatten().tolist())
    address, requests = serve(content)
    thin = replace(
        architecture("extraction"), layers=lambda _: copy.deepcopy(conv), published=f"{address}/e.conv.weights"
    )
    monkeypatch.setitem(ARCHITECTURES, "extraction", thin)
    for _ in range(2):
        found, source = weights.download("extraction")
        assert source == f"{address}/e.conv.weights"
    assert requests == ["/e.conv.weights"]
    weights.save(tmp_path / "file", found, {})
    fresh = thin.conv()
    for parameter in fresh.parameters():
        nn.init.zeros_(parameter)
    weights.load_conv(fresh, "extraction", weights.published(tmp_path / "file", "extraction"))
    assert all(torch.equal(tensor, conv.state_dict()[name]) for name, tensor in fresh.state_dict().items())


@pytest.mark.parametrize("change", [-4, -1, 1, 4])
def test_a_darknet_file_of_another_length_is_refused(tmp_path: Path, change: int) -> None:
    # A header of 16 bytes, then 2 biases and 2 * 3 * 3 * 3 weights of 4 bytes.
    file = tmp_path / "extraction.conv.weights"
    file.write_bytes(bytes(16 + 4 * 56 + change))
    with pytest.raises(
        InputError, match=rf"^{file}: .* has {240 + change} bytes; 240 would be right, .* 1 convolution"
    ):
        darknet.read(file, "extraction", nn.Sequential(nn.Conv2d(3, 2, 3)))


def test_extraction_needs_all_its_convolutions(tmp_path: Path) -> None:
    file = tmp_path / "extraction.conv.weights"
    file.write_bytes(bytes(16))
    # (kernel, inputs, channels) of the first 20 convolutions (YOLO, figure 3).
    layers = [(7, 3, 64), (3, 64, 192), (1, 192, 128), (3, 128, 256), (1, 256, 256), (3, 256, 512)]
    layers += (
        [(1, 512, 256), (3, 256, 512)] * 4 + [(1, 512, 512), (3, 512, 1024)] + [(1, 1024, 512), (3, 512, 1024)] * 2
    )
    needed = 16 + 4 * sum(kernel**2 * inputs * channels + channels for kernel, inputs, channels in layers)
    with torch.device("meta"):
        conv = architecture("extraction").conv()
    with pytest.raises(InputError, match=f"16 bytes; {needed:,} would be right, .* 20 convolutions"):
        darknet.read(file, "extraction", conv)


def test_weights_behind_conv5_need_not_be_there(tmp_path: Path) -> None:
    state = squeezenet()
    behind = {name for name in state if name.startswith("classifier.")}
    weights.save(tmp_path / "file", {name: tensor for name, tensor in state.items() if name not in behind}, {})
    assert weights.published(tmp_path / "file", "squeezenet1_0").keys() == state.keys() - behind


def test_the_shipped_mobilenet_gives_torchvisions_features(shared: Path) -> None:
    file = shared / "weights/mobilenet_v2.safetensors"
    reference = torchvision.models.mobilenet_v2().features
    state, _ = weights.load(file)
    reference.load_state_dict({name.removeprefix("features."): tensor for name, tensor in state.items()})
    conv = architecture("mobilenet_v2").conv()
    weights.load_conv(conv, "mobilenet_v2", weights.published(file, "mobilenet_v2"))
    photo = normalise(torch.from_numpy(read_image(shared / "data/voc100/JPEGImages" / PHOTO)).permute(2, 0, 1))[None]
    with torch.inference_mode():
        assert torch.equal(conv(photo), reference.eval()[:14](photo))


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


def test_a_shortcut_is_early_with_the_last_convolution_of_its_block() -> None:
    """ResNet-18 is named after its convolutions and fc, shortcuts not counted: 13 lead to its last map of stride 16."""
    with torch.device("meta"):
        network = RegionNetwork(RegionShape("resnet18", side=64, fc_width=8, outputs=2))
    assert network.early_layers(2) == ("conv.conv1.", "conv.layer1.0.conv1.")
    assert network.early_layers(6)[-1] == "conv.layer2.0.conv1."
    assert network.early_layers(7)[-2:] == ("conv.layer2.0.conv2.", "conv.layer2.0.downsample.0.")
    assert len(network.early_layers(12)) == 14
    assert len(network.early_layers(13)) == 15


def test_all_convolutions_of_an_inverted_residual_count() -> None:
    with torch.device("meta"):
        network = RegionNetwork(RegionShape("mobilenet_v2", side=64, fc_width=8, outputs=2))
    assert network.early_layers(3) == ("conv.0.0.", "conv.1.conv.0.0.", "conv.1.conv.1.")


@pytest.mark.parametrize(
    "metadata", [{}, {"shape": "{"}, {"shape": "{}"}, {"shape": '{"widths": [4, 3], "layers": [[3, 1], [1, 2]]}'}]
)
def test_another_file_is_named_with_the_stage_that_writes_it(tmp_path: Path, metadata: dict[str, str]) -> None:
    path = tmp_path / "network.safetensors"
    weights.save(path, Network(SHAPE).state_dict(), metadata)
    with pytest.raises(InputError, match=r"safetensors: no made-up network can be read .* made_up_train writes"):
        Network.load(path, "made_up_train")
