"""What is kept of the detections in a picture, and painted boxes, pixel by pixel."""

from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from PIL import Image, ImageColor

from pipeline.core.boxes import as_boxes
from pipeline.core.colours import class_colour, ink_on
from pipeline.evaluation.detections import Detections
from pipeline.predict.pictures import Picture, batches
from pipeline.predict.results import Result, draw, whole_boxes


def detections(*rows: tuple[float, ...]) -> Detections:
    """Return detections given as x1, y1, x2, y2, label, score."""
    values = np.array(rows, np.float32).reshape(-1, 6)
    labels, boxes, scores = values[:, 4].astype(np.int64), as_boxes(values[:, :4]), values[:, 5]
    return Detections(np.zeros(len(values), np.int64), labels, boxes, scores)


def painted(width: int, height: int, *rows: tuple[float, ...]) -> np.ndarray:
    return np.asarray(draw(np.full((height, width, 3), 90, np.uint8), detections(*rows), ["cat", "dog"]))


def rgb(label: int) -> tuple[int, ...]:
    return ImageColor.getrgb(class_colour(label))


@pytest.mark.parametrize(("width", "line"), [(200, 1), (500, 2), (1000, 4)])
def test_a_box_is_a_frame_of_its_colour_just_inside_its_borders(width: int, line: int) -> None:
    image = painted(width, 200, (40, 100, 120, 160, 2, 0.9))
    expected = np.zeros((200, width), bool)
    expected[100:160, 40:120] = True
    expected[100 + line : 160 - line, 40 + line : 120 - line] = False
    label_rows = slice(0, 100)  # the label stands above
    assert ((image == rgb(2)).all(axis=2)[100:] == expected[100:]).all()
    assert (image[100:][~expected[100:]] == 90).all()
    assert (image[label_rows] == rgb(2)).all(axis=2).any()


def test_a_label_is_legible_and_stands_on_its_box() -> None:
    image = painted(500, 400, (200, 150, 300, 300, 1, 0.87))
    rows, columns = np.nonzero((image[:150] != 90).any(axis=2))
    assert rows.max() == 149
    assert columns.min() == 200
    assert 12 <= rows.max() - rows.min() + 1 <= 20
    frame, ink = (np.array(ImageColor.getrgb(colour)) for colour in (class_colour(1), ink_on(class_colour(1))))
    label = image[rows.min() : 150, 200 : columns.max() + 1].astype(int)
    inked = np.abs(label - ink).sum(axis=2) < np.abs(label - frame).sum(axis=2)  # letters have soft edges
    assert 0.1 < inked.mean() < 0.4


@pytest.mark.parametrize("box", [(0, 0, 60, 60), (470, 0, 500, 40), (480, 340, 500, 400)])
def test_labels_at_the_borders_stay_inside_the_picture(box: tuple[int, ...]) -> None:
    inside = painted(500, 400, (200, 150, 300, 300, 1, 0.87))
    label = (inside[:150] != 90).any(axis=2).sum()
    changed = (painted(500, 400, (*box, 1, 0.87)) != 90).any(axis=2)
    assert changed.sum() >= label


def test_the_best_box_lies_on_top() -> None:
    image = painted(200, 200, (50, 50, 150, 150, 1, 0.9), (50, 50, 150, 150, 2, 0.4))
    assert tuple(image[149, 100]) == rgb(1)


@pytest.mark.parametrize("size", [(1, 1), (3, 500), (500, 3)])
def test_tiny_pictures_can_be_drawn_on(size: tuple[int, int]) -> None:
    assert painted(*size, (0, 0, size[0], size[1], 1, 0.5)).shape == (size[1], size[0], 3)


def test_no_detection_changes_no_pixel() -> None:
    assert (painted(30, 20) == 90).all()


def test_whole_boxes_are_the_nearest_pixels_inside_and_never_empty() -> None:
    boxes = detections((1.4, 2.6, 10.4, 9.6, 1, 0.5), (5.2, 5.2, 5.3, 5.3, 1, 0.5), (19.8, 9.9, 20, 10, 1, 0.5))
    assert whole_boxes(boxes, (20, 10)) == [(1, 3, 10, 10), (5, 5, 6, 6), (19, 9, 20, 10)]
    assert whole_boxes(detections(), (20, 10)) == []


def test_boxes_go_back_from_a_reduced_and_padded_strip(tmp_path: Path) -> None:
    Image.new("RGB", (4000, 40), (1, 0, 0)).save(tmp_path / "1.png")
    ((((strip,), _)),) = batches([Picture(tmp_path / "1.png", PurePosixPath("1.png"))], 1, keep_full=True)
    assert strip.reduced.shape == (167, 1000, 3)  # 10 rows of the picture, the rest padded
    assert (strip.reduced == (1, 0, 0)).all()
    assert strip.full is not None
    assert strip.full.shape == (40, 4000, 3)
    detected = detections(
        (100, 2, 200, 8, 1, 0.9), (100, 5, 200, 90, 2, 0.8), (0, 50, 90, 90, 1, 0.7), (1, 1, 9, 9, 2, 0.1)
    )
    result = Result.of(strip, detected, np.full(2, 0.5, np.float32))
    assert result.detected.boxes.tolist() == [[400, 8, 800, 32], [400, 20, 800, 40]]
    assert result.detected.labels.tolist() == [1, 2]
    assert result.size == (4000, 40)
