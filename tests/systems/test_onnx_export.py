"""The ONNX file against the network that it was made from, and `boxline export` as a person uses it."""

import json
import re
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torchvision.ops import nms
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.core.sections import SquareDetection
from pipeline.data.index import Index
from pipeline.detector import Description
from pipeline.systems.onnx_export import export_onnx
from pipeline.systems.retinanet.network import Retinanet, RetinanetShape
from pipeline.systems.square_detector import SquareDetector
from pipeline.systems.ssd.network import Ssd, SsdShape
from pipeline.systems.yolo.network import Yolo, YoloShape

pytestmark = pytest.mark.slow
CLASSES = ("zero", "größer", "two")
SETTINGS = SquareDetection(batch=3, min_score=0.1, max_per_class=10, nms=0.5, max_per_image=20)


def make(name: str) -> Yolo | Ssd | Retinanet:
    torch.manual_seed(4)
    if name == "yolo":
        return Yolo(YoloShape("small", 96, 2, 3, ((8, 1), (8, 2)), (16,), shared=False)).eval()
    if name == "retinanet":  # 1,728 pairs of an anchor and a class on its first level
        retinanet = Retinanet(RetinanetShape("small", 3, 96, ("conv3", "conv5"), 1, 8, 1, 4.0, 1, (1.0,))).eval()
        torch.nn.init.normal_(retinanet.scores[-1].weight)
        return retinanet
    shape = SsdShape(
        network="squeezenet1_0",
        classes=3,
        side=96,
        taps=("conv5",),
        extra=((16, 24, 3, 2, 1),),
        sides=(16.0, 32.0, 48.0),
        ratios=((2.0,), (2.0,)),
        l2_scale=20.0,
        steps=None,
    )
    return Ssd(shape).eval()


@pytest.mark.parametrize("name", ["yolo", "ssd", "retinanet"])
def test_the_graph_gives_what_the_network_gives_and_says_what_it_needs(name: str, tmp_path: Path) -> None:
    network, file = make(name), tmp_path / "n.onnx"
    described = Description.of(name, CLASSES, detect=SETTINGS)
    export_onnx(SquareDetector(described, network, network.decode, 96, torch.device("cpu")), file)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    assert [(entry.name, entry.type) for entry in session.get_inputs()] == [("images", "tensor(float)")]
    for batch in (1, 3):
        images = torch.randint(256, (batch, 3, 96, 96)).float()
        with torch.inference_mode():
            expected = network.decode(network(images))
        found = session.run(["boxes", "scores"], {"images": images.numpy()})
        for ours, theirs in zip(expected, found, strict=True):
            assert ours.shape == theirs.shape
            assert torch.allclose(ours, torch.from_numpy(theirs), rtol=1e-4, atol=1e-4)

    metadata = session.get_modelmeta().custom_metadata_map
    assert metadata["side"] == "96"
    assert tuple(json.loads(metadata["classes"])) == CLASSES
    # Nothing tells of the machine it was made on, and no second file with weights lies beside it.
    content = file.read_bytes()
    words = (rb"site-packages", rb"\.py\b", re.escape(f"{Path.home()}/".encode()))
    assert not any(re.search(word, content) for word in words)
    assert list(tmp_path.iterdir()) == [file]
    onnx.checker.check_model(onnx.load(file), full_check=True)


@pytest.mark.parametrize("name", ["yolo", "ssd", "retinanet"])
def test_file_and_metadata_are_enough_for_the_detections(name: str, tmp_path: Path) -> None:
    network, file = make(name), tmp_path / "n.onnx"
    if isinstance(network, Yolo):
        torch.nn.init.normal_(network.fc[-1].bias, 0.4, 0.1)  # boxes as large as a cell, which overlap
    limits = SquareDetection(min_score=1e-5, max_per_class=30, nms=0.4, max_per_image=25)
    detector = SquareDetector(
        Description.of(name, CLASSES, detect=limits), network, network.decode, 96, torch.device("cpu")
    )
    export_onnx(detector, file)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    given = session.get_modelmeta().custom_metadata_map
    image = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    images = image.transpose(2, 0, 1)[None].astype(np.float32)
    boxes, scores = (torch.from_numpy(part[0]) for part in session.run(["boxes", "scores"], {"images": images}))
    found, suppressed = [], 0
    for label, column in enumerate(scores.T, 1):
        best = column.argsort(descending=True, stable=True)[: int(given["max_per_class"])]
        best = best[column[best] > float(given["min_score"])]
        kept = best[nms(boxes[best], column[best], float(given["nms"]))]
        suppressed += len(best) - len(kept)
        found += [(column[row].item(), label, boxes[row]) for row in kept]
    found = sorted(found, key=lambda detection: -detection[0])[: int(given["max_per_image"])]
    (expected,) = detector.detect([image])
    assert len(found) == len(expected) == 25
    assert suppressed
    assert [label for _, label, _ in found] == expected.labels.tolist()
    assert [score for score, _, _ in found] == pytest.approx(expected.scores, abs=1e-5)
    clipped = torch.stack([box for _, _, box in found]).clamp(0, 96)
    assert np.allclose(clipped.numpy(), expected.boxes, atol=1e-3)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    torch.manual_seed(1)
    network = Yolo(YoloShape("small", 64, 2, 2, ((8, 2),), (16,), shared=False))
    network.save(tmp_path / "models/yolo/network.safetensors")
    Description.of("yolo", ("cat", "dog"), detect=SETTINGS).save(tmp_path / "models/yolo")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_file_lands_where_it_is_named_and_knows_its_classes(project: Path) -> None:
    Index(("ant", "bee", "cow"), ()).save(project / "data/index/test.json")  # of a dataset that came later
    result = CliRunner().invoke(app, ["export", "yolo", "--out", "somewhere/mine.onnx"])
    assert result.exit_code == 0, result.output
    assert "somewhere/mine.onnx: images (N, 3, 64, 64), RGB from 0 to 255" in result.stdout
    session = onnxruntime.InferenceSession(project / "somewhere/mine.onnx")
    assert json.loads(session.get_modelmeta().custom_metadata_map["classes"]) == ["cat", "dog"]


def test_names_that_are_not_as_many_as_the_scores_are_refused(project: Path) -> None:
    Description.of("yolo", ("ant", "bee", "cow"), detect=SETTINGS).save(project / "models/yolo")
    result = CliRunner().invoke(app, ["export", "yolo"])
    assert result.exit_code == 1
    assert "models/yolo/detector.json: names 3 classes, but models/yolo/network.safetensors scores 2" in result.stderr
    assert not list(project.glob("*.onnx"))


@pytest.mark.parametrize(
    ("arguments", "lost", "code", "words"),
    [
        (["ssd"], None, 1, "models/ssd/detector.json"),
        (["yolo"], "models/yolo/network.safetensors", 1, "models/yolo/network.safetensors"),
        (["rcnn"], None, 2, "'rcnn' cannot be exported, only yolo, ssd, retinanet."),
        ([], None, 2, "Missing argument 'SYSTEM'"),
    ],
)
def test_what_cannot_be_exported_is_said(project: Path, arguments, lost, code, words) -> None:
    if lost:
        (project / lost).unlink()
    result = CliRunner().invoke(app, ["export", *arguments])
    assert result.exit_code == code
    assert words in result.stderr
    assert not list(project.glob("*.onnx"))
