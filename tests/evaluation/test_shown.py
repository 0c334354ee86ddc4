"""What the gallery gets: types and scores of a scene by hand, and the slider's range from made-up rankings."""

import numpy as np
import pytest

from pipeline.evaluation.metrics import rankings
from pipeline.evaluation.shown import IGNORED, ScoreRange, pooled, score_range, shown
from pipeline.evaluation.voc import Ranking

BOX, FAR = (10, 10, 30, 30), (60, 60, 90, 90)
GOOD = Ranking(np.array([0.75, 0.25], np.float32), np.array([True, False]), 1)
LATE = Ranking(np.array([0.5], np.float32), np.array([True]), 1)
BAD = Ranking(np.array([0.9], np.float32), np.array([False]), 1)


def show(index, detections, images=9, min_score=None, similar=None):
    return shown(index, detections, rankings(index, detections, 0.5), images, min_score, similar or {}, 0.5)


def scores(*values):
    return np.array(values, np.float32)


def test_a_scene(make_index, make_detections):
    """The second detection of the object is a duplicate; the one on the ignored object is neither right nor wrong."""
    index = make_index(["a", "b"], [(1, BOX), (1, FAR, True), (2, FAR)])
    detections = make_detections((1, 1, BOX, 0.5), (1, 1, (10, 10, 30, 29), 0.9), (1, 1, FAR, 0.7), (1, 2, BOX, 0.1))
    [image] = show(index, detections, min_score=0.0)["images"]
    assert (image["id"], image["detected_at"]) == (1, [0.9, 0.7, None])
    rows = [(one["category_id"], one["score"], one["type"]) for one in image["detections"]]
    assert rows == [(1, 0.9, "Correct"), (1, 0.7, IGNORED), (1, 0.5, "Loc"), (2, 0.1, "Oth")]
    assert image["detections"][0]["bbox"] == [10, 10, 20, 19]
    similar = show(index, detections, similar={"both": ["a", "b"]}, min_score=0.0)["images"][0]
    assert similar["detections"][-1]["type"] == "Sim"


def test_only_the_images_to_show_are_kept(make_index, make_detections):
    index = make_index(["a"], *([(1, BOX)] for _ in range(4)))
    detections = make_detections(*((i, 1, BOX, i / 10) for i in range(1, 5)))
    content = show(index, detections, images=2)
    assert [image["id"] for image in content["images"]] == [1, 3]
    assert content["top"] == 0.3
    assert show(index, detections, images=0)["images"] == []


def test_a_hidden_detection_still_claims_its_object(make_index, make_detections):
    """Seventeen detections of one image, of which sixteen are kept; the last one is right."""
    rows = [(1, 1, FAR, 0.9 - i / 100) for i in range(16)]
    index = make_index(["a"], [(1, BOX)])
    [image] = show(index, make_detections(*rows, (1, 1, BOX, 0.1)), min_score=0.5)["images"]
    assert len(image["detections"]) == 16
    assert image["detected_at"] == [0.1]


def test_classes_are_ranked_together():
    together = pooled([GOOD, LATE])
    assert together.scores.tolist() == [0.75, 0.5, 0.25]
    assert together.correct.tolist() == [True, True, False]
    assert together.positives == 2


def test_the_slider_starts_at_the_best_f1_of_all_classes():
    assert score_range(scores(0.25, 0.75, 0.125), 1, [GOOD, LATE], None) == ScoreRange(0.125, 0.5, 0.75)


def test_it_starts_at_the_top_where_nothing_is_correct():
    assert score_range(scores(0.5, 0.25), 1, [BAD], None) == ScoreRange(0.25, 0.5, 0.5)


def test_a_given_score_widens_the_range():
    assert score_range(scores(0.5, 0.25), 1, [GOOD], 0.9) == ScoreRange(0.25, 0.9, 0.9)
    assert score_range(scores(0.5, 0.25), 1, [GOOD], -1.0) == ScoreRange(-1.0, -1.0, 0.5)


def test_so_many_detections_an_image_and_at_least_those_drawn_at_first():
    assert score_range(scores(0.75, 0.5, 0.25), 1, [GOOD], None, per_image=2).floor == 0.5
    assert score_range(scores(0.75, 0.5, 0.25), 1, [GOOD, LATE], None, per_image=1).floor == 0.5


@pytest.mark.parametrize("min_score", [None, 0.5])
def test_a_system_without_detections(min_score):
    start = min_score or 0.0
    nothing = Ranking(scores(), np.zeros(0, np.bool_), 1)
    assert score_range(scores(), 4, [nothing], min_score) == ScoreRange(start, start, start)
