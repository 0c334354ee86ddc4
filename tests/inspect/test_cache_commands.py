"""The commands as a person uses them, in a small project."""

import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image
from pipeline.inspect.reading.project_files import cache_named
from typer.testing import CliRunner, Result

from pipeline.cli import app
from pipeline.linear.model import LinearModel

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def project(tmp_path, monkeypatch, index, make, maps) -> Callable[..., Result]:
    """Return the command, run in a project with both caches, the index, the images and SVMs."""
    values = np.maximum(np.random.default_rng(7).normal(size=(13, 6)), 0).astype(np.float16)
    make("test", fc7=values)
    make("other", fc7=values * 2)
    index.save(tmp_path / "data/index/test.json")
    (tmp_path / "pictures").mkdir()
    for image in index.images:
        Image.new("RGB", (image.width, image.height), "teal").save(tmp_path / "pictures" / image.file)
    committed = (ROOT / "params.yaml").read_text(encoding="utf-8")
    (tmp_path / "params.yaml").write_text(committed.replace("root: data/fetched", "root: pictures"))
    weights = np.ones((2, 6), np.float32)
    LinearModel(weights, np.array([-3, -4], np.float32), 1.0, "fc7").save(tmp_path / "models/rcnn/svm.safetensors")
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(app, ["inspect", *arguments])


def test_summary_of_both_or_of_one(project):
    both = project("summary")
    assert both.exit_code == 0, both.output
    assert "features/rcnn/test.zarr\n" in both.stdout
    assert "features/sppnet/test.zarr\n" in both.stdout
    assert "features/rcnn" not in project("summary", "sppnet").stdout
    shutil.rmtree("features/sppnet/test.zarr")
    assert "sppnet" not in project("summary").stdout


def test_pictures_and_pages_on_request(project):
    result = project("summary", "rcnn", "--png", "a.png", "--html", "a.html")
    assert result.stdout.endswith("wrote a.png\nwrote a.html\n")
    assert Image.open("a.png").size[0] > 500
    assert "13 regions of 3 images" in Path("a.html").read_text()


def test_units(project):
    result = project("units", "--units", "2,0", "--count", "2", "--png", "u.png")
    assert result.exit_code == 0, result.output
    lines = [line.split() for line in result.stdout.splitlines()]
    assert [line[0] for line in lines[2:4]] == ["2", "0"]
    assert Path("u.png").is_file()
    cells = project("units", "--system", "sppnet", "--per-class", "1", "--count", "1")
    assert "Units of sppnet cells, test" in cells.stdout


def test_diff_asks_the_svms_of_the_project_or_others(project):
    result = project("diff", "rcnn", "features/rcnn/other.zarr")
    assert result.exit_code == 0, result.output
    assert "of 20 decisions turn" in result.stdout
    assert "cat" in result.stdout
    Path("models/rcnn/svm.safetensors").rename("svm")
    assert "decisions" not in project("diff", "rcnn", "features/rcnn/other.zarr").stdout
    assert "decisions" in project("diff", "rcnn:fc7", "features/rcnn/other.zarr:fc7", "--svm", "svm").stdout


def test_diff_of_layers_of_unlike_widths(project, make):
    make("wide", fc7=np.random.default_rng(0).normal(size=(13, 9)).astype(np.float16))
    assert "linear CKA" in project("diff", "rcnn", "features/rcnn/wide.zarr").stdout


def test_export(project):
    result = project("export", "out.h5", "--images", "11-12", "--rows", "1:", "--class", "cat", "--class", "dog")
    assert result.exit_code == 0, result.output
    assert result.stdout == "wrote out.h5: 4 of 13 regions, 6 units of fc7\n"
    with h5py.File("out.h5") as file:
        assert file["rows"][()].tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["summary", "yolo"], 2, "yolo"),
        (["summary", "rcnn", "--split", "val"], 1, "dvc repro rcnn_features@val"),
        (["summary", "sppnet", "--split", "train"], 1, "dvc repro sppnet_maps@train"),
        (["units", "--split", "val"], 1, "dvc repro rcnn_features@val"),
        (["units", "--units", "1;2"], 2, "1;2"),
        (["units", "--units", "6"], 1, "units 0 to 5"),
        (["units", "--layer", "fc9"], 1, "fc9 is not cached, only fc7"),
        (["diff", "rcnn"], 2, "'B'"),
        (["diff", "rcnn", "sppnet"], 1, "no layer is in both"),
        (["diff", "rcnn", "elsewhere/features/sppnet/val.zarr"], 1, "dvc repro sppnet_maps@val"),
        (["diff", "rcnn", "rcnn", "--svm", "absent"], 1, "absent"),
        (["export", "out.csv"], 2, ".npz"),
        (["export", "out.h5", "--rows", "5"], 2, "100:200"),
        (["export", "out.h5", "--rows", "a:b"], 2, "100:200"),
        (["export", "out.h5", "--images", "1,x"], 2, "1,x"),
        (["export", "out.h5", "--class", "cow"], 1, "cow"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(project, arguments, code, words):
    result = project(*arguments)
    assert result.exit_code == code, result.output
    assert words in result.stderr
    if code == 1:
        assert result.stderr.startswith("error: ")
        assert result.stderr.count("\n") == 1
    assert not Path("out.h5").exists()


def test_without_any_cache_or_index_the_stage_is_named(project):
    shutil.rmtree("data")
    assert "dvc repro index" in project("units").stderr
    shutil.rmtree("features")
    assert "dvc repro rcnn_features@test" in project("summary").stderr


def test_names_of_caches():
    assert cache_named("rcnn", "val")[0].stage == "rcnn_features@val"
    assert cache_named("sppnet:cells", "test")[1] == "cells"
    file, layer = cache_named("/runs/2024:05/features/rcnn/train.zarr", "test")
    assert (file.path.as_posix(), file.stage, layer) == (
        "/runs/2024:05/features/rcnn/train.zarr",
        "rcnn_features@train",
        None,
    )
    file, layer = cache_named("copy.zarr:fc7", "val")
    assert (str(file.path), file.stage, layer) == ("copy.zarr", "rcnn_features@test", "fc7")
