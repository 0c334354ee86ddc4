import shutil
import subprocess
import sys

import pytest
from ruamel.yaml import YAML

from pipeline.core.errors import InputError
from pipeline.core.storage import write_json
from pipeline.evaluation.metrics import metrics, rankings
from stages import report

LOCK = """
schema: '2.0'
stages:
  rcnn_features@test: {cmd: a, outs: [{path: features/rcnn/test.zarr, hash: md5, md5: 0, size: 2000000, nfiles: 9}]}
  rcnn_features@val: {cmd: a, outs: [{path: features/rcnn/val.zarr, hash: md5, md5: 0, size: 1000000, nfiles: 9}]}
  rcnn_finetune: {cmd: a, outs: [{path: models/net.safetensors, hash: md5, md5: 0, size: 5}]}
  index: {cmd: a, outs: [{path: data/index/test.json, hash: md5, md5: 0, size: 7}]}
  nothing: {cmd: a}
"""


@pytest.fixture
def project(tmp_path, monkeypatch, pytestconfig, indices, detections):
    yaml = YAML()
    content = yaml.load((pytestconfig.rootpath / "params.yaml").read_text())
    content["data"]["root"] = "photos"
    yaml.dump(content, tmp_path / "params.yaml")
    monkeypatch.chdir(tmp_path)
    for split, index in indices.items():
        index.save(tmp_path / f"data/index/{split}.json")
    found, test = detections["rcnn"], indices["test"]
    found.save(tmp_path / "detections/rcnn.json")
    write_json(tmp_path / "reports/metrics/rcnn.json", metrics(test, found, rankings(test, found, 0.5), {}, 0.5))
    write_json(tmp_path / "reports/metrics/proposals_test.json", {"mabo": 0.8})
    return tmp_path


def test_writes_the_page_and_says_where(project, read_page, capsys):
    report.main()
    text = (project / "reports/index.html").read_text(encoding="utf-8")
    page = read_page(text)
    assert len(page.find("data", inside=("data-system", "rcnn"))) == 3
    assert [value.text for value in page.find("data", inside=("data-proposals", "test"))] == ["0.8"]
    assert str(project) not in text
    printed = capsys.readouterr().out
    assert "R-CNN" in printed
    assert printed.splitlines()[-2:] == [
        "The page: reports/index.html",
        "The tables: reports/summary.md, reports/summary.csv",
    ]
    assert (project / "reports/summary.txt").read_text(encoding="utf-8") == printed
    assert "| R-CNN | " in (project / "reports/summary.md").read_text(encoding="utf-8")
    assert "accuracy,rcnn,map_voc07,0." in (project / "reports/summary.csv").read_text(encoding="utf-8")
    assert (project / "reports/plots/accuracy_time.csv").read_text() == "system,ms,map_voc07,map_coco\n"


def test_the_page_does_not_depend_on_where_it_was_made(project, tmp_path_factory, monkeypatch):
    report.main()
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "copy"
    shutil.copytree(project, elsewhere)
    monkeypatch.chdir(elsewhere)
    report.main()
    assert (elsewhere / "reports/index.html").read_bytes() == (project / "reports/index.html").read_bytes()


def test_sizes_are_those_of_the_lock(project, read_page):
    (project / "dvc.lock").write_text(LOCK)
    report.main()
    page = read_page((project / "reports/index.html").read_text(encoding="utf-8"))
    rows = [row.attributes["data-artifact"] for row in page.find("tr") if "data-artifact" in row.attributes]
    assert rows == ["features/rcnn", "models/net.safetensors"]
    shown = [cell.text for cell in page.find("td", inside=("data-artifact", "features/rcnn"))]
    assert shown == ["3 MB"]


def test_errors_and_svd_are_read_where_they_are(project, read_page):
    rows = "errors,Loc,Sim,Oth,BG\n1,1,0,0,0\n2,0.5,0,0.5,0\n"
    (project / "reports/plots/errors").mkdir(parents=True)
    (project / "reports/plots/errors/rcnn.csv").write_text(rows)
    report.main()
    page = read_page((project / "reports/index.html").read_text(encoding="utf-8"))
    assert page.find("path", inside=("data-trend", "rcnn"))


def test_metrics_without_detections(project):
    (project / "detections/rcnn.json").unlink()
    with pytest.raises(InputError, match=r"detections/rcnn\.json: .* `dvc repro rcnn_detect` writes it"):
        report.main()


def test_nothing_here_imports_torch(pytestconfig):
    code = "import sys, stages.report; sys.exit(bool({'torch', 'matplotlib', 'cv2', 'sklearn'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=pytestconfig.rootpath)
