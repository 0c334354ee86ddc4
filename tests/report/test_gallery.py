import math
from dataclasses import replace

import numpy as np
import pytest

from pipeline.boxes import as_boxes
from pipeline.evaluation.ranking import Ranking
from pipeline.report.gallery import photos, thresholds, tile_ratio


def test_least_scores():
    good = Ranking(np.array([2, 1], np.float32), np.array([True, False]), 1)
    bad = Ranking(np.array([2], np.float32), np.array([False]), 1)
    assert thresholds({"good": good, "bad": bad}, None) == {"good": 2, "bad": math.inf}
    assert thresholds({"good": good, "bad": bad}, 0.3) == {"good": 0.3, "bad": 0.3}


@pytest.mark.parametrize(
    ("sizes", "ratio"),
    [([(400, 300), (300, 400), (400, 300)], 4 / 3), ([(1000, 100)], 16 / 9), ([(100, 1000)], 3 / 4), ([], 1)],
)
def test_the_frame_of_the_pictures(sizes, ratio):
    assert tile_ratio(sizes) == pytest.approx(ratio)


def test_labels_stay_on_the_picture(indices, detections, tmp_path):
    boxes = as_boxes([[100, 0, 120, 20], [0, 70, 10, 80], [60, 30, 70, 40], [0, 0, 120, 80]])
    found = replace(detections["rcnn"], image_ids=np.ones(4, np.int64), boxes=boxes)
    least = {"rcnn": {"cat & <dog>": -1.0, "car": -1.0}}
    [photo, *_] = photos(indices["test"], tmp_path / "photos", 4, {"rcnn": found}, least)
    assert len(photo.found["rcnn"]) == 4
    for shape in photo.found["rcnn"]:
        label = shape.label
        assert label.x >= 0
        assert label.x + label.width <= photo.width
        assert label.y >= 0
        assert label.y + label.height <= photo.height


def test_the_best_detection_lies_on_top(indices, detections, tmp_path):
    least = {"rcnn": {"cat & <dog>": -1.0, "car": -1.0}}
    photo = photos(indices["test"], tmp_path / "photos", 1, {"rcnn": detections["rcnn"]}, least)[0]
    assert [shape.title for shape in photo.found["rcnn"]] == ["cat & <dog> -0.50", "cat & <dog> 0.90"]
    best = photo.found["rcnn"][-1]
    assert (best.x, best.y, best.width, best.height) == (50, 50, 10, 10)


def test_wide_letters_get_wide_labels(indices, detections, tmp_path):
    def width(name):
        index = replace(indices["test"], classes=(name, "car"))
        least = {"rcnn": {name: -1.0, "car": -1.0}}
        return (
            photos(index, tmp_path / "photos", 1, {"rcnn": detections["rcnn"]}, least)[0].found["rcnn"][0].label.width
        )

    assert width("自転車") == pytest.approx(width("bicycl"))
    assert width("自転車") > width("cat")
