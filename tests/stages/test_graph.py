"""The whole graph on the tiny preset: what runs, what runs again, and what does not."""

import json
import re
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("tiny")]  # one worker makes the project

RCNN = "systems/rcnn/dvc.yaml:"


def stages_run(output: str) -> set[str]:
    return set(re.findall(r"^Running stage '(.+)':", output, re.MULTILINE))


def edited(project, path: str, old: str, new: str) -> set[str]:
    """Return the stages that `dvc repro` would run after an edit of one file, which is taken back."""
    file = project.folder / path
    before = file.read_text()
    assert old in before
    file.write_text(before.replace(old, new, 1))
    try:
        project.run("dvc", "repro", "--single-item", "code")
        return stages_run(project.run("dvc", "repro", "--dry"))
    finally:
        file.write_text(before)
        project.run("dvc", "repro", "--single-item", "code")


def test_everything_is_made_and_nothing_is_made_twice(tiny) -> None:
    for made in (
        "data/index/train.json",
        "proposals/test.h5",
        "models/backbones/small.safetensors",
        "models/rcnn/svm.safetensors",
        "features/rcnn/val.zarr/zarr.json",
        "detections/rcnn.json",
        "reports/scores/rcnn.json",
        "reports/speed/rcnn.json",
        "reports/plots/accuracy_time.csv",
        "reports/index.html",
        "reports/summary/summary.md",
    ):
        assert (tiny.folder / made).is_file(), made
    metrics = json.loads((tiny.folder / "reports/metrics/rcnn.json").read_text())
    assert {"map_voc07", "map_voc", "map_coco", "per_class", "errors", "by_size", "intervals"} <= metrics.keys()
    assert not (tiny.folder / ".scratch").exists() or not list((tiny.folder / ".scratch").iterdir())
    assert stages_run(tiny.run("dvc", "repro")) == set()
    assert "up to date" in tiny.run("dvc", "status")


def test_the_number_of_workers_and_the_device_make_nothing_again(tiny) -> None:
    before = (tiny.folder / "params.yaml").read_text()
    tiny.set("tiny", "runtime.workers=1", "runtime.device=cpu", "runtime.image_cache_mb=7")
    assert "up to date" in tiny.run("dvc", "status")
    (tiny.folder / "params.yaml").write_text(before)


def test_training_curves_are_shown_even_of_a_short_run(tiny) -> None:
    for stage in ("shared/pretrain_small", "rcnn/finetune"):
        (curve,) = Path(tiny.folder / "reports/stages" / stage).glob("curves/*.tsv")
        assert len(curve.read_text().splitlines()) > 4


def test_an_edit_reaches_the_stages_that_its_meaning_reaches(tiny) -> None:
    assert edited(tiny, "pipeline/data/coco.py", '"""', '"""Another sentence. ') == set()
    reader = edited(tiny, "pipeline/data/coco.py", "\n\n\ndef read_coco", "\n\nNEW = 1\n\n\ndef read_coco")
    assert reader == {"index"}
    loss = edited(tiny, "pipeline/systems/ssd/training.py", "import torch\n", "import torch\n\nNEW = 1\n")
    assert "systems/ssd/dvc.yaml:train" in loss
    assert all("ssd" in stage or stage == "report" for stage in loss)
    assert edited(tiny, "pipeline/report/templates/page.css", "5.7rem", "6rem") == {"report"}


def test_a_system_taken_away_runs_nothing_of_the_others(tiny) -> None:
    before = (tiny.folder / "params.yaml").read_text()
    tiny.set("tiny", "systems=[ssd, rcnn]", "runtime.workers=2")
    assert stages_run(tiny.run("dvc", "repro", "--dry")) == {"report"}
    (tiny.folder / "params.yaml").write_text(before)


def test_another_backbone_runs_its_making_and_the_systems_that_start_from_it(tiny) -> None:
    before = (tiny.folder / "params.yaml").read_text()
    listed = "backbones.squeezenet1_0={init: random, weights: data/weights/squeezenet1_0}"
    tiny.set("tiny", "yolo.backbone=squeezenet1_0", listed, "runtime.workers=2")
    changed = {"fetch_weights@squeezenet1_0", "pretrain@squeezenet1_0", "systems/yolo/dvc.yaml:train", "report"}
    assert set(json.loads(tiny.run("dvc", "status", "--json"))) == changed
    (tiny.folder / "params.yaml").write_text(before)


def test_another_svm_runs_the_svms_and_what_follows_and_no_features(tiny) -> None:
    tiny.set("tiny", "rcnn.svm.C=0.01", "runtime.workers=2")
    assert set(json.loads(tiny.run("dvc", "status", "--json"))) == {f"{RCNN}svm"}
    following = {f"{RCNN}svm", f"{RCNN}detect", "evaluate@rcnn", "timing@rcnn", "report"}
    assert stages_run(tiny.run("dvc", "repro")) == following
    tiny.set("tiny", "runtime.workers=2")
    again = tiny.run("dvc", "repro")
    assert stages_run(again) == set(), "DVC's run cache has the outputs of the first run"
