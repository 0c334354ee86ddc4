"""Whole images as networks see them: sizes, squares, batches, and the order of training images."""

import pickle
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.imaging import (
    ImageOrder,
    from_square,
    mirror,
    pad,
    pixels,
    resize,
    resized_shape,
    scale_factor,
    stretch,
    to_square,
)
from pipeline.nets.backbones import normalise


@pytest.mark.parametrize(
    ("width", "height", "shape"),
    [
        (500, 375, (600, 800)),
        (375, 500, (800, 600)),
        # The longer side is the limit: 600 / 200 would make 2,100 pixels of 700.
        (700, 200, (286, 1000)),
        (600, 1000, (1000, 600)),
    ],
)
def test_the_papers_sizes(width: int, height: int, shape: tuple[int, int]) -> None:
    factor = scale_factor(width, height, 600, 1000)
    assert resized_shape(width, height, factor) == shape


def test_a_thin_image_keeps_a_pixel() -> None:
    assert resized_shape(10_000, 3, 0.1) == (1, 1000)


def test_resizing_is_bilinear_without_antialiasing() -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    for factor in (1.7, 0.45):
        result = resize(image, factor)
        height, width = resized_shape(60, 40, factor)
        expected = torch.nn.functional.interpolate(
            torch.from_numpy(image).permute(2, 0, 1)[None].float(), size=(height, width), mode="bilinear"
        )[0].permute(1, 2, 0)
        assert np.abs(result - expected.numpy()).max() <= 1


@pytest.mark.parametrize(
    ("size", "shape", "mean", "most"), [((500, 375), (600, 800), 0.27, 0.75), ((500, 333), (600, 901), 0.66, 12)]
)
def test_rounded_grey_levels_are_near_the_official_codes(
    shared: Path, size: tuple[int, int], shape: tuple[int, int], mean: float, most: float
) -> None:
    """``blob.py`` resizes floats by the factor: by another one than here where it gives no whole size, 900.9 pixels."""
    files = sorted((shared / "data/voc100/JPEGImages").glob("*.jpg"))
    images = [np.array(image.convert("RGB")) for image in map(Image.open, files) if image.size == size][:10]
    factor = scale_factor(*size, 600, 1000)
    for image in images:
        official = cv2.resize(image.astype(np.float32), None, fx=factor, fy=factor, interpolation=cv2.INTER_LINEAR)
        assert official.shape[:2] == shape
        difference = np.abs(official - resize(image, factor))
        assert difference.mean() < mean
        assert difference.max() < most
    assert len(images) == 10


def test_the_right_size_is_left_alone() -> None:
    image = np.zeros((4, 5, 3), np.uint8)
    assert resize(image, 1.0) is image


def test_an_image_becomes_a_square_as_torch_resizes_it() -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 70, 3), dtype=np.uint8)
    wide = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    expected = torch.nn.functional.interpolate(wide, size=(56, 56), mode="bilinear", align_corners=False)
    found = torch.from_numpy(stretch(image, 56)).permute(2, 0, 1).float()
    assert found.shape == (3, 56, 56)
    assert (found - expected[0]).abs().max() <= 1  # OpenCV rounds with 11 bits


def test_a_square_of_the_right_side_is_left_alone() -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    assert stretch(image, 8) is image


def test_boxes_go_along_and_back() -> None:
    boxes = np.array([[0, 0, 200, 100], [50, 20, 150, 30]], np.float32)
    square = to_square(boxes, 200, 100, 300)
    assert np.allclose(square, [[0, 0, 300, 300], [75, 60, 225, 90]])
    assert np.allclose(from_square(square, 200, 100, 300), boxes)
    assert to_square(np.zeros((0, 4), np.float32), 200, 100, 300).shape == (0, 4)


def test_a_box_stays_around_its_pixels() -> None:
    image = np.zeros((60, 90, 3), np.uint8)
    image[20:40, 30:60] = 255
    x1, y1, x2, y2 = to_square(np.array([[30, 20, 60, 40]], np.float32), 90, 60, 120)[0]
    rows, columns = np.nonzero(stretch(image, 120)[:, :, 0] > 127)
    assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == (y1, y2, x1, x2)


def test_images_of_different_sizes_are_padded_with_the_mean() -> None:
    rng = np.random.default_rng(1)
    images = [pixels(rng.integers(0, 256, shape, dtype=np.uint8), 1.0) for shape in ((5, 9, 3), (8, 4, 3))]
    batch = pad(images, torch.device("cpu"))
    assert batch.shape == (2, 3, 8, 9)
    for place, image in zip(batch, images, strict=True):
        height, width = image.shape[1:]
        assert torch.equal(place[:, :height, :width], normalise(image))
        assert place[:, height:].abs().sum() + place[:, :, width:].abs().sum() == 0


def test_a_strip_is_padded_to_what_a_network_needs() -> None:
    strip = pixels(np.full((2, 30, 3), 7, np.uint8), 1.0)
    batch = pad([strip], torch.device("cpu"), smallest=21)
    assert batch.shape == (1, 3, 21, 30)
    assert torch.equal(batch[0, :, :2], normalise(strip))
    assert not batch[:, :, 2:].any()


def test_a_part_of_a_batch_is_padded_as_all_of_it() -> None:
    image = pixels(np.full((2, 30, 3), 7, np.uint8), 1.0)
    batch = pad([image], torch.device("cpu"), shape=(5, 40))
    assert batch.shape == (1, 3, 5, 40)
    assert torch.equal(batch[0, :, :2, :30], normalise(image))
    assert not batch[:, :, 2:].any()
    assert not batch[:, :, :, 30:].any()


def test_mirrored_boxes_hold_the_same_pixels() -> None:
    image = np.random.default_rng(2).integers(0, 256, (6, 11, 3), dtype=np.uint8)
    boxes = np.array([[0, 1, 4, 5], [7, 0, 11, 6]], np.float32)
    flipped = pixels(image, 1.0, mirrored=True)
    for (x1, y1, x2, y2), (u1, v1, u2, v2) in zip(boxes.astype(int), mirror(boxes, 11).astype(int), strict=True):
        original = torch.from_numpy(image[y1:y2, x1:x2]).permute(2, 0, 1)
        assert torch.equal(flipped[:, v1:v2, u1:u2].flip(2), original)
    assert np.array_equal(mirror(mirror(boxes, 11), 11), boxes)
    assert mirror(np.zeros((0, 4), np.float32), 5).shape == (0, 4)


@pytest.mark.parametrize(("count", "per_step", "flip"), [(5, 2, False), (5, 2, True), (1, 3, False), (4, 4, True)])
def test_each_pass_holds_every_image_once(count: int, per_step: int, flip: bool) -> None:
    order, size = ImageOrder(count, per_step, flip, seed=3), count * (2 if flip else 1)
    drawn = [entry for step in range(3 * size) for entry in order(step)]
    everything = {
        (position, mirrored) for position in range(count) for mirrored in ((False, True) if flip else (False,))
    }
    passes = [drawn[start : start + size] for start in range(0, len(drawn), size)]
    assert all(set(one) == everything for one in passes)
    assert size < 4 or len({tuple(one) for one in passes}) > 1


@pytest.mark.parametrize(("count", "per_step", "flip"), [(9, 2, False), (10, 2, True), (7, 3, True), (2, 5, False)])
def test_steps_hold_wide_or_tall_images(count: int, per_step: int, flip: bool) -> None:
    wide = np.arange(count) % 3 > 0
    order, size = ImageOrder(count, per_step, flip, 3, wide), count * (2 if flip else 1)
    steps = [order(step) for step in range(3 * size)]
    drawn = [entry for step in steps for entry in step]
    everything = {(position, mirrored) for position in range(count) for mirrored in {False, flip}}
    passes = [drawn[start : start + size] for start in range(0, len(drawn), size)]
    assert all(set(one) == everything for one in passes if len(one) == size)
    mixed = sum(len({bool(wide[position]) for position, _ in step}) > 1 for step in steps)
    assert mixed <= 2 * len(passes)
    if size > 6:  # wide and tall steps alternate by chance
        assert len({tuple(one) for one in passes}) > 1
        kinds = [bool(wide[step[0][0]]) for step in steps]
        assert sum(a != b for a, b in pairwise(kinds)) > len(passes)


@pytest.mark.parametrize(("grouped", "computed"), [(False, 1.145), (True, 1.053)])
def test_grouped_photographs_compute_less_padding(shared: Path, grouped: bool, computed: float) -> None:
    """Pixels of a padded pair for each of its images' own, 100 photographs of VOC at 600 and at most 1,000 pixels."""
    sizes = [Image.open(file).size for file in sorted((shared / "data/voc100/JPEGImages").glob("*.jpg"))]
    shapes = np.array([resized_shape(*size, scale_factor(*size, 600, 1000)) for size in sizes])
    wide = np.array([width >= height for width, height in sizes])
    order = ImageOrder(len(sizes), 2, True, 1, wide if grouped else None)
    pairs = [shapes[[position for position, _ in order(step)]] for step in range(1000)]
    padded, own = (2 * sum(pair.max(axis=0).prod() for pair in pairs), sum(pair.prod(axis=1).sum() for pair in pairs))
    assert padded / own == pytest.approx(computed, abs=0.01)


def test_images_that_are_all_wide_or_all_tall_come_in_the_plain_order() -> None:
    plain = ImageOrder(7, 2, True, 3)
    for wide in (np.ones(7, np.bool_), np.zeros(7, np.bool_)):
        grouped = ImageOrder(7, 2, True, 3, wide)
        assert [grouped(step) for step in range(30)] == [plain(step) for step in range(30)]


def test_a_step_is_the_same_in_any_order_and_in_a_worker() -> None:
    order = ImageOrder(7, 2, True, seed=3)
    late = order(40)
    copy = pickle.loads(pickle.dumps(order))
    assert [copy(step) for step in (3, 40)] == [order(3), late]
    assert [ImageOrder(7, 2, True, seed=4)(step) for step in range(9)] != [order(step) for step in range(9)]
