import csv
import json
import subprocess
import sys

import numpy as np
import pytest

from pipeline.evaluation.metrics import (
    curve_points,
    metrics,
    rankings,
    write_curves,
    write_error_trend,
    write_mean_curve,
)
from pipeline.evaluation.voc import Ranking

BOX = (10, 10, 30, 30)


def figures(index, detections, similar=(), iou=0.5):
    return metrics(index, detections, rankings(index, detections, iou), dict(similar), iou)


def test_a_worked_example(make_index, make_detections):
    """Class a: its only object found after a false positive (AP 1/2); class b: nothing found; class c: no object."""
    index = make_index(["a", "b", "c"], [(1, BOX), (2, BOX), (3, BOX, True)])
    found = figures(index, make_detections((1, 1, (60, 60, 90, 90), 0.9), (1, 1, BOX, 0.8), (1, 3, BOX, 0.7)))
    assert found == {
        "map_voc07": 0.25,
        "map_voc": 0.25,
        "map_coco": 0.25,
        "correct": 0.0,
        "errors": {"Loc": 0.0, "Sim": 0.0, "Oth": 0.0, "BG": 1.0},
        "per_class": {"a": 0.5, "b": 0.0, "c": None},
        "by_size": {"small": 0.25, "medium": None, "large": None},
        "ap_costs": dict.fromkeys(("Cls", "Loc", "Both", "Dupe", "Miss"), 0)
        | {"Bkg": 0.25, "FalsePos": 0.25, "FalseNeg": 0},
        "operating": {"a": {"score": 0.8, "f1": 0.666667, "precision": 0.5, "recall": 1}, "b": None, "c": None},
        "confusion": [[1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0], [1, 0, 0, 0]],
    }


def test_data_without_any_object(make_index, make_detections):
    found = figures(make_index(["a"], []), make_detections((1, 1, BOX, 0.9)))
    assert (found["map_voc07"], found["map_voc"], found["map_coco"]) == (None, None, None)
    assert found["per_class"] == {"a": None}
    json.dumps(found, allow_nan=False)


def test_real_detections(voc100):
    """The devkit's rules stay near py-faster-rcnn's means, .607511 and .613875."""
    found = figures(voc100.index, voc100.detections)
    assert found["map_voc07"] == pytest.approx(0.6075, abs=0.02)
    assert found["map_voc"] == pytest.approx(0.6139, abs=0.02)
    assert 0.2 < found["map_coco"] < found["map_voc"]
    assert list(found["per_class"]) == list(voc100.index.classes)
    assert sum(found["errors"].values()) == pytest.approx(1, abs=1e-5)


def test_curve_points_are_the_peaks_thinned():
    correct = np.tile([True, False], 1000)
    ranking = Ranking(np.linspace(1, 0, 2000, dtype=np.float32), correct, 1000)
    points = curve_points(ranking)
    assert points.shape == (100, 2)
    np.testing.assert_allclose(points[0], [1 / 1000, 1])
    np.testing.assert_allclose(points[-1], [1, 1000 / 1999])
    assert (np.diff(points[:, 0]) > 0).all()
    assert len(curve_points(Ranking(ranking.scores, correct, 0))) == 0


def test_the_table_of_errors(tmp_path, make_index, make_detections):
    index = make_index(["a", "b"], [(1, BOX), (2, (60, 60, 90, 90))])
    found = make_detections(
        (1, 1, BOX, 0.9), (1, 1, BOX, 0.8), (1, 1, (0, 60, 20, 90), 0.7), (1, 1, (60, 60, 90, 90), 0.6)
    )
    write_error_trend(tmp_path / "errors.csv", index, found, {}, 0.5)
    assert (tmp_path / "errors.csv").read_text().splitlines() == [
        "errors,Loc,Sim,Oth,BG",
        "1,1.0,0.0,0.0,0.0",
        "2,0.5,0.0,0.0,0.5",
        "3,0.333333,0.0,0.333333,0.333333",
    ]


def test_the_table_of_curves(tmp_path):
    ranked = {'a, "b"': Ranking(np.array([2, 1], np.float32), np.array([False, True]), 3)}
    write_curves(tmp_path / "curves.csv", ranked)
    with (tmp_path / "curves.csv").open(newline="") as stream:
        assert list(csv.reader(stream)) == [["class", "recall", "precision"], ['a, "b"', "0.333333", "0.5"]]


def test_the_mean_curve_by_hand(tmp_path):
    """One class keeps precision 1 up to a recall of 1/2, the other 1/2 up to 1; a third has no object."""
    ranked = {
        "a": Ranking(np.array([1], np.float32), np.array([True]), 2),
        "b": Ranking(np.array([2, 1], np.float32), np.array([False, True]), 1),
        "c": Ranking(np.array([1], np.float32), np.array([False]), 0),
    }
    write_mean_curve(tmp_path / "mean.csv", ranked)
    lines = (tmp_path / "mean.csv").read_text().splitlines()
    assert len(lines) == 102
    assert (lines[0], lines[1], lines[51], lines[52], lines[101]) == (
        *("recall,precision", "0.0,0.75", "0.5,0.75", "0.51,0.25", "1.0,0.25"),
    )
    write_mean_curve(tmp_path / "none.csv", {"c": ranked["c"]})
    assert (tmp_path / "none.csv").read_text() == "recall,precision\n"


def test_nothing_here_imports_torch(pytestconfig):
    code = "import sys, stages.evaluate; sys.exit(bool({'torch', 'matplotlib', 'sklearn'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=pytestconfig.rootpath)
