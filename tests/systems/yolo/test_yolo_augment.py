"""Random views of training images."""

import colorsys

import cv2
import numpy as np
import pytest

from pipeline.core.runtime import item_rng
from pipeline.imaging import stretch
from pipeline.systems.yolo.params import YoloAugmentation
from pipeline.systems.yolo.training import YoloAugment, boxes_in, cut, recolour

STILL = YoloAugmentation(jitter=0, saturation=1, exposure=1, flip=False)


def photograph() -> np.ndarray:
    rng = np.random.default_rng(4)
    return rng.integers(0, 256, (50, 70, 3), dtype=np.uint8)


def test_without_any_change_it_is_the_stretched_image() -> None:
    image = photograph()
    boxes, labels = np.array([[7, 5, 35, 25]], np.float32), np.array([2])
    view, moved, kept = YoloAugment(140, STILL)(image, boxes, labels, item_rng(1, "a"))
    inside = slice(3, -3)  # the outermost pixels mix with the black around the image
    difference = np.abs(view.astype(int) - stretch(image, 140))[inside, inside]
    assert difference.max() <= 5  # OpenCV places samples on a grid of 1/32 pixel when it warps
    assert np.allclose(moved, [[14, 14, 70, 70]])
    assert kept.tolist() == [2]


@pytest.mark.parametrize("mirrored", [False, True])
def test_boxes_stay_around_their_pixels_in_any_window(mirrored: bool) -> None:
    rng = np.random.default_rng(8)
    for _ in range(20):
        image = np.zeros((60, 90, 3), np.uint8)
        image[20:40, 30:60] = 255
        x1, y1 = rng.uniform(-15, 15, 2)
        window = (x1, y1, rng.uniform(70, 110), rng.uniform(48, 75))
        shown = cut(image, window, 120, mirrored)[:, :, 0] > 127
        rows, columns = np.nonzero(shown)
        box = boxes_in(np.array([[30, 20, 60, 40]], np.float32), window, 120, mirrored)[0]
        found = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
        assert np.abs(np.clip(box, 0, 120) - found).max() <= 1


def test_outside_of_the_image_it_is_black() -> None:
    view = cut(np.full((10, 10, 3), 200, np.uint8), (-10, 0, 10, 10), 40, False)
    assert view[:, :18].max() == 0
    assert view[2:-2, 22:-2].min() == 200


def test_saturation_and_value_change_as_in_hsv() -> None:
    image = photograph()
    changed = recolour(image, 1.4, 0.8)
    for row, column in ((0, 0), (10, 20), (49, 69)):
        hue, saturation, value = colorsys.rgb_to_hsv(*image[row, column] / 255)
        expected = colorsys.hsv_to_rgb(hue, min(1, saturation * 1.4), value * 0.8)
        assert np.abs(changed[row, column] - np.array(expected) * 255).max() <= 1


@pytest.mark.parametrize("factors", [(1.4, 0.8), (0.7, 1.5), (1.5, 1.5), (1.0, 1.0)])
def test_colours_are_those_of_opencv_s_hsv(factors: tuple[float, float]) -> None:
    grey = np.repeat(np.arange(256, dtype=np.uint8), 3).reshape(1, 256, 3)
    for image in (photograph(), photograph() // 8, grey):
        hsv = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2HSV)
        hsv[:, :, 1:] = np.clip(hsv[:, :, 1:] * np.array(factors, np.float32), 0, 1)
        expected = np.rint(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * 255)
        assert np.abs(recolour(image, *factors) - expected).max() <= 1


def test_objects_outside_are_gone_and_the_others_are_cut_and_shuffled() -> None:
    settings = STILL.model_copy(update={"jitter": 0.4, "flip": True})
    image = photograph()
    boxes = np.array([[0, 0, 8, 8], [30, 20, 40, 30], [60, 42, 70, 50], [2, 40, 10, 49]], np.float32)
    labels = np.array([1, 2, 3, 4])
    counts, orders = set(), set()
    for step in range(60):
        view, moved, kept = YoloAugment(96, settings)(image, boxes, labels, item_rng(1, step))
        assert view.shape == (96, 96, 3)
        assert moved.min(initial=0) >= 0
        assert moved.max(initial=0) <= 96
        assert (moved[:, 2:] > moved[:, :2]).all()
        counts.add(len(kept))
        orders.add(tuple(kept))
    assert min(counts) < 4
    assert {order for order in orders if len(order) == 4} - {(1, 2, 3, 4)}
    assert np.array_equal(image, photograph())


def test_the_same_numbers_give_the_same_view() -> None:
    settings = YoloAugmentation(jitter=0.2, saturation=1.5, exposure=1.5, flip=True)
    arguments = (photograph(), np.array([[10, 10, 40, 40]], np.float32), np.array([1]))
    first, second = (YoloAugment(64, settings)(*arguments, item_rng(3, "x")) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
