"""Random views of training images."""

import colorsys

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


def recoloured_by_darknet(pixel: tuple[int, int, int], saturation: float, exposure: float) -> list[int]:
    """Return the RGB ``pixel`` after ``levels_image_kernel``: S and V have no limit, channels stop at 0 and 1."""
    h, s, v = colorsys.rgb_to_hsv(*(channel / 255 for channel in pixel))
    s, v = s * saturation, v * exposure
    sector, f = divmod(6 * h, 1)
    p, q, t = v * (1 - s), v * (1 - s * f), v * (1 - s * (1 - f))
    channels = [(v, t, p), (q, v, p), (p, v, t), (p, q, v), (t, p, v), (v, p, q)][int(sector) % 6]
    return [round(255 * min(1, max(0, channel))) for channel in channels]


@pytest.mark.parametrize(
    ("pixel", "expected"),
    [((240, 220, 225), [255, 255, 255]), ((200, 100, 50), [255, 150, 75])],
)
def test_bright_pixels_wash_out(pixel: tuple[int, int, int], expected: list[int]) -> None:
    assert recolour(np.array([[pixel]], np.uint8), 1.0, 1.5).tolist() == [[expected]]
    assert recoloured_by_darknet(pixel, 1.0, 1.5) == expected


@pytest.mark.parametrize("factors", [(1.4, 0.8), (0.7, 1.5), (1.5, 1.5), (1 / 1.5, 1 / 1.5), (1.0, 1.0)])
def test_saturation_and_exposure_are_those_of_darknet(factors: tuple[float, float]) -> None:
    grey = np.repeat(np.arange(0, 256, 5, dtype=np.uint8), 3).reshape(1, -1, 3)
    for image in (photograph()[:10], photograph()[:10] // 8, grey):
        expected = [recoloured_by_darknet(pixel, *factors) for pixel in image.reshape(-1, 3).tolist()]
        assert np.abs(recolour(image, *factors).reshape(-1, 3) - np.array(expected)).max() <= 1


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
