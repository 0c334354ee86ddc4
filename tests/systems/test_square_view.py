"""Random views of an image: what a box holds goes with it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.systems.square_view import FILL, RandomView


@settings(max_examples=100)
@given(seed=st.integers(0, 100_000), least=st.sampled_from([0.3, 0.8, 1.0]), most=st.sampled_from([1.0, 1.3, 3.0]))
def test_a_box_goes_with_what_it_holds(seed: int, least: float, most: float) -> None:
    """The objects are red, green and blue on black: each box lies around what is seen of its colour."""
    rng = np.random.default_rng(seed)
    image = np.zeros((90, 120, 3), np.uint8)
    boxes = np.array([[8, 10, 38, 40], [50, 20, 80, 70], [84, 40, 114, 80]], np.float32)
    for channel, (x1, y1, x2, y2) in enumerate(boxes.astype(int)):
        image[y1:y2, x1:x2, channel] = 255
    before = image.copy(), boxes.copy()
    augment = RandomView((least, most), True)
    view, moved, labels = augment(image, boxes, np.arange(1, 4), rng)
    height, width = view.shape[:2]
    assert round(90 / most) <= height <= round(90 / least)
    assert abs(width / height - 120 / 90) < 2 / height + 0.01
    assert moved.dtype == np.float32
    assert (moved >= 0).all()
    assert (moved <= (width, height, width, height)).all()
    seen = np.array([(view[:, :, label - 1] == 255) for label in labels]).reshape(-1, height, width)
    for mask, box in zip(seen, moved, strict=True):
        rows, columns = np.nonzero(mask)
        assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert np.array_equal(image, before[0])
    assert np.array_equal(boxes, before[1])


def test_around_a_smaller_image_there_is_grey_and_of_a_larger_one_a_part_is_seen() -> None:
    image = np.random.default_rng(1).integers(0, 100, (40, 60, 3), dtype=np.uint8)
    box, label = np.array([[10, 10, 30, 30]], np.float32), np.array([1])
    small, moved, _ = RandomView((0.5, 0.5), False)(image, box, label, np.random.default_rng(0))
    x, y = (moved[0, :2] - 10).astype(int)
    assert small.shape == (80, 120, 3)
    assert np.array_equal(small[y : y + 40, x : x + 60], image)
    assert (small == FILL).all(axis=2).sum() == 80 * 120 - 40 * 60
    large, moved, _ = RandomView((2, 2), False)(image, box, label, np.random.default_rng(0))
    assert large.shape == (20, 30, 3)
    assert sum(np.array_equal(image[y : y + 20, x : x + 30], large) for x in range(31) for y in range(21)) == 1
    same, moved, _ = RandomView((1, 1), False)(image, box, label, np.random.default_rng(0))
    assert np.array_equal(same, image)
    assert np.array_equal(moved, box)


def test_an_object_goes_when_its_centre_does() -> None:
    image, rng = np.zeros((40, 40, 3), np.uint8), np.random.default_rng(0)
    boxes = np.array([[0, 0, 8, 8], [16, 16, 24, 24], [32, 32, 40, 40]], np.float32)
    augment, kept = RandomView((2, 2), False), []
    for _ in range(200):
        view, moved, labels = augment(image, boxes, np.arange(1, 4), rng)
        assert view.shape == (20, 20, 3)
        kept.append(set(labels.tolist()))
        assert len(moved) == len(labels)
    # A window of 20 pixels at 0 to 20: the corners' centres are in it up to 4, from 17, never both.
    assert not any({1, 3} <= each for each in kept)
    assert np.mean([1 in each for each in kept]) == pytest.approx((5 / 21) ** 2, abs=0.05)
    assert np.mean([2 in each for each in kept]) == pytest.approx((20 / 21) ** 2, abs=0.05)
