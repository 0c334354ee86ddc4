"""`boxline export` as a person uses it."""

import json
from pathlib import Path

import onnxruntime
import pytest
import torch
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.data.index import ImageRecord, Index
from pipeline.systems.yolo.network import Yolo, YoloShape


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    torch.manual_seed(1)
    network = Yolo(YoloShape("backbone", "small", 64, 2, 2, ((8, 2),), (16,)))
    network.save(tmp_path / "models/yolo/network.safetensors")
    Index(("cat", "dog"), (ImageRecord(1, "a.png", 20, 20, ""),)).save(tmp_path / "data/index/test.json")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_file_lands_where_it_is_named_and_knows_its_classes(project: Path) -> None:
    result = CliRunner().invoke(app, ["export", "yolo", "--out", "somewhere/mine.onnx"])
    assert result.exit_code == 0, result.output
    assert "somewhere/mine.onnx: images (N, 3, 64, 64), RGB from 0 to 255" in result.stdout
    session = onnxruntime.InferenceSession(project / "somewhere/mine.onnx")
    assert json.loads(session.get_modelmeta().custom_metadata_map["classes"]) == ["cat", "dog"]


@pytest.mark.parametrize(
    ("arguments", "lost", "code", "words"),
    [
        (["ssd"], None, 1, "models/ssd/network.safetensors"),
        (["yolo"], "data/index/test.json", 1, "data/index/test.json: the file does not exist"),
        (["rcnn"], None, 2, "rcnn"),
        ([], None, 2, "yolo|ssd"),
    ],
)
def test_what_cannot_be_exported_is_said(project: Path, arguments, lost, code, words) -> None:
    if lost:
        (project / lost).unlink()
    result = CliRunner().invoke(app, ["export", *arguments])
    assert result.exit_code == code
    assert words in result.stderr
    assert not list(project.glob("*.onnx"))
