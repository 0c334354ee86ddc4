"""The stages fetch and index, run in a folder of their own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from pipeline.core.errors import InputError
from pipeline.core.storage import read_json
from pipeline.data.index import Index
from stages import fetch

ROOT = Path(__file__).resolve().parents[2]
SMALL = {"train": 3, "val": 1, "test": 2, "size": 96, "objects": [1, 2], "side": [24, 40]}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Return a function that starts a project with some keys of the section ``data`` changed."""

    def start(**data: Any) -> Path:
        yaml = YAML()
        content = yaml.load((ROOT / "params.yaml").read_text(encoding="utf-8"))
        content["data"].update(data)
        folder = tmp_path / "project"
        folder.mkdir(exist_ok=True)
        yaml.dump(content, folder / "params.yaml")
        monkeypatch.chdir(folder)
        return folder

    return start


def test_digits_are_made_and_indexed(run_stage: Callable, project: Callable, capsys: pytest.CaptureFixture) -> None:
    folder = project(source="digits", root="data/fetched", digits=SMALL)
    run_stage("fetch")
    run_stage("index")
    train = Index.load(folder / "data/index/train.json")
    assert [image.file for image in train.images] == [f"JPEGImages/train_0000{i}.png" for i in range(3)]
    report = read_json(folder / "data/index/report.json")
    assert report["splits"]["test"]["images"] == 2
    assert report["dropped_boxes"] == 0
    assert "problems: 0" in capsys.readouterr().out
    assert sorted(path.name for path in (folder / "data").iterdir()) == ["fetched", "index"]
    before = {path: path.read_bytes() for path in (folder / "data").rglob("*.*")}
    run_stage("fetch")
    run_stage("index")
    assert before == {path: path.read_bytes() for path in (folder / "data").rglob("*.*")}


def test_a_folder_of_the_users_is_left_alone(run_stage: Callable, project: Callable, voc: Any) -> None:
    for i in range(5):
        voc.pair(f"{i}")
    before = sorted(voc.root.rglob("*"))
    for source in ("voc", "voc2007"):
        folder = project(source=source, root=str(voc.root))
        run_stage("fetch")
        assert [path.name for path in (folder / "data/fetched").iterdir()] == ["README.txt"]
    project(source="voc", root=str(voc.root))
    run_stage("index")
    assert sorted(voc.root.rglob("*")) == before
    assert str(voc.root) not in (folder / "data/index/report.json").read_text(encoding="utf-8")


def test_a_folder_is_recognised_in_the_stages(run_stage: Callable, project: Callable, tmp_path: Path) -> None:
    from PIL import Image

    root = tmp_path / "yolo"
    for i, split in enumerate(("train", "val", "test")):
        for kind in ("images", "labels"):
            (root / split / kind).mkdir(parents=True)
        Image.new("RGB", (100, 80), (i, 0, 0)).save(root / split / "images/a.png")
        (root / split / "labels/a.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    (root / "classes.txt").write_text("cat\n")
    folder = project(source="auto", root=str(root))
    run_stage("fetch")
    run_stage("index")
    (image,) = Index.load(folder / "data/index/val.json").images
    assert (image.file, image.boxes.tolist()) == ("val/images/a.png", [[25, 20, 75, 60]])
    notes = read_json(folder / "data/index/report.json")["notes"]
    assert notes["layout recognised"][0].startswith("YOLO text: 3 text files")


def test_sources_and_roots_that_do_not_go_together(run_stage: Callable, project: Callable) -> None:
    for source, root in (
        ("digits", "mine"),
        ("voc", "data/fetched"),
        ("coco", "data/fetched"),
        ("auto", "data/fetched"),
    ):
        project(source=source, root=root)
        with pytest.raises(InputError, match=f"data.root is {root}; with source {source} it must be"):
            run_stage("fetch")


def test_a_download_goes_to_scratch_and_a_failed_one_leaves_no_output(
    run_stage: Callable, project: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = project(source="voc2012", root="data/fetched", mirror="http://127.0.0.1:1")
    calls = []

    def refuse(*arguments: Any) -> None:
        calls.append(arguments)
        raise InputError("no network")

    monkeypatch.setattr(fetch, "fetch_voc", refuse)
    with pytest.raises(InputError, match="no network"):
        run_stage("fetch")
    _, archives, downloads, mirror = calls[0]
    assert ([archive.name for archive in archives], downloads.as_posix(), mirror) == (
        ["VOCtrainval_11-May-2012.tar"],
        ".scratch/fetch",
        "http://127.0.0.1:1",
    )
    assert not (folder / "data/fetched").exists()


def test_a_failed_check_leaves_no_index(run_stage: Callable, project: Callable, voc: Any) -> None:
    voc.xml("orphan")
    folder = project(source="voc", root=str(voc.root))
    with pytest.raises(InputError, match="2 problems"):
        run_stage("index")
    assert not (folder / "data/index").exists()
