"""What the gallery gets: types and scores of a scene by hand, and the slider's range from made-up scores."""

import json

import numpy as np
import pytest

from pipeline.evaluation.metrics import rankings
from pipeline.evaluation.shown import IGNORED, ScoreRange, score_range, shown, write_shown

BOX, FAR = (10, 10, 30, 30), (60, 60, 90, 90)


def show(index, detections, start=0.0, similar=None):
    starts = dict.fromkeys(index.classes, start)
    return shown(index, detections, rankings(index, detections, 0.5), starts, similar or {}, 0.5)


def scores(*values):
    return np.array(values, np.float32)


def test_a_scene(make_index, make_detections):
    """The second detection of the object is a duplicate; the one on the ignored object is neither right nor wrong."""
    index = make_index(["a", "b"], [(1, BOX), (1, FAR, True), (2, FAR)])
    detections = make_detections((1, 1, BOX, 0.5), (1, 1, (10, 10, 30, 29), 0.9), (1, 1, FAR, 0.7), (1, 2, BOX, 0.1))
    content = show(index, detections)
    [image] = content["images"]
    assert (image["id"], image["detected_at"]) == (1, [0.9, 0.7, None])
    rows = [tuple(one[:3]) for one in image["detections"]]
    assert rows == [(1, "Correct", 0.9), (1, IGNORED, 0.7), (1, "Loc", 0.5), (2, "Oth", 0.1)]
    assert image["detections"][0][3:] == [10, 10, 20, 19]
    similar = show(index, detections, similar={"both": ["a", "b"]})["images"][0]
    assert similar["detections"][-1][1] == "Sim"


def test_the_lists_of_the_worst(make_index, make_detections):
    """Image 1 misses a b and has a duplicate that outranks nothing and a b, of a class in which nothing is right."""
    index = make_index(["a", "b"], [(1, BOX), (2, FAR)], [(1, BOX)], [])
    detections = make_detections(
        (1, 1, BOX, 0.9), (1, 1, BOX, 0.5), (1, 2, BOX, 0.1), (2, 1, BOX, 0.8), (3, 1, BOX, 0.85)
    )
    content = show(index, detections)
    assert content["worst_images"] == [(1, 2.0), (3, 0.5)]
    assert content["surest_errors"] == [(1, 2), (3, 0), (1, 1)]
    strict = show(index, detections, start=0.85)
    assert strict["worst_images"] == [(1, 1.0), (2, 1.0), (3, 0.5)]
    assert strict["surest_errors"] == [(3, 0)]


def test_what_lies_on_an_ignored_object_is_no_error(make_index, make_detections):
    content = show(make_index(["a"], [(1, BOX, True)]), make_detections((1, 1, BOX, 0.9)))
    assert (content["worst_images"], content["surest_errors"]) == ([], [])


def test_a_detection_below_the_floor_is_left_out_and_its_object_missed(make_index, make_detections):
    """Seventeen detections of one image, of which sixteen are kept; the last one is right."""
    rows = [(1, 1, FAR, 0.9 - i / 100) for i in range(16)]
    index = make_index(["a"], [(1, BOX)])
    found = make_detections(*rows, (1, 1, BOX, 0.1))
    [image] = show(index, found, start=0.5)["images"]
    assert len(image["detections"]) == 16
    assert image["detected_at"] == [None]
    [image] = show(index, found, start=0.1)["images"]
    assert len(image["detections"]) == 17
    assert image["detected_at"] == [0.1]


def test_each_class_starts_at_its_score():
    found = score_range(scores(0.25, 0.75, 0.125), 1, {"a": 0.5, "b": None})
    assert found == ScoreRange(0.125, {"a": 0.5, "b": 0.75}, 0.75)


def test_a_given_score_widens_the_range():
    assert score_range(scores(0.5, 0.25), 1, {"a": 0.9}) == ScoreRange(0.25, {"a": 0.9}, 0.9)


def test_so_many_detections_an_image():
    assert score_range(scores(0.75, 0.5, 0.25), 1, {"a": 0.75}, per_image=2).floor == 0.5


@pytest.mark.parametrize("start", [None, 0.5])
def test_a_system_without_detections(start):
    assert score_range(scores(), 4, {"a": start}) == ScoreRange(0.0, {"a": start or 0.0}, start or 0.0)


def test_the_file_has_a_line_for_each_image(tmp_path, make_index, make_detections):
    index = make_index(["a"], [(1, BOX)], [])
    content = show(index, make_detections((1, 1, BOX, 0.9)))
    write_shown(tmp_path / "shown.json", content)
    text = (tmp_path / "shown.json").read_text()
    assert json.loads(text) == json.loads(json.dumps(content))
    assert len(text.splitlines()) == len(index.images) + 2
