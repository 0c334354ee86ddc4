import time

import numpy as np
import pytest

from pipeline.data.index import ImageRecord, Index
from pipeline.evaluation.detections import Detections
from pipeline.evaluation.voc import RECALLS_DEVKIT, RECALLS_PY_FASTER_RCNN, area_ap, eleven_point_ap, rank

WORKED_EXAMPLE = ([0.2, 0.2, 0.4, 3 / 5], [1, 0.5, 2 / 3, 0.75])


def test_worked_example_of_the_two_recall_grids():
    assert eleven_point_ap(*WORKED_EXAMPLE, RECALLS_DEVKIT) == pytest.approx((3 * 1 + 4 * 0.75) / 11)  # .5455
    assert eleven_point_ap(*WORKED_EXAMPLE, RECALLS_PY_FASTER_RCNN) == pytest.approx((3 * 1 + 3 * 0.75) / 11)  # .4773
    assert eleven_point_ap(*WORKED_EXAMPLE) == pytest.approx(0.5455, abs=5e-5)


def test_area_of_the_worked_example():
    assert area_ap(*WORKED_EXAMPLE) == pytest.approx(0.2 * 1 + 0.4 * 0.75)


def test_nothing_detected_scores_zero():
    assert eleven_point_ap([], []) == 0
    assert area_ap([], []) == 0


def test_every_class_equals_py_faster_rcnn(voc100):
    eleven, area = [], []
    for label, name in enumerate(voc100.index.classes, 1):
        ranking = rank(voc100.index, voc100.detections, label, strict=True)
        eleven.append(eleven_point_ap(ranking.recall, ranking.precision, RECALLS_PY_FASTER_RCNN))
        area.append(area_ap(ranking.recall, ranking.precision))
        assert (eleven[-1], area[-1]) == pytest.approx(voc100.expected[name], abs=1e-6), name
    assert np.mean(eleven) == pytest.approx(0.607511, abs=1e-6)
    assert np.mean(area) == pytest.approx(0.613875, abs=1e-6)


def test_the_devkit_s_rules_never_score_below_py_faster_rcnn_s(voc100):
    """Both differences make the devkit milder: an overlap of exactly 0.5 counts, a recall of exactly 0.6 too."""
    for label, name in enumerate(voc100.index.classes, 1):
        ranking = rank(voc100.index, voc100.detections, label)
        assert eleven_point_ap(ranking.recall, ranking.precision) >= voc100.expected[name][0] - 1e-9


def test_a_split_of_the_size_of_voc2007_takes_seconds():
    rng = np.random.default_rng(0)
    count, classes = 5000, 20
    corners = rng.uniform(0, 300, (count, 3, 2)).astype(np.float32)
    truth = np.concatenate([corners, corners + 80], axis=2)
    images = [
        ImageRecord(i, f"{i}.jpg", 500, 500, "", boxes, rng.integers(1, classes + 1, 3), np.zeros(3, np.bool_))
        for i, boxes in enumerate(truth, 1)
    ]
    starts = rng.uniform(0, 300, (count * 100, 2)).astype(np.float32)
    detections = Detections(
        np.repeat(np.arange(1, count + 1), 100),
        rng.integers(1, classes + 1, count * 100),
        np.concatenate([starts, starts + 80], axis=1),
        rng.random(count * 100, np.float32),
    )
    index = Index(tuple(f"class {i}" for i in range(classes)), tuple(images))
    start = time.perf_counter()
    rankings = [rank(index, detections, label) for label in range(1, classes + 1)]
    assert time.perf_counter() - start < 20  # about 2 s on one quiet core
    assert sum(len(ranking.scores) for ranking in rankings) == count * 100
