"""What errors cost: a scene for each type by hand, TIDE's own figures on real detections, and what holds for any."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.boxes import as_boxes
from pipeline.data.index import ImageRecord, Index
from pipeline.evaluation.ap_costs import BKG, BOTH, CLS, CORRECT, DUPE, LOC, MISS, TYPES, ap_costs, judge
from pipeline.evaluation.detections import Detections
from pipeline.evaluation.metrics import metrics, rankings

BOX, OTHER, FAR = (0, 0, 20, 20), (40, 0, 60, 20), (60, 60, 90, 90)
SHIFTED = (0, 10, 20, 30)  # overlap with BOX 1/3


# By TIDE's own code, tidecv 1.0.1: its AP has 101 points, and its matching is COCO's, so the last digits differ.
TIDECV = {
    "Cls": 0.026956,
    "Loc": 0.060432,
    "Both": 0.037538,
    "Dupe": 0.000048,
    "Bkg": 0.138509,
    "Miss": 0.056550,
    "FalsePos": 0.235730,
    "FalseNeg": 0.103898,
}


def nonzero(index, detections):
    return {name: cost for name, cost in ap_costs(index, detections, 0.5).items() if cost}


def types(index, detections):
    return judge(index, detections, 0.5).types.tolist()


def test_a_wrong_class(make_index, make_detections):
    """The a is taken for a b, at .9, before the b: AP 0 and 1/2. Put right both are 1; removed, 0 and 1."""
    index = make_index(["a", "b"], [(1, BOX), (2, OTHER)])
    detections = make_detections((1, 2, BOX, 0.9), (1, 2, OTHER, 0.8))
    assert types(index, detections) == [CLS, CORRECT]
    assert nonzero(index, detections) == {CLS: 0.75, "FalsePos": 0.25}


def test_a_wrong_place(make_index, make_detections):
    """AP 1/2 * 1/2; put right 1, removed 1/2, and 1/2 where only the object that is found counts."""
    index = make_index(["a"], [(1, BOX), (1, OTHER)])
    detections = make_detections((1, 1, SHIFTED, 0.9), (1, 1, OTHER, 0.8))
    assert types(index, detections) == [LOC, CORRECT]
    assert nonzero(index, detections) == {LOC: 0.75, "FalsePos": 0.25, "FalseNeg": 0.25}


def test_both_wrong(make_index, make_detections):
    index = make_index(["a", "b"], [(1, BOX), (2, OTHER)])
    detections = make_detections((1, 2, SHIFTED, 0.9), (1, 2, OTHER, 0.8))
    assert types(index, detections) == [BOTH, CORRECT]
    assert nonzero(index, detections) == {BOTH: 0.25, "FalsePos": 0.25}


def test_a_duplicate(make_index, make_detections):
    """AP 1/2 * 1 + 1/2 * 2/3 with it, 1 without."""
    index = make_index(["a"], [(1, BOX), (1, OTHER)])
    detections = make_detections((1, 1, BOX, 0.9), (1, 1, BOX, 0.8), (1, 1, OTHER, 0.7))
    assert types(index, detections) == [CORRECT, DUPE, CORRECT]
    assert nonzero(index, detections) == {DUPE: 0.166667, "FalsePos": 0.166667}


def test_background(make_index, make_detections):
    index = make_index(["a"], [(1, BOX)], [])
    detections = make_detections((2, 1, BOX, 0.9), (1, 1, FAR, 0.8), (1, 1, BOX, 0.7))
    assert types(index, detections) == [BKG, BKG, CORRECT]
    assert nonzero(index, detections) == {BKG: 0.666667, "FalsePos": 0.666667}


def test_a_missed_object(make_index, make_detections):
    index = make_index(["a"], [(1, BOX), (1, OTHER)])
    assert nonzero(index, make_detections((1, 1, BOX, 0.9))) == {MISS: 0.5, "FalseNeg": 0.5}


def test_one_detection_is_put_right_for_an_object_and_none_where_it_is_found(make_index, make_detections):
    """Two near the object: the better one becomes correct, the other is removed. One that is right: both removed."""
    index = make_index(["a"], [(1, BOX)])
    near = ((1, 1, SHIFTED, 0.9), (1, 1, SHIFTED, 0.8))
    assert nonzero(index, make_detections(*near)) == {LOC: 1}
    found = nonzero(index, make_detections(*near, (1, 1, BOX, 0.7)))
    assert found == {LOC: 0.666667, "FalsePos": 0.666667}


def test_what_is_to_be_ignored_is_no_object_and_no_error(make_index, make_detections):
    index = make_index(["a"], [(1, BOX, True), (1, OTHER)])
    assert types(index, make_detections((1, 1, BOX, 0.9), (1, 1, SHIFTED, 0.8))) == [BKG]
    assert ap_costs(make_index(["a"], [(1, BOX, True)]), make_detections((1, 1, FAR, 0.9)), 0.5) is None


def test_real_detections_cost_what_tide_says(voc100):
    costs = ap_costs(voc100.index, voc100.detections, 0.5)
    assert costs == pytest.approx(TIDECV, abs=0.004)


def test_without_false_positives_the_ap_is_the_recall(voc100):
    ranked = rankings(voc100.index, voc100.detections, 0.5)
    recalls = [ranking.correct.sum() / ranking.positives for ranking in ranked.values() if ranking.positives]
    figures = metrics(voc100.index, voc100.detections, ranked, {}, 0.5)
    assert figures["map_voc"] + figures["ap_costs"]["FalsePos"] == pytest.approx(np.mean(recalls), abs=2e-6)


@st.composite
def scenes(draw):
    """Return objects and detections of three classes on a coarse grid in two images, so that all types occur."""
    corner = st.integers(0, 5).map(lambda n: 6 * n)
    row = st.tuples(st.integers(1, 2), st.integers(1, 3), corner, corner, st.integers(1, 6), st.booleans())
    objects = draw(st.lists(row, max_size=6, unique_by=lambda one: (one[0], one[2], one[3])))
    found = draw(st.lists(row, max_size=10))
    images = []
    for number in (1, 2):
        own = [one for one in objects if one[0] == number]
        boxes = as_boxes([(x, y, x + 20, y + 20) for _, _, x, y, _, _ in own])
        labels, ignore = np.array([one[1] for one in own], np.int64), np.array([one[5] for one in own], np.bool_)
        images.append(ImageRecord(number, f"{number}.png", 100, 100, "", boxes, labels, ignore))
    detections = Detections(
        np.array([one[0] for one in found], np.int64),
        np.array([one[1] for one in found], np.int64),
        as_boxes([(x, y, x + 20, y + 20) for _, _, x, y, _, _ in found]),
        np.array([one[4] for one in found], np.float32),
    )
    return Index(("a", "b", "c"), tuple(images)), detections


@settings(deadline=None, max_examples=50)
@given(scenes())
def test_no_oracle_makes_it_worse_and_each_is_paid_by_its_errors(scene):
    index, detections = scene
    costs = ap_costs(index, detections, 0.5)
    if costs is None:
        assert all(image.ignore.all() for image in index.images)
        return
    judged = judge(index, detections, 0.5)
    assert list(costs) == [*TYPES, "FalsePos", "FalseNeg"]
    assert all(0 <= cost <= 1 for cost in costs.values())
    for name in TYPES:
        errors = judged.missed if name == MISS else judged.types == name
        assert costs[name] == 0 or errors.any()
    assert costs["FalsePos"] >= max(costs[name] for name in (BOTH, DUPE, BKG))
    assert costs["FalseNeg"] >= costs[MISS]


@settings(deadline=None, max_examples=50)
@given(scenes())
def test_perfect_detections_cost_nothing(scene):
    index, _ = scene
    kept = [
        (image.id, label, box) for image in index.images for label, box in zip(image.labels, image.boxes, strict=True)
    ]
    perfect = Detections(
        np.array([one[0] for one in kept], np.int64),
        np.array([one[1] for one in kept], np.int64),
        as_boxes([one[2] for one in kept]),
        np.ones(len(kept), np.float32),
    )
    assert set(types(index, perfect)) <= {CORRECT}
    assert set((ap_costs(index, perfect, 0.5) or {}).values()) <= {0}
