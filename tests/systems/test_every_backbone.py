"""Each system works with each of the backbones that have blocks, batch normalisation or darknet's layers."""

from collections.abc import Callable

import pytest
import torch

from pipeline.nets.backbones import FrozenBatchNorm, architecture
from pipeline.nets.weights import Backbone, ShapedNetwork, load_conv
from pipeline.pretraining import SpatialPyramid
from pipeline.systems.fast_rcnn.network import FastRcnn, FastRcnnShape
from pipeline.systems.faster_rcnn.network import RegionProposalNetwork, RpnShape
from pipeline.systems.localise.network import Localiser, LocaliseShape
from pipeline.systems.overfeat.network import Overfeat, OverfeatShape
from pipeline.systems.rcnn.network import RegionNetwork, RegionShape
from pipeline.systems.retinanet.network import Retinanet, RetinanetShape
from pipeline.systems.sppnet.network import PyramidHead, PyramidShape
from pipeline.systems.ssd.network import Ssd, SsdShape
from pipeline.systems.yolo.network import Yolo, YoloShape

SIDE = 128
IMAGES = torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


def rcnn(name: str) -> tuple[ShapedNetwork, Callable, list[tuple[int, ...]]]:
    return RegionNetwork(RegionShape(name, SIDE, 16, 3)), lambda network: [network(IMAGES)], [(2, 3)]


def sppnet(name: str) -> tuple[ShapedNetwork, Callable, list[tuple[int, ...]]]:
    maps = architecture(name).conv()(IMAGES).detach()
    shape = PyramidShape(name, "", architecture(name).channels, "released", SIDE, (2, 1), 16, 3)
    return PyramidHead(shape), lambda head: [head(SpatialPyramid((2, 1))(maps))], [(2, 3)]


def fast_rcnn(name: str) -> tuple[ShapedNetwork, Callable, list[tuple[int, ...]]]:
    cells = torch.tensor([[0, 0, 0, 1, 1], [1, 1, 0, 1, 1], [1, 0, 0, 0, 0]])
    shape = FastRcnnShape(name, architecture(name).grid, 16, 2, (SIDE,), SIDE)
    return FastRcnn(shape), lambda network: network(IMAGES, cells), [(3, 3), (3, 3, 4)]


def faster_rcnn(name: str) -> tuple[ShapedNetwork, Callable, list[tuple[int, ...]]]:
    network = RegionProposalNetwork(RpnShape(name, 16, (24.0, 40.0), (1.0,), (SIDE,), SIDE))
    anchors = 2 * (SIDE // network.geometry.stride) ** 2
    return network, lambda network: network(IMAGES), [(2, anchors, 2), (2, anchors, 4)]


def yolo(name: str) -> tuple[ShapedNetwork, Callable, list[tuple[int, ...]]]:
    network = Yolo(YoloShape(name, SIDE, 2, 3, ((8, 1),), (16,), shared=False))
    return network, lambda network: [network(IMAGES * 255)], [(2, network.grid**2 * 13)]


def ssd(name: str) -> tuple[ShapedNetwork, Callable, list[tuple[int, ...]]]:
    taps = tuple(architecture(name).taps)
    sides = tuple(float(16 * side) for side in range(1, len(taps) + 3))
    network = Ssd(SsdShape(name, 2, SIDE, taps, ((4, 8, 3, 2, 1),), 8.0, sides, ((),) * (len(taps) + 1), None))
    boxes = len(network.defaults)
    return network, lambda network: network(IMAGES * 255), [(2, boxes, 3), (2, boxes, 4)]


def overfeat(name: str) -> tuple[ShapedNetwork, Callable, list[tuple[int, ...]]]:
    network = Overfeat(OverfeatShape(name, 2, (SIDE,), 1, 2, (8,), (8,), True))
    return (
        network,
        lambda network: network(IMAGES * 255),
        [(2, len(network.windows(SIDE)), 3), (2, len(network.windows(SIDE)), 2, 4)],
    )


def localise(name: str) -> tuple[ShapedNetwork, Callable, list[tuple[int, ...]]]:
    network = Localiser(LocaliseShape(name, 2, SIDE, (2, 1), 8, "conv", (8,), True, 4))
    return network, lambda network: network(IMAGES * 255), [(2, 2), (2, 2, 8)]


def retinanet(name: str) -> tuple[ShapedNetwork, Callable, list[tuple[int, ...]]]:
    network = Retinanet(RetinanetShape(name, 2, SIDE, tuple(architecture(name).taps), 1, 8, 1, 4.0, 1, (1.0,)))
    boxes = len(network.anchors)
    return network, lambda network: network(IMAGES * 255), [(2, boxes, 2), (2, boxes, 4)]


@pytest.mark.parametrize("system", [rcnn, sppnet, fast_rcnn, faster_rcnn, overfeat, localise, yolo, ssd, retinanet])
@pytest.mark.parametrize(
    "name",
    ["mobilenet_v2", "resnet18", pytest.param("resnet50", marks=pytest.mark.slow), "extraction", "darknet"],
)
def test_a_system_learns_on_it(system: Callable, name: str) -> None:
    torch.manual_seed(0)
    conv = architecture(name).conv()
    for layer in conv.modules():
        if isinstance(layer, FrozenBatchNorm):
            layer.running_var.uniform_(0.5, 2)
    backbone = Backbone({f"features.{key}": tensor for key, tensor in conv.state_dict().items()}, network=name)
    network, forward, shapes = system(name)
    network.load_backbone(backbone)
    outputs = forward(network.train())
    assert [tuple(output.shape) for output in outputs] == shapes
    sum(output.square().sum() for output in outputs).backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters() if parameter.grad is not None)
    if system is not sppnet:  # its maps are cached
        trained = network.get_submodule(network.CONVOLUTIONS)
        first = next(layer for layer in trained.modules() if isinstance(layer, torch.nn.Conv2d))
        assert first.weight.grad.abs().sum() > 0
        load_conv(conv, name, backbone.weights)
        assert trained.state_dict().keys() == conv.state_dict().keys()
        assert all(torch.equal(tensor, conv.state_dict()[key]) for key, tensor in trained.state_dict().items())
