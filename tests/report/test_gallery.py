from dataclasses import replace

import numpy as np
import pytest

from pipeline.core.boxes import as_boxes
from pipeline.report.gallery import NEITHER, photos, tile_ratio

NOTHING_SIMILAR = np.zeros((3, 3), np.bool_)


@pytest.fixture
def show(indices, tmp_path):
    def call(found, floor=-1.0, images=1, **changes):
        index = replace(indices["test"], images=indices["test"].images[:images], **changes)
        of_these = found.take(np.isin(found.image_ids, [image.id for image in index.images]))
        return photos(index, tmp_path / "photos", {"rcnn": of_these}, {"rcnn": floor}, NOTHING_SIMILAR, 0.5)

    return call


@pytest.mark.parametrize(
    ("sizes", "ratio"),
    [([(400, 300), (300, 400), (400, 300)], 4 / 3), ([(1000, 100)], 16 / 9), ([(100, 1000)], 3 / 4), ([], 1)],
)
def test_the_frame_of_the_pictures(sizes, ratio):
    assert tile_ratio(sizes) == pytest.approx(ratio)


def test_labels_stay_on_the_picture(show, detections):
    boxes = as_boxes([[100, 0, 120, 20], [0, 70, 10, 80], [60, 30, 70, 40], [0, 0, 120, 80]])
    [photo] = show(replace(detections["rcnn"], image_ids=np.ones(4, np.int64), boxes=boxes))
    assert len(photo.panels["rcnn"].found) == 4
    for found in photo.panels["rcnn"].found:
        label = found.label
        assert label.x >= 0
        assert label.x + label.width <= photo.width
        assert label.y >= 0
        assert label.y + label.height <= photo.height


def test_the_best_detection_lies_on_top(show, detections):
    [photo] = show(detections["rcnn"])
    found = photo.panels["rcnn"].found
    assert [(one.score, one.type) for one in found] == [(-0.5, "Correct"), (0.9, "BG")]
    frame = found[-1].frame
    assert (frame.x, frame.y, frame.width, frame.height) == (50, 50, 10, 10)


def test_detections_below_the_floor_are_left_out_but_still_find_their_object(show, detections):
    [photo] = show(detections["rcnn"], floor=0.0)
    assert [found.score for found in photo.panels["rcnn"].found] == [pytest.approx(0.9)]
    cat, car = photo.panels["rcnn"].objects
    assert (cat.found_at, car.found_at) == (-0.5, None)
    assert [cat.missed(least) for least in (-0.5, -0.4)] == [False, True]
    assert car.missed(-9)


def test_what_claims_an_ignored_object_is_neither_right_nor_wrong(show, detections):
    on_it = replace(detections["ssd"], boxes=as_boxes([[20, 20, 60, 60]]))
    photo = show(on_it, images=4)[-1]
    assert [found.type for found in photo.panels["rcnn"].found] == [NEITHER]
    assert not photo.panels["rcnn"].objects[1].missed(9)


def test_wide_letters_get_wide_labels(show, detections):
    def width(name):
        return show(detections["rcnn"], classes=(name, "car"))[0].panels["rcnn"].found[0].label.width

    assert width("自転車") == pytest.approx(width("bicycl"))
    assert width("自転車") > width("cat")
