"""Region warping, and batches of warped regions."""

from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from pipeline.core.boxes import from_voc
from pipeline.core.sections import Region
from pipeline.data.images import ImageCache, read_image
from pipeline.features.regions import RegionSamples
from pipeline.features.warp import collect, placements, resize_each, sample_all, warp, warp_batch
from pipeline.nets.backbones import normalise
from pipeline.training import LabelledBatch, classification_loss

PAPER = Region(size=227, padding=16, mode="warp")


def matlab_window(box, width, height, size, padding, square):
    """rcnn_im_crop.m in its own 1-based inclusive coordinates: the clipped box and the filled part of the square."""
    x1, y1, x2, y2 = box

    def rnd(value):
        return int(np.floor(value + 0.5))

    scale = size / (size - padding * 2)
    half_height, half_width = (y2 - y1 + 1) / 2, (x2 - x1 + 1) / 2
    centre = (x1 + half_width, y1 + half_height)
    if square:
        half_height = half_width = max(half_height, half_width)
    bx1, by1 = rnd(centre[0] - half_width * scale), rnd(centre[1] - half_height * scale)
    bx2, by2 = rnd(centre[0] + half_width * scale), rnd(centre[1] + half_height * scale)
    full_width, full_height = bx2 - bx1 + 1, by2 - by1 + 1
    pad_x, pad_y = max(0, 1 - bx1), max(0, 1 - by1)
    bx1, by1, bx2, by2 = max(1, bx1), max(1, by1), min(width, bx2), min(height, by2)
    left, top = rnd(pad_x * size / full_width), rnd(pad_y * size / full_height)
    return (
        (bx1, by1, bx2, by2),
        (left, top),
        (
            rnd((bx2 - bx1 + 1) * size / full_width),
            rnd((by2 - by1 + 1) * size / full_height),
        ),
    )


@pytest.mark.parametrize("mode", ["warp", "square"])
@pytest.mark.parametrize("box", [(100, 80, 199, 239), (1, 1, 60, 40), (500, 300, 640, 480), (300, 1, 310, 480)])
def test_windows_follow_the_official_code(box, mode):
    region = Region(size=227, padding=16, mode=mode)
    shown, filled = placements(from_voc([box]), 640, 480, region)
    clipped, (left, top), (wide, high) = matlab_window(box, 640, 480, 227, 16, mode == "square")
    assert tuple(shown[0]) == (clipped[0] - 1, clipped[1] - 1, clipped[2], clipped[3])
    assert tuple(filled[0, :2]) == (left, top)
    # Where both edges of an axis are rounded the official code may step one pixel over the square and shrink back.
    assert np.abs(filled[0, 2:] - filled[0, :2] - (wide, high)).max() <= 1


def test_where_both_ends_are_rounded_one_pixel_may_differ():
    """Here columns 12 to 211; the official code rounds 12 and a width of 200, and fills one more."""
    shown, filled = placements(np.array([[11, 68, 498, 368]], np.float32), 500, 375, PAPER)
    clipped, (left, _), (wide, _) = matlab_window((12, 69, 498, 368), 500, 375, 227, 16, False)
    assert (shown[0].tolist(), clipped) == ([0, 43, 500, 375], (1, 44, 500, 375))
    assert (filled[0, [0, 2]].tolist(), (left, left + wide)) == ([12, 211], (12, 212))


def test_without_context_a_box_is_shown_as_it_is():
    """So does the official code, which rounds what it enlarges alone; a square is enlarged."""
    boxes = np.array([[11, 68, 498, 368], [0, 0, 500, 375], [3, 3, 4, 9], [7.2, 7.2, 7.4, 7.4]], np.float32)
    bare = Region(size=227, padding=0, mode="warp")
    shown, filled = placements(boxes, 500, 375, bare)
    assert shown.tolist() == [[11, 68, 498, 368], [0, 0, 500, 375], [3, 3, 4, 9], [7, 7, 8, 8]]
    assert filled.tolist() == [[0, 0, 227, 227]] * 4
    square, _ = placements(boxes[:1], 500, 500, Region(size=227, padding=0, mode="square"))
    assert square.tolist() == [[11, 0, 499, 463]]


@pytest.mark.parametrize(("padding", "right"), [(15, True), (16, False), (20, False)])
def test_context_leaves_room_for_the_box(padding, right):
    with nullcontext() if right else pytest.raises(ValidationError, match="less than half of size 32"):
        Region(size=32, padding=padding)


def test_scale_is_227_over_195():
    shown, filled = placements(from_voc([(201, 201, 395, 395)]), 640, 640, PAPER)
    assert tuple(filled[0]) == (0, 0, 227, 227)
    assert shown[0, 2] - shown[0, 0] == 228  # 195 * 227 / 195, and the official code's pixel


@given(
    st.lists(st.tuples(st.floats(-50, 200), st.floats(-50, 200), st.floats(0.1, 300), st.floats(0.1, 300)), max_size=6),
    st.integers(1, 150),
    st.integers(1, 150),
    st.sampled_from(["warp", "square"]),
)
@settings(max_examples=150)
def test_windows_are_never_empty_and_stay_inside(corners, width, height, mode):
    boxes = np.array([(x, y, x + w, y + h) for x, y, w, h in corners], np.float32).reshape(-1, 4)
    shown, filled = placements(boxes, width, height, Region(size=48, padding=4, mode=mode))
    assert (shown[:, 2:] > shown[:, :2]).all()
    assert (filled[:, 2:] > filled[:, :2]).all()
    assert (shown >= 0).all()
    assert (shown[:, [0, 2]] <= width).all()
    assert (shown[:, [1, 3]] <= height).all()
    assert (filled >= 0).all()
    assert (filled <= 48).all()


def slow_warp(image, shown, filled, size):
    out = np.zeros((len(shown), 3, size, size))
    for n, ((x1, y1, x2, y2), (left, top, right, bottom)) in enumerate(zip(shown, filled, strict=True)):
        patch = image[:, y1:y2, x1:x2]
        for row in range(top, bottom):
            for column in range(left, right):
                sy = np.clip((row - top + 0.5) * (y2 - y1) / (bottom - top) - 0.5, 0, y2 - y1 - 1)
                sx = np.clip((column - left + 0.5) * (x2 - x1) / (right - left) - 0.5, 0, x2 - x1 - 1)
                r0, c0 = int(sy), int(sx)
                r1, c1 = min(r0 + 1, y2 - y1 - 1), min(c0 + 1, x2 - x1 - 1)
                fy, fx = sy - r0, sx - c0
                out[n, :, row, column] = (1 - fy) * ((1 - fx) * patch[:, r0, c0] + fx * patch[:, r0, c1]) + fy * (
                    (1 - fx) * patch[:, r1, c0] + fx * patch[:, r1, c1]
                )
    return out


SOME_BOXES = np.array([[5, 5, 30, 30], [0, 0, 4, 39], [50, 20, 60, 40], [10, 10, 11, 11], [0, 0, 60, 40]], np.float32)


def test_resizing_and_sampling_equal_a_slow_loop():
    image = np.random.default_rng(0).normal(size=(3, 40, 60)).astype(np.float32)
    region = Region(size=24, padding=3, mode="warp")
    shown, filled = placements(SOME_BOXES, 60, 40, region)
    resized, sampled = (
        warp(torch.from_numpy(image), SOME_BOXES, region),
        sample_all(torch.from_numpy(image), shown, filled, 24),
    )
    for warped in (resized, sampled):
        assert warped.is_contiguous(memory_format=torch.channels_last)
        np.testing.assert_allclose(warped.numpy(), slow_warp(image, shown, filled, 24), atol=2e-4)


def test_normalising_what_is_shown_gives_the_bytes_of_normalising_the_image():
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    region = Region(size=24, padding=3, mode="warp")
    squares = np.zeros((5, 24, 24, 3), np.float32)
    resize_each(pixels, SOME_BOXES, region, squares)
    whole = warp(normalise(torch.from_numpy(pixels).permute(2, 0, 1)), SOME_BOXES, region)
    np.testing.assert_array_equal(squares, whole.permute(0, 2, 3, 1))


def test_outside_the_image_is_the_mean_and_no_box_gives_no_region():
    image = torch.full((3, 50, 50), 7.0)
    warped = warp(image, np.array([[0, 0, 20, 20]], np.float32), PAPER)
    assert (warped[0, :, :10] == 0).all()
    assert (warped[0, :, -10:, -10:] == 7).all()
    assert warp(image, np.zeros((0, 4), np.float32), PAPER).shape == (0, 3, 227, 227)


CPU = torch.device("cpu")
REGION = Region(size=32, padding=4, mode="warp")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    paths = [folder / f"{i}.png" for i in range(4)]
    for i, path in enumerate(paths):
        Image.fromarray(rng.integers(0, 255, (50 + i, 60, 3), dtype=np.uint8)).save(path)
    return paths


@pytest.fixture
def cache(files: list[Path]) -> ImageCache:
    return ImageCache(files, 10)


def samples_of(images: list[int], mirrored: list[bool] | None = None) -> RegionSamples:
    """Return one sample an image, whose label is its position."""
    count = len(images)
    boxes = np.array([[3 * i, 2 * i, 20 + 3 * i, 25 + i] for i in range(count)], np.float32)
    flags = np.array(mirrored if mirrored is not None else [False] * count)
    return RegionSamples(np.array(images), boxes, np.arange(count), flags)


def test_regions_are_sorted_by_image_and_each_image_is_read_once(cache: ImageCache, files: list[Path]) -> None:
    batch = collect(samples_of([3, 0, 3, 2], [True, False, False, True]), cache, 32)
    assert batch.samples.images.tolist() == [0, 2, 3, 3]
    assert batch.samples.labels.tolist() == [1, 3, 0, 2]
    assert batch.samples.mirrored.tolist() == [False, True, True, False]
    assert batch.samples.boxes[0].tolist() == [3, 2, 23, 26]
    assert [pixels.shape[1] for pixels in batch.pixels] == [50, 52, 53]
    for pixels, number in zip(batch.pixels, (0, 2, 3), strict=True):
        np.testing.assert_array_equal(pixels.permute(1, 2, 0), read_image(files[number]))


def test_each_region_is_warped_from_its_own_image(cache: ImageCache, files: list[Path]) -> None:
    given = samples_of([3, 0, 3, 2], [True, False, False, True])
    batch = warp_batch(collect(given, cache, 32), REGION, CPU)
    assert batch.labels.tolist() == [1, 3, 0, 2]
    for region, label in zip(batch.inputs, batch.labels.tolist(), strict=True):
        pixels = normalise(torch.from_numpy(read_image(files[given.images[label]])).permute(2, 0, 1))
        (alone,) = warp(pixels, given.boxes[label][None], REGION)
        torch.testing.assert_close(region, alone.flip(2) if given.mirrored[label] else alone)


@pytest.mark.parametrize(("size", "padding"), [(32, 4), (48, 6), (64, 8), (20, 2), (36, 4)])
def test_the_context_keeps_its_share_of_the_side(cache: ImageCache, size: int, padding: int) -> None:
    regions = warp_batch(collect(samples_of([1]), cache, size), REGION, CPU).inputs
    scaled = Region(size=size, padding=padding, mode="warp")
    pixels = normalise(torch.from_numpy(cache[1]).permute(2, 0, 1))
    torch.testing.assert_close(regions, warp(pixels, samples_of([1]).boxes, scaled).contiguous())
    assert regions.is_contiguous(memory_format=torch.channels_last)


def test_the_loss_is_the_mean_negative_log_of_the_right_class() -> None:
    logits = torch.tensor([[1.0, 2.0, 0.5], [0.0, -1.0, 3.0]])
    labels = torch.tensor([1, 0])
    batch = LabelledBatch(torch.zeros(2, 3, 4, 4), labels)
    losses = classification_loss(lambda regions: logits + regions.sum() * 0, batch)
    shares = np.exp(logits.numpy()) / np.exp(logits.numpy()).sum(axis=1, keepdims=True)
    assert list(losses) == ["loss"]
    assert losses["loss"].item() == pytest.approx(-(np.log(shares[0, 1]) + np.log(shares[1, 0])) / 2)
