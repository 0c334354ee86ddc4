"""Augmentation: properties that hold for every draw, and pictures whose colours say where they come from."""

import colorsys
import math
import pickle
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.boxes import iou
from pipeline.systems.ssd.augment import FILL, Augmentation, crop, distort, expand, shown
from pipeline.systems.ssd.params import SsdAugmentation

PAPER = SsdAugmentation(
    photometric=True, expand=4, crop_overlaps=(0.1, 0.3, 0.5, 0.7, 0.9, 0), crop_scale=(0.3, 1), flip=True
)
NONE = np.zeros((0, 4), np.float32)


def scene(rng: np.random.Generator, objects: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return an image, boxes and labels; object ``i`` has label ``i + 1``."""
    width, height = (int(side) for side in rng.integers(20, 120, 2))
    corners = np.sort(rng.uniform(0, 1, (objects, 2, 2)) * [width, height], axis=1).reshape(-1, 4)
    corners[:, 2:] = np.minimum(np.maximum(corners[:, 2:], corners[:, :2] + 1), [width, height])
    corners[:, :2] = np.minimum(corners[:, :2], corners[:, 2:] - 1)
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return image, corners.astype(np.float32), np.arange(1, objects + 1)


@settings(max_examples=150)
@given(seed=st.integers(0, 100_000), objects=st.integers(0, 6), most=st.sampled_from([1.0, 4.0]))
def test_boxes_stay_inside_with_an_area_and_keep_their_labels(seed: int, objects: int, most: float) -> None:
    rng = np.random.default_rng(seed)
    image, boxes, labels = scene(rng, objects)
    before = image.copy(), boxes.copy()
    square, moved, kept = Augmentation(64, PAPER.model_copy(update={"expand": most}))(image, boxes, labels, rng)
    assert square.shape == (64, 64, 3)
    assert square.dtype == np.uint8
    assert moved.dtype == np.float32
    assert len(moved) == len(kept) <= objects
    assert set(kept) <= set(labels)
    assert (moved >= 0).all()
    assert (moved <= 64).all()
    assert (moved[:, 2:] > moved[:, :2]).all()
    assert np.array_equal(image, before[0])
    assert np.array_equal(boxes, before[1])


@settings(max_examples=100)
@given(seed=st.integers(0, 100_000))
def test_a_box_goes_with_what_it_holds(seed: int) -> None:
    """The objects are red, green and blue on black: each box must lie around its colour wherever it went."""
    rng = np.random.default_rng(seed)
    image = np.zeros((90, 120, 3), np.uint8)
    boxes = np.array([[8, 10, 38, 40], [50, 20, 80, 70], [84, 40, 114, 80]], np.float32)
    for channel, (x1, y1, x2, y2) in enumerate(boxes.astype(int)):
        image[y1:y2, x1:x2, channel] = 255
    plain = PAPER.model_copy(update={"photometric": False})
    square, moved, kept = Augmentation(160, plain)(image, boxes, np.array([1, 2, 3]), rng)
    for box, label in zip(moved, kept, strict=True):
        rows, columns = np.nonzero(square[:, :, label - 1] > 127)  # more than the filling
        found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert np.abs(box - found).max() <= 4


@settings(max_examples=150)
@given(seed=st.integers(0, 100_000), objects=st.integers(1, 5), least=st.sampled_from([0.1, 0.3, 0.5, 0.7, 0.9]))
def test_a_part_chosen_for_an_overlap_has_an_object_with_it(seed: int, objects: int, least: float) -> None:
    rng = np.random.default_rng(seed)
    image, boxes, _ = scene(rng, objects)
    window = expand(image.shape[1], image.shape[0], 4, rng)
    part = crop(window, boxes, (least,), (0.3, 1.0), rng)
    if np.array_equal(part, window):
        return
    assert iou(part[None], boxes).max() >= least
    assert (part[:2] >= window[:2]).all()
    assert (part[2:] <= window[2:]).all()
    share = (part[2:] - part[:2]) / (window[2:] - window[:2])
    assert share.min() > 0
    assert 0.3 - 0.1 <= np.sqrt(share.prod()) <= 1  # whole pixels of an image of 20 or more


def parts_by_the_official_code(scale: tuple[float, float], count: int) -> np.ndarray:
    """Return widths and heights of parts as shares of the window, drawn as ``SampleBBox`` of ``sampler.cpp`` does."""
    draw = random.Random(1)
    sides = []
    for _ in range(count):
        size = draw.uniform(*scale)
        aspect = draw.uniform(0.5, 2.0)
        aspect = max(aspect, size**2)
        aspect = min(aspect, 1 / size**2)
        sides.append((size * math.sqrt(aspect), size / math.sqrt(aspect)))
    return np.array(sides)


@pytest.mark.parametrize(
    ("scale", "sides", "full", "aspect", "wide"),
    [
        ((0.3, 1.0), (0.699, 0.622), (0.164, 0.066), 1.161, 0.665),
        ((0.5, 1.0), (0.800, 0.717), (0.227, 0.094), 1.142, 0.667),
    ],
)
def test_parts_have_the_shapes_of_the_official_code(scale, sides, full, aspect, wide) -> None:
    rng = np.random.default_rng(0)
    window, boxes = np.array([0, 0, 10_000, 10_000]), np.array([[0, 0, 10_000, 10_000]], np.float32)
    drawn = np.array([crop(window, boxes, (0,), scale, rng) for _ in range(12_000)])
    drawn = drawn[(drawn != window).any(axis=1)]  # half of the draws are the whole window
    for parts in ((drawn[:, 2:] - drawn[:, :2]) / 10_000, parts_by_the_official_code(scale, 40_000)):
        assert parts.mean(axis=0) == pytest.approx(sides, abs=0.01)
        assert (parts > 0.9998).mean(axis=0) == pytest.approx(full, abs=0.015)
        assert np.median(parts[:, 0] / parts[:, 1]) == pytest.approx(aspect, abs=0.03)
        assert (parts[:, 0] > parts[:, 1]).mean() == pytest.approx(wide, abs=0.02)


def test_all_kinds_of_parts_that_exist_are_equally_likely() -> None:
    rng = np.random.default_rng(0)
    window, boxes = np.array([0, 0, 1000, 1000]), np.array([[100, 100, 900, 900]], np.float32)
    whole = sum(np.array_equal(crop(window, boxes, (0.5, 0, 0.5), (0.5, 1), rng), window) for _ in range(2000))
    assert whole / 2000 == pytest.approx(1 / 4, abs=0.04)
    # No part can overlap so small an object by half, so the image stays whole.
    speck = np.array([[5, 5, 9, 9]], np.float32)
    assert all(np.array_equal(crop(window, speck, (0.5,), (0.5, 1), rng), window) for _ in range(50))
    assert np.array_equal(crop(window, NONE, (0, 0.1), (0.3, 1), rng), window)


def test_expansion_by_its_limits() -> None:
    rng = np.random.default_rng(0)
    windows = np.array([expand(100, 50, 4, rng) for _ in range(2000)])
    whole = (windows == [0, 0, 100, 50]).all(axis=1)
    assert whole.mean() == pytest.approx(0.5, abs=0.04)
    widths, heights = (windows[:, 2:] - windows[:, :2]).T
    assert widths.min() == 100
    assert 390 < widths.max() <= 400
    assert np.abs(widths - 2 * heights).max() <= 2
    assert (windows[:, :2] <= 0).all()
    assert (windows[:, 2:] >= [100, 50]).all()
    wide = windows[widths > 300]
    assert (-wide[:, 0] / (wide[:, 2] - wide[:, 0] - 100)).mean() == pytest.approx(0.5, abs=0.05)


def test_objects_belong_to_a_window_by_their_centre() -> None:
    window = np.array([10, 10, 30, 30])
    boxes = np.array([[0, 0, 21, 21], [0, 0, 19, 19], [10, 10, 50, 50], [20, 20, 39, 39]], np.float32)
    assert shown(window, boxes).tolist() == [True, False, False, True]


def test_the_image_alone_is_stretched_and_the_filling_is_the_mean() -> None:
    plain = SsdAugmentation(photometric=False, expand=1, crop_overlaps=(), crop_scale=(1, 1), flip=False)
    image = np.full((50, 100, 3), 7, np.uint8)
    square, boxes, labels = Augmentation(64, plain)(
        image, np.array([[10, 20, 50, 40]], np.float32), np.array([3]), np.random.default_rng(0)
    )
    assert (square == 7).all()
    assert boxes[0] == pytest.approx([6.4, 25.6, 32, 51.2])
    assert labels.tolist() == [3]
    wide = plain.model_copy(update={"expand": 4})
    squares = [Augmentation(64, wide)(image, NONE, labels[:0], np.random.default_rng(i))[0] for i in range(8)]
    filled = [square for square in squares if (square != 7).any()]
    assert filled
    assert all(set(map(tuple, square.reshape(-1, 3))) <= {(7, 7, 7), FILL} for square in filled)
    assert FILL == (124, 116, 104)  # of ImageNet, RGB


def test_half_of_the_images_are_mirrored_with_their_boxes() -> None:
    image = np.zeros((40, 40, 3), np.uint8)
    image[:, :20] = 200
    only = SsdAugmentation(photometric=False, expand=1, crop_overlaps=(), crop_scale=(1, 1), flip=True)
    left = 0
    for seed in range(200):
        square, boxes, _ = Augmentation(40, only)(
            image, np.array([[0, 0, 20, 40]], np.float32), np.array([1]), np.random.default_rng(seed)
        )
        side = int(square[0, 0, 0] == 200)
        assert boxes[0].tolist() == ([0, 0, 20, 40] if side else [20, 0, 40, 40])
        left += side
    assert 75 <= left <= 125


def test_loader_processes_can_take_it() -> None:
    augment = pickle.loads(pickle.dumps(Augmentation(64, PAPER)))
    assert augment == Augmentation(64, PAPER)


class Draws:
    """A generator whose draws are given: coins for the four changes and the order, and amounts."""

    def __init__(self, coins: list[bool], amounts: list[float]) -> None:
        self._coins, self._amounts = iter(coins), iter(amounts)

    def random(self) -> float:
        return 0.0 if next(self._coins) else 1.0

    def uniform(self, least: float, greatest: float) -> float:
        amount = next(self._amounts)
        assert least <= amount <= greatest
        return amount


def test_brightness_and_contrast_saturate() -> None:
    image = np.array([[[0, 100, 240]]], np.uint8)
    bright = distort(image, Draws([True, False, False, False, True], [30]))
    assert bright.tolist() == [[[30, 130, 255]]]
    both = distort(image, Draws([True, True, False, False, True], [-20, 1.5]))
    assert both.tolist() == [[[0, 120, 255]]]


@pytest.mark.parametrize(("saturation", "hue"), [(1.5, 0.0), (0.5, 0.0), (1.0, 18.0), (1.0, -18.0), (1.3, 9.0)])
def test_saturation_and_hue_are_those_of_hsv(saturation: float, hue: float) -> None:
    image = np.random.default_rng(0).integers(30, 220, (20, 20, 3), dtype=np.uint8)
    found = distort(image, Draws([False, False, True, True, True], [saturation, hue])).reshape(-1, 3)
    for pixel, result in zip(image.reshape(-1, 3), found, strict=True):
        h, s, v = colorsys.rgb_to_hsv(*(pixel / 255))
        expected = colorsys.hsv_to_rgb((h + hue / 180) % 1, min(1, s * saturation), v)
        assert np.abs(np.array(expected) * 255 - result).max() <= 6  # OpenCV keeps hue in steps of two degrees


def test_a_hue_beyond_the_end_goes_on_at_the_start() -> None:
    """Hue 175 + 10 is 5, ten degrees: red with a sixth of its 200 in green. The official code's 185 is that too."""
    import cv2

    start, official = (cv2.cvtColor(np.array([[[hue, 255, 200]]], np.uint8), cv2.COLOR_HSV2RGB) for hue in (175, 185))
    turned = distort(start, Draws([False, False, False, True, True], [10.0]))
    assert turned.tolist() == official.tolist() == [[[200, 33, 0]]]


def test_contrast_may_come_last() -> None:
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    first = distort(image, Draws([False, True, True, False, True], [1.5, 0.5]))
    last = distort(image, Draws([False, True, True, False, False], [1.5, 0.5]))
    assert not np.array_equal(first, last)
    assert np.array_equal(distort(image, Draws([False] * 5, [])), image)
