"""F1 by hand, and the file from which `boxline predict` takes its thresholds."""

import csv
import json

import numpy as np
import pytest
from sklearn.metrics import f1_score

from pipeline.core.errors import InputError
from pipeline.evaluation import operating
from pipeline.evaluation.operating import OperatingPoint, curve, operating_point, thresholds
from pipeline.evaluation.voc import Ranking


def ranking(scores, correct, positives):
    return Ranking(np.array(scores, np.float32), np.array(correct, np.bool_), positives)


# F1 along it: 2/3, 1/2, 4/5, 2/3, 4/7.
FIVE = ranking([5, 4, 3, 2, 1], [True, False, True, False, False], 2)
WRONG = ranking([-3], [False], 2)
EMPTY = ranking([], [], 2)


def test_the_best_f1():
    assert operating_point(FIVE) == OperatingPoint(3, 0.8, round(2 / 3, 6), 1)
    assert operating_point(WRONG) is operating_point(EMPTY) is None
    assert operating_point(ranking([1], [False], 0)) is None


def test_equal_scores_are_accepted_together():
    """Accepting from 9 on: 2/5; from 5 on: 4/8. The 4/6 in the middle of the tie cannot be had."""
    tied = ranking([9, 5, 5, 5], [True, True, False, False], 4)
    assert operating_point(tied) == OperatingPoint(5, 0.5, 0.5, 0.5)
    assert curve(tied) == [(9, 0.4), (5, 0.5)]


def test_the_best_f1_is_scikit_learn_s():
    rng = np.random.default_rng(0)
    scores = np.sort(rng.integers(0, 40, 200) / 8)[::-1]
    correct = rng.random(200) < scores / 5
    point = operating_point(ranking(scores, correct, int(correct.sum())))
    by_score = {score: f1_score(correct, scores >= score) for score in np.unique(scores)}
    assert point.score == max(by_score, key=by_score.get)
    assert point.f1 == pytest.approx(max(by_score.values()), abs=1e-6)


def test_a_class_without_a_correct_detection_takes_the_threshold_of_all():
    """F1 of both, with four objects, from each score down: 2/5, 1/3, 4/7, 1/2, 4/9, 2/5."""
    assert thresholds({"a": FIVE, "b": WRONG}) == {"a": 3, "b": 3}
    assert thresholds({"b": WRONG, "c": EMPTY}) == {"b": None, "c": None}


def test_the_curve_s_points_are_its_peaks_thinned():
    assert curve(FIVE) == [(5, round(2 / 3, 6)), (3, 0.8)]
    assert curve(WRONG) == curve(ranking([2], [False], 0)) == []
    long = ranking(np.arange(2000, 0, -1), np.tile([True, False], 1000), 1000)
    points = curve(long)
    assert len(points) == 100
    assert (points[0][0], points[-1][0]) == (2000, 2)


def test_the_table_of_curves(tmp_path):
    operating.write_curves(tmp_path / "f1.csv", {'a, "b"': FIVE, "c": EMPTY})
    with (tmp_path / "f1.csv").open(newline="") as stream:
        assert list(csv.reader(stream)) == [
            ["class", "score", "f1"],
            ['a, "b"', "5.0", "0.666667"],
            ['a, "b"', "3.0", "0.8"],
        ]


def test_thresholds_come_back_from_the_folder_of_models(tmp_path):
    operating.save(tmp_path / "thresholds/ssd.json", "ssd", {"a": 0.1, "b": None})
    found = operating.load(tmp_path, "ssd", ["b", "a"], otherwise=0.5)
    assert found.tolist() == [0.5, np.float32(0.1)]
    assert operating.load(tmp_path, "yolo", ["a", "b"], otherwise=0.2).tolist() == [np.float32(0.2)] * 2


@pytest.mark.parametrize("content", [{"thresholds": {"a": 1}}, {"thresholds": {"a": 1, "b": "high"}}, {}, []])
def test_thresholds_that_do_not_fit_the_detector_are_a_sentence(tmp_path, content):
    (tmp_path / "thresholds").mkdir()
    (tmp_path / "thresholds/ssd.json").write_text(json.dumps(content))
    with pytest.raises(
        InputError, match=r"thresholds/ssd\.json: holds no score threshold for each of a, b .*evaluate@ssd"
    ):
        operating.load(tmp_path, "ssd", ["a", "b"], otherwise=0.5)
