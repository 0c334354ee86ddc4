import json
import shutil

import pytest

from pipeline.core.storage import write_json

FILES = (
    "metrics/rcnn.json",
    "scores/rcnn.json",
    "costs/rcnn.json",
    "errors/rcnn.csv",
    "mean_precision_recall/rcnn.csv",
    "precision_recall/rcnn.csv",
    "f1/rcnn.csv",
    "shown/rcnn.json",
)


@pytest.fixture
def project(tmp_path, monkeypatch, request):
    shutil.copy(request.config.rootpath / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_writes_metrics_and_curves(project, run_stage, make_index, make_detections, capsys):
    box = (10, 10, 30, 30)
    make_index(["a", "b"], [(1, box)]).save(project / "data/index/test.json")
    make_detections((1, 1, box, 0.9)).save(project / "detections/rcnn.json")
    write_json(project / "reports/stages/rcnn/svm/cost.json", {"seconds": 1.5})
    for stage, machine in (("finetune", "b"), ("features", "a"), ("detect", "b")):
        write_json(project / f"reports/stages/rcnn/{stage}/cost.json", {"machine": machine})
    run_stage("evaluate", "rcnn")
    written = json.loads((project / "reports/metrics/rcnn.json").read_text())
    assert written["map_voc07"] == 1
    assert written["per_class"] == {"a": 1, "b": None}
    assert (project / "reports/precision_recall/rcnn.csv").read_text() == "class,recall,precision\na,1.0,1.0\n"
    assert (project / "reports/errors/rcnn.csv").read_text() == "errors,Loc,Sim,Oth,BG\n"
    assert written["by_size"] == {"small": 1, "medium": None, "large": None}
    assert written["intervals"]["map_coco"] == {"low": 1, "high": 1}
    scores = json.loads((project / "reports/scores/rcnn.json").read_text())
    assert scores == {"rcnn": {"map_voc07": 1, "map_coco": 1, "made_on": ["a", "b"]}}
    assert json.loads((project / "reports/costs/rcnn.json").read_text())["svm"] == {"seconds": 1.5}
    assert json.loads((project / "reports/shown/rcnn.json").read_text())["images"][0]["detected_at"] == [0.9]
    assert (project / "reports/f1/rcnn.csv").read_text() == "class,score,f1\na,0.9,1.0\n"
    thresholds = json.loads((project / "models/thresholds/rcnn.json").read_text())
    assert thresholds == {"system": "rcnn", "thresholds": {"a": 0.9, "b": 0.9}}
    assert (project / "reports/curves/rcnn").is_dir()
    assert "rcnn: map_voc07 1.0000 (1.0000 to 1.0000)" in capsys.readouterr().out


def test_a_system_that_localises_has_errors_in_place_of_ap(project, run_stage, make_index, make_detections, capsys):
    box = (10, 10, 30, 30)
    make_index([*"abcde"], [(1, box)], [(2, box)]).save(project / "data/index/test.json")
    make_detections((1, 1, box, 0.9), (2, 1, box, 0.8), (2, 2, box, 0.1)).save(project / "detections/rcnn.json")
    write_json(project / "reports/stages/rcnn/detect/metrics.json", {"task": "localise"})
    run_stage("evaluate", "rcnn")
    written = json.loads((project / "reports/metrics/rcnn.json").read_text())
    assert written["localisation_error_top1"] == written["classification_error_top1"] == 0.5
    assert written["localisation_error_top5"] == 0
    assert written["intervals"]["localisation_error_top1"] == {"low": 0, "high": 1}
    assert "map_voc07" not in written
    scores = json.loads((project / "reports/scores/rcnn.json").read_text())
    assert scores == {"rcnn": {"localisation_error_top1": 0.5, "localisation_error_top5": 0, "made_on": []}}
    for kind in ("errors", "precision_recall", "mean_precision_recall", "f1"):
        assert len((project / f"reports/{kind}/rcnn.csv").read_text().splitlines()) == 1, kind
    assert len(json.loads((project / "reports/shown/rcnn.json").read_text())["images"]) == 2
    assert (project / "models/thresholds/rcnn.json").exists()
    assert "rcnn: localisation_error_top1 0.5000 (0.0000 to 1.0000)" in capsys.readouterr().out


def test_a_test_set_without_objects(project, run_stage, make_index, make_detections, capsys):
    make_index(["a"], []).save(project / "data/index/test.json")
    make_detections().save(project / "detections/rcnn.json")
    (project / "reports/stages/rcnn").mkdir(parents=True)
    run_stage("evaluate", "rcnn")
    assert capsys.readouterr().out.splitlines()[0] == "rcnn: map_voc07 none"


def test_the_same_bytes_twice(project, run_stage, voc100):
    voc100.index.save(project / "data/index/test.json")
    voc100.detections.save(project / "detections/rcnn.json")
    outputs = []
    for _ in range(2):
        run_stage("evaluate", "rcnn")
        outputs.append([(project / "reports" / name).read_bytes() for name in FILES])
    assert outputs[0] == outputs[1]
