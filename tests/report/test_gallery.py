from dataclasses import replace

import pytest

from pipeline.core.errors import InputError
from pipeline.report.gallery import photos, tile_ratio


def entry(*detections, detected_at=(None, None)):
    """Return what the evaluation keeps of an image: ``detections`` are (bbox, score, type) of class 1, best first."""
    rows = [{"category_id": 1, "bbox": list(box), "score": score, "type": kind} for box, score, kind in detections]
    return {"id": 1, "detected_at": list(detected_at), "detections": rows}


@pytest.fixture
def show(indices, tmp_path):
    """Return a function to the first image's overlay from its entry."""

    def call(entry, **changes):
        index = replace(indices["test"], images=indices["test"].images[:1], **changes)
        [photo] = photos(index, tmp_path / "photos", {"rcnn": {"images": [entry]}})
        return photo.overlays["rcnn"]

    return call


@pytest.mark.parametrize(
    ("sizes", "ratio"),
    [([(400, 300), (300, 400), (400, 300)], 4 / 3), ([(1000, 100)], 16 / 9), ([(100, 1000)], 3 / 4), ([], 1)],
)
def test_the_frame_of_the_pictures(sizes, ratio):
    assert tile_ratio(sizes) == pytest.approx(ratio)


def test_labels_stay_on_the_picture(show):
    boxes = [(100, 0, 20, 20), (0, 70, 10, 10), (60, 30, 10, 10), (0, 0, 120, 80)]
    labels = [one.label for one in show(entry(*((box, 0.5, "BG") for box in boxes))).detections]
    assert len(labels) == 4
    for label in labels:
        assert label.x >= 0
        assert label.x + label.width <= 120
        assert label.y >= 0
        assert label.y + label.height <= 80


def test_the_best_detection_lies_on_top(show):
    panel = show(entry(((50, 50, 10, 10), 0.9, "BG"), ((10, 10, 30, 30), -0.5, "Correct")))
    assert [(one.score, one.type) for one in panel.detections] == [(-0.5, "Correct"), (0.9, "BG")]
    frame = panel.detections[-1].frame
    assert (frame.x, frame.y, frame.width, frame.height) == (50, 50, 10, 10)


def test_an_object_is_missed_while_its_detection_is_hidden(show):
    cat, car = show(entry(detected_at=(-0.5, None))).objects
    assert [cat.missed(least) for least in (-0.5, -0.4)] == [False, True]
    assert car.missed(-9)


def test_an_image_that_was_not_evaluated_to_be_shown_is_named(show):
    with pytest.raises(InputError, match=r"reports/shown/rcnn\.json: image 1 .* `dvc repro evaluate@rcnn` writes"):
        show(entry() | {"id": 7})


def test_wide_letters_get_wide_labels(show):
    def width(name):
        return show(entry(((0, 0, 9, 9), 0.5, "BG")), classes=(name, "car")).detections[0].label.width

    assert width("自転車") == pytest.approx(width("bicycl"))
    assert width("自転車") > width("cat")
