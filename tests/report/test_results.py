"""The files of a finished run, read and put on the page by the stage."""

import platform
import shutil
import subprocess
import sys

import numpy as np
import pytest
from ruamel.yaml import YAML

from pipeline.core.storage import write_csv, write_json
from pipeline.report import results
from pipeline.report.results import Results, artifact_sizes, read, versions

LOCK = """
schema: '2.0'
stages:
  features@test: {cmd: a, outs: [{path: features/rcnn/test.zarr, hash: md5, md5: 0, size: 2000000, nfiles: 9}]}
  finetune: {cmd: a, outs: [{path: models/net.safetensors, hash: md5, md5: 0, size: 5}]}
  index: {cmd: a, outs: [{path: data/index/test.json, hash: md5, md5: 0, size: 7}]}
  nothing: {cmd: a}
"""


@pytest.fixture
def project(tmp_path, monkeypatch, pytestconfig, indices, make_results):
    """Return a project in which R-CNN alone is evaluated."""
    yaml = YAML()
    content = yaml.load((pytestconfig.rootpath / "params.yaml").read_text())
    content["data"]["root"] = "photos"
    yaml.dump(content, tmp_path / "params.yaml")
    monkeypatch.chdir(tmp_path)
    for split, index in indices.items():
        index.save(tmp_path / f"data/index/{split}.json")
    made = make_results(["rcnn"])
    write_json(tmp_path / "reports/metrics/rcnn.json", made.metrics["rcnn"])
    write_json(tmp_path / "reports/shown/rcnn.json", made.shown["rcnn"])
    for kind, columns in {
        "errors": ["errors", "Loc"],
        "precision_recall": ["class", "recall", "precision"],
        "mean_precision_recall": ["recall", "precision"],
        "f1": ["class", "score", "f1"],
    }.items():
        write_csv(tmp_path / f"reports/{kind}/rcnn.csv", columns, [])
    write_json(tmp_path / "reports/stages/shared/proposals_test/metrics.json", {"mabo": 0.8})
    return tmp_path


def test_the_stage_writes_the_page_and_says_where(project, run_stage, read_page, capsys):
    run_stage("report")
    text = (project / "reports/index.html").read_text(encoding="utf-8")
    page = read_page(text)
    assert len(page.find("data", inside=("data-system", "rcnn"))) == 3
    assert [value.text for value in page.find("data", inside=("data-proposals", "test"))] == ["0.8"]
    assert str(project) not in text
    printed = capsys.readouterr().out
    assert "R-CNN" in printed
    assert printed.splitlines()[-2:] == [
        "The page: reports/index.html",
        "The tables: reports/summary/summary.md, reports/summary/summary.csv",
    ]
    assert (project / "reports/summary/summary.txt").read_text(encoding="utf-8") == printed
    assert "| R-CNN | " in (project / "reports/summary/summary.md").read_text(encoding="utf-8")
    assert "accuracy,rcnn,map_voc07,0." in (project / "reports/summary/summary.csv").read_text(encoding="utf-8")
    assert (project / "reports/plots/accuracy_time.csv").read_text() == "system,ms,map_voc07,map_coco\n"


def test_the_page_does_not_depend_on_where_it_was_made(project, run_stage, tmp_path_factory, monkeypatch):
    run_stage("report")
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "copy"
    shutil.copytree(project, elsewhere)
    monkeypatch.chdir(elsewhere)
    run_stage("report")
    assert (elsewhere / "reports/index.html").read_bytes() == (project / "reports/index.html").read_bytes()


def test_systems_that_are_not_listed_or_not_evaluated_are_absent(project):
    assert list(read(project, ["ssd", "rcnn"], "voc", {}).systems) == ["rcnn"]
    assert list(read(project, ["ssd"], "voc", {}).systems) == []


def test_everything_is_read_where_it_is(project):
    errors = {"errors": 1, "Loc": 1.0, "Sim": 0.0, "Oth": 0.0, "BG": 0.0}
    write_csv(project / "reports/errors/rcnn.csv", list(errors), [errors.values()])
    curve = project / "reports/precision_recall/rcnn.csv"
    write_csv(curve, ["class", "recall", "precision"], [("car, red", 0.5, 1.0), ("car, red", 1.0, 0.75)])
    write_json(project / "reports/costs/rcnn.json", {"svm": {"seconds": 1.5, "metrics": {"positives": 3}}})
    write_json(project / "reports/stages/shared/pretrain_small/cost.json", {"seconds": 2.5})
    write_json(project / "reports/stages/shared/pretrain_vgg16/cost.json", {"seconds": 9})  # no longer listed
    found = read(project, ["rcnn"], "voc", {"backbones": {"small": {}}})
    assert found.errors == {"rcnn": [errors]}
    assert found.curves == {"rcnn": {"car, red": [(0.5, 1.0), (1.0, 0.75)]}}
    assert found.costs == {"shared": {"pretrain_small": {"seconds": 2.5}}, "rcnn": {"svm": {"seconds": 1.5}}}
    assert found.stage_figures == {"rcnn/svm": {"positives": 3}}
    assert found.proposals == {"test": {"mabo": 0.8}}


def test_owners_in_print(make_results):
    made: Results = make_results(["rcnn"])
    assert [made.owner(name) for name in ("rcnn", "shared")] == ["R-CNN", "shared"]


def test_sizes_are_those_of_all_locks_and_of_what_is_there(project):
    assert artifact_sizes(project) == {}
    (project / "dvc.lock").write_text(LOCK)
    (project / "systems/ssd").mkdir(parents=True)
    (project / "systems/ssd/dvc.lock").write_text(LOCK.replace("net.safetensors", "ssd"))
    (project / "features/rcnn/test.zarr").mkdir(parents=True)
    (project / "models").mkdir()
    (project / "models/ssd").touch()
    assert read(project, ["rcnn"], "voc", {}).artifacts == {"features/rcnn/test.zarr": 2_000_000, "models/ssd": 5}


def test_versions_are_those_of_the_packages(monkeypatch):
    monkeypatch.setattr(results, "PACKAGES", ("numpy", "no-such-package"))
    assert versions() == {"Python": platform.python_version(), "numpy": np.__version__}


def test_nothing_here_imports_torch(pytestconfig):
    code = "import sys, stages.report; sys.exit(bool({'torch', 'matplotlib', 'cv2', 'sklearn'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=pytestconfig.rootpath)
