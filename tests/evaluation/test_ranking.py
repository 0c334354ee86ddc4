import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.boxes import iou
from pipeline.evaluation.voc import Ranking, rank

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


def test_best_f1_score():
    correct = np.array([True, False, True, False, False])
    ranking = Ranking(np.array([5, 4, 3, 2, 1], np.float32), correct, positives=2)
    # F1 along the ranking: 2/3, 1/2, 4/5, 2/3, 4/7
    assert ranking.best_f1_score() == 3
    assert Ranking(np.array([-3.0], np.float32), np.array([False]), 2).best_f1_score() == math.inf
    assert Ranking(np.zeros(0, np.float32), np.zeros(0, np.bool_), 2).best_f1_score() == math.inf


def test_best_f1_score_takes_equal_scores_together():
    tied = Ranking(np.array([9, 5, 5, 5], np.float32), np.array([True, True, False, False]), positives=4)
    # Accepting from 9 on: 2/5; from 5 on: 4/8. The 4/6 in the middle of the tie cannot be had.
    assert tied.best_f1_score() == 5


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
@settings(max_examples=150, deadline=None)
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
