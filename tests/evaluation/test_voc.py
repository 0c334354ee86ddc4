"""VOC's matching and average precision: by hand, against the devkit's loop and py-faster-rcnn's figures."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.boxes import iou
from pipeline.data.index import ImageRecord, Index
from pipeline.evaluation.detections import Detections
from pipeline.evaluation.voc import (
    RECALLS_DEVKIT,
    RECALLS_PY_FASTER_RCNN,
    Ranking,
    area_ap,
    eleven_point_ap,
    pooled,
    rank,
    voc_verdicts,
)

FAR = (60, 60, 90, 90)
WORKED_EXAMPLE = ([0.2, 0.2, 0.4, 3 / 5], [1, 0.5, 2 / 3, 0.75])
BOX = (10, 10, 30, 30)
HALF = (10, 10, 30, 20)  # overlap with BOX exactly 0.5


def test_a_second_detection_of_an_object_is_wrong(make_index, make_detections):
    index = make_index(["a"], [(1, BOX)])
    ranking = rank(index, make_detections((1, 1, BOX, 0.8), (1, 1, BOX, 0.9)), 1)
    assert ranking.correct.tolist() == [True, False]
    assert ranking.scores.tolist() == pytest.approx([0.9, 0.8])
    assert ranking.positives == 1


def test_there_is_no_second_choice(make_index, make_detections):
    """The second detection overlaps the claimed object most, so the free one beside it does not help."""
    index = make_index(["a"], [(1, (0, 0, 20, 20)), (1, (4, 0, 24, 20))])
    ranking = rank(index, make_detections((1, 1, (0, 0, 20, 20), 0.9), (1, 1, (1, 0, 21, 20), 0.8)), 1)
    assert iou([1, 0, 21, 20], [4, 0, 24, 20])[0, 0] > 0.5
    assert ranking.correct.tolist() == [True, False]


def test_difficult_objects_drop_their_detections_and_count_for_nothing(make_index, make_detections):
    index = make_index(["a"], [(1, BOX, True), (1, (60, 60, 90, 90))])
    ranking = rank(index, make_detections((1, 1, BOX, 0.9), (1, 1, BOX, 0.8), (1, 1, (60, 60, 90, 90), 0.7)), 1)
    assert ranking.correct.tolist() == [True]
    assert ranking.positives == 1
    assert ranking.recall.tolist() == [1]
    assert ranking.precision.tolist() == [1]


def test_an_overlap_of_exactly_the_threshold(make_index, make_detections):
    index, detections = make_index(["a"], [(1, BOX)]), make_detections((1, 1, HALF, 0.9))
    assert rank(index, detections, 1).correct.tolist() == [True]
    assert rank(index, detections, 1, strict=True).correct.tolist() == [False]
    assert rank(index, detections, 1, iou=0.6).correct.tolist() == [False]


def test_other_classes_and_other_images_do_not_match(make_index, make_detections):
    index = make_index(["a", "b"], [(1, BOX)], [(2, BOX)])
    detections = make_detections((1, 2, BOX, 0.9), (2, 1, BOX, 0.8))
    assert rank(index, detections, 1).correct.tolist() == [False]
    assert rank(index, detections, 2).correct.tolist() == [False]


def test_equal_scores_keep_their_order(make_index, make_detections):
    index = make_index(["a"], [(1, BOX)])
    detections = make_detections((1, 1, (70, 70, 90, 90), 0.5), (1, 1, BOX, 0.5), (1, 1, BOX, 0.5))
    assert rank(index, detections, 1).correct.tolist() == [False, True, False]


def test_without_objects_recall_is_unknown(make_index, make_detections):
    index = make_index(["a", "b"], [(1, BOX), (2, BOX, True)])
    for label, positives in ((1, 1), (2, 0)):
        assert rank(index, make_detections(), label).positives == positives
        assert len(rank(index, make_detections(), label).recall) == 0
    assert np.isnan(rank(index, make_detections((1, 2, (60, 60, 70, 70), 0.9)), 2).recall).all()


def test_classes_are_ranked_together():
    good = Ranking(np.array([0.75, 0.25], np.float32), np.array([True, False]), 1)
    late = Ranking(np.array([0.5], np.float32), np.array([True]), 1)
    together = pooled([good, late])
    assert together.scores.tolist() == [0.75, 0.5, 0.25]
    assert together.correct.tolist() == [True, True, False]
    assert together.positives == 2


@st.composite
def scenes(draw):
    corner = st.integers(0, 12)
    box = st.tuples(corner, corner).flatmap(lambda c: st.just((c[0], c[1], c[0] + 8, c[1] + 8)))
    truth = draw(
        st.lists(st.lists(st.tuples(st.integers(1, 2), box, st.booleans()), max_size=4), min_size=1, max_size=3)
    )
    rows = draw(
        st.lists(st.tuples(st.integers(1, len(truth)), st.integers(1, 2), box, st.integers(-3, 3)), max_size=12)
    )
    return truth, rows


@given(scenes())
@settings(max_examples=150)
def test_equals_the_devkit_s_loop(make_index, make_detections, scene):
    """The rules of SPEC.md section 1, read aloud: one detection after the other, one object after the other."""
    truth, rows = scene
    index, detections = make_index(["a", "b"], *truth), make_detections(*rows)
    expected, claimed = [], set()
    for image, label, box, score in sorted(rows, key=lambda row: -row[3]):
        if label != 1:
            continue
        best, best_overlap = None, -1.0
        for j, (other, object_box, _) in enumerate(truth[image - 1]):
            overlap = float(iou(box, object_box)[0, 0])
            if other == 1 and overlap > best_overlap:
                best, best_overlap = j, overlap
        if best is not None and best_overlap >= 0.5:
            if truth[image - 1][best][2]:
                continue
            expected.append((score, (image, best) not in claimed))
            claimed.add((image, best))
        else:
            expected.append((score, False))
    ranking = rank(index, detections, 1)
    assert list(zip(ranking.scores.tolist(), ranking.correct.tolist(), strict=True)) == expected


def test_images_of_verdicts_are_positions_in_the_index(make_index, make_detections):
    index = make_index(["a", "b"], [(2, BOX)], [(1, BOX), (1, FAR, True)], [(1, BOX), (1, FAR)])
    detections = make_detections((3, 1, BOX, 0.7), (2, 1, FAR, 0.9), (1, 2, BOX, 0.5), (3, 1, (0, 0, 5, 5), 0.8))
    verdicts = voc_verdicts(index, detections, 1, 0.5)
    assert verdicts.images.tolist() == [1, 2, 2]
    assert verdicts.correct.tolist() == [[False, False, True]]
    assert verdicts.ignored.tolist() == [[True, False, False]]
    assert verdicts.objects.tolist() == [0, 1, 2]


def test_worked_example_of_the_two_recall_grids():
    assert eleven_point_ap(*WORKED_EXAMPLE, RECALLS_DEVKIT) == pytest.approx((3 * 1 + 4 * 0.75) / 11)  # .5455
    assert eleven_point_ap(*WORKED_EXAMPLE, RECALLS_PY_FASTER_RCNN) == pytest.approx((3 * 1 + 3 * 0.75) / 11)  # .4773
    assert eleven_point_ap(*WORKED_EXAMPLE) == pytest.approx(0.5455, abs=5e-5)


def test_three_of_ten_objects_reach_a_recall_of_three_tenths():
    """Of ten objects five are found, at ranks 1, 2, 3, 11 and 21. Matlab's 0:.1:1 has .3 + 5.6e-17 and says .3605."""
    correct = np.isin(np.arange(1, 22), [1, 2, 3, 11, 21])
    ranking = Ranking(np.linspace(1, 0, 21, dtype=np.float32), correct, 10)
    assert eleven_point_ap(ranking.recall, ranking.precision) == pytest.approx((4 + 4 / 11 + 5 / 21) / 11)  # .4183
    matlab = RECALLS_DEVKIT.copy()
    matlab[3] += 5.55e-17
    assert eleven_point_ap(ranking.recall, ranking.precision, matlab) == pytest.approx(0.3605, abs=5e-5)


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


def test_a_split_of_the_size_of_voc2007():
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
    rankings = [rank(index, detections, label) for label in range(1, classes + 1)]
    assert sum(len(ranking.scores) for ranking in rankings) == count * 100
