"""The preset `voc2007` builds the papers' networks, and its graph has their backbones.

SSD's network is in test_ssd_network, RetinaNet's in test_retinanet_network.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from ruamel.yaml import YAML
from torch import nn

from pipeline import params, presets
from pipeline.nets.backbones import architecture
from pipeline.registry import all_systems
from pipeline.systems.fast_rcnn.network import FastRcnn, FastRcnnShape
from pipeline.systems.faster_rcnn.network import RegionProposalNetwork, RpnShape
from pipeline.systems.rcnn.network import RegionNetwork, RegionShape
from pipeline.systems.sppnet.network import PyramidHead, PyramidShape
from pipeline.systems.yolo.network import Yolo, YoloShape

ROOT = Path(__file__).resolve().parents[2]
NETWORKS = ("alexnet", "vgg16", "extraction", "resnet50")
WEIGHTS = "data/weights/resnet50"


def laid(changed: presets.Values | None = None) -> str:
    values = presets.read(ROOT / "presets", "voc2007") | (changed or {})
    return presets.lay_over(presets.template(), values, "voc2007")[0]


@pytest.fixture(scope="module")
def p():
    return params.parse(YAML(typ="safe").load(laid()), "voc2007")


def millions(network: nn.Module) -> float:
    return round(sum(parameter.numel() for parameter in network.parameters()) / 1e6, 2)


def test_alexnets_regions_have_the_papers_features(p) -> None:
    r, s = p.rcnn, p.sppnet
    with torch.device("meta"):
        network = RegionNetwork(RegionShape(r.backbone, r.region.size, r.fc_width, 21))
        taps = network.taps(torch.zeros(1, 3, 227, 227), ("pool5", "fc7"))
        shape = PyramidShape(s.backbone, "", 256, s.window.rule, s.window.side, s.pyramid, s.fc_width, 21)
        head = PyramidHead(shape)
    assert taps["pool5"].shape == (1, 9216)
    assert taps["fc7"].shape == (1, 4096)
    assert head.width_of("pool5") == 12_800
    assert 6 in s.pyramid, "the level that is AlexNet's pool5"
    assert (s.window.rule, s.window.side, s.maps.scales) == ("released", 13 * 16, (480, 576, 688, 874, 1200))
    assert p.proposals.max_per_image > 3735, "the most that fast mode gave of 40 photographs"
    # Person has 5,447 objects in trainval, each with some 14.3 proposals that overlap it by half, and itself.
    assert min(r.bbox.max_samples, s.bbox.max_samples) > 5447 * 15.3


def test_fast_and_faster_rcnn_are_the_papers_and_keep_conv1_1_to_conv2_2(p) -> None:
    fast, faster = p.fast_rcnn, p.faster_rcnn
    with torch.device("meta"):
        detector = FastRcnn(FastRcnnShape.from_params(fast.backbone, fast.grid, fast.fc_width, 20, fast.image))
        rpn = RegionProposalNetwork(
            RpnShape.from_params(faster.backbone, faster.rpn_width, faster.anchors, faster.image)
        )
        conv = architecture("vgg16").conv()
    assert millions(detector) == pytest.approx(134.69, abs=0.02)  # the paper's has box slots for the background
    assert millions(rpn) == pytest.approx(14.71 + 2.39, abs=0.02)
    for network, settings in ((detector, fast.train), (detector, faster.detector), (rpn, faster.rpn)):
        frozen = [network.get_submodule(name[:-1]) for name in network.early_layers(settings.frozen_layers)]
        assert [layer.out_channels for layer in frozen] == [64, 64, 128, 128]
    assert [layer.out_channels for layer in conv if isinstance(layer, nn.Conv2d)][4] == 256


def test_yolo_has_24_convolutions_and_1470_outputs(p) -> None:
    y = p.yolo
    with torch.device("meta"):
        network = Yolo(YoloShape.from_params(y.backbone, y.side, y.boxes, 20, y.head))
        on_vgg16 = YoloShape("vgg16", 448, 2, 20, ((1024, 2), (1024, 2), (1024, 1), (1024, 1)), (4096,), False)
        other = Yolo(on_vgg16)
    assert sum(isinstance(layer, nn.Conv2d) for layer in network.modules()) == 24
    assert network.fc[-1].out_features == 1470
    assert millions(network) == 271.7
    assert (other.grid, other.fc[-1].out_features) == (7, 1470)
    # 17 convolutions, 50,176 x 4,096 and 4,096 x 1,470 by hand; with one stride of 2 it would be 893,926,968.
    assert sum(weight.numel() for weight in other.parameters()) == 259_296_510
    assert y.detect.nms == 0.5  # yolo.c


@pytest.mark.slow
def test_the_graph_has_each_systems_backbone(tmp_path: Path) -> None:
    """DVC reads the whole graph, variables and loops resolved; nothing of it runs."""
    for part in ("systems", "dvc.yaml"):
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("dvc.lock"))
        else:
            shutil.copyfile(ROOT / part, tmp_path / part)
    listed = {"systems": list(all_systems()), "backbones.resnet50": {"init": "published", "weights": WEIGHTS}}
    (tmp_path / "params.yaml").write_text(laid(listed))

    def dvc(*arguments: str) -> str:
        command = [sys.executable, "-m", "dvc", *arguments]
        return subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout

    dvc("init", "--no-scm")
    stages = set(dvc("stage", "list", "--all", "--name-only").split())
    assert {f"{stage}@{network}" for stage in ("fetch_weights", "pretrain") for network in NETWORKS} < stages
    for system, stage, network in (
        ("rcnn", "finetune", "alexnet"),
        ("sppnet", "maps@train", "alexnet"),
        ("fast_rcnn", "train", "vgg16"),
        ("faster_rcnn", "rpn@1", "vgg16"),
        ("yolo", "train", "extraction"),
        ("ssd", "train", "vgg16"),
        ("retinanet", "train", "resnet50"),
    ):
        before = dvc("dag", f"systems/{system}/dvc.yaml:{stage}")
        assert {name for name in NETWORKS if f"pretrain@{name}" in before} == {network}
