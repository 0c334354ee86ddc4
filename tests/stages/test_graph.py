"""The whole graph on the tiny preset: what runs, what runs again, and what does not."""

import json
import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def stages_run(output: str) -> list[str]:
    return re.findall(r"^Running stage '(.+)':", output, re.MULTILINE)


def test_everything_is_made_and_nothing_is_made_twice(tiny) -> None:
    for made in (
        "data/index/train.json",
        "proposals/test.h5",
        "models/backbone.safetensors",
        "models/rcnn/svm.safetensors",
        "features/rcnn/val.zarr/zarr.json",
        "detections/rcnn.json",
        "reports/scores/rcnn.json",
        "reports/speed/rcnn.json",
        "reports/plots/mean_pr/ssd.csv",
        "reports/plots/accuracy_time.csv",
        "reports/index.html",
        "reports/summary.md",
    ):
        assert (tiny.folder / made).is_file(), made
    metrics = json.loads((tiny.folder / "reports/metrics/rcnn.json").read_text())
    assert {"map_voc07", "map_voc", "map_coco", "per_class", "errors", "by_size", "intervals"} <= metrics.keys()
    assert not (tiny.folder / ".scratch").exists() or not list((tiny.folder / ".scratch").iterdir())
    assert stages_run(tiny.run("dvc", "repro")) == []


def test_the_number_of_workers_and_the_device_make_nothing_again(tiny) -> None:
    before = (tiny.folder / "params.yaml").read_text()
    tiny.set("runtime.workers=1", "runtime.device=cpu", "runtime.image_cache_mb=7")
    assert "up to date" in tiny.run("dvc", "status")
    (tiny.folder / "params.yaml").write_text(before)


def test_training_curves_are_shown_even_of_a_short_run(tiny) -> None:
    for stage in ("pretrain", "rcnn_finetune"):
        (curve,) = Path(tiny.folder / "reports/plots" / stage).glob("*.tsv")
        assert len(curve.read_text().splitlines()) > 4


def test_another_svm_runs_the_svms_and_what_follows_and_no_features(tiny) -> None:
    tiny.set("rcnn.svm.C=0.01")
    changed = json.loads(tiny.run("dvc", "status", "--json"))
    # The report shows the parameters.
    assert set(changed) - {"report"} == {"rcnn_svm"}
    assert stages_run(tiny.run("dvc", "repro")) == ["rcnn_svm", "rcnn_detect", "evaluate@rcnn", "timing@rcnn", "report"]
    tiny.set("rcnn.svm.C=0.001")
    again = tiny.run("dvc", "repro")
    assert stages_run(again) == [], "DVC's run cache has the outputs of the first run"
