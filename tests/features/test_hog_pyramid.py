"""Pyramids: windows of them describe crops, boxes lie where the pixels came from, caches hold them."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from pipeline.core.sections import Hog
from pipeline.features.hog_pyramid import (
    Pyramid,
    WindowShape,
    cache_pyramids,
    compute_pyramid,
    descriptor_of,
    level_sizes,
    pyramid_entries,
    scales,
)
from pipeline.features.maps import ImageMaps, MapCache

ONE = Hog(finest=1, octaves=1, per_octave=1, dtype="float32")
KINDS = [{"descriptor": "dalal_triggs"}, {"orientations": 4, "block": 1}, {"descriptor": "felzenszwalb"}]


def photo(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Return noise that is smooth over some pixels, so that gradients go on from cell to cell."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 2)


def pyramid(image: np.ndarray, settings: Hog, margin: int) -> Pyramid:
    return Pyramid(compute_pyramid(image, settings), descriptor_of(settings), margin)


def test_sizes_halve_over_an_octave() -> None:
    assert scales(Hog(finest=2, octaves=2, per_octave=2)) == (2, 1.4142, 1, 0.7071, 0.5)
    input_hw, factors, hw = level_sizes([(64, 128)], Hog(finest=2, octaves=4, per_octave=1))
    assert input_hw.tolist() == [[256, 128], [128, 64], [64, 32], [32, 16], [16, 8]]
    assert factors[0].tolist() == [2, 2]
    assert hw.tolist() == [[31, 15], [15, 7], [7, 3], [3, 1], [1, 0]]


def test_the_paper_s_window_holds_3780_values_of_64_x_128_pixels() -> None:
    windows = pyramid(photo(128, 64), ONE, 0).windows(WindowShape(rows=12, columns=4, margin=2))
    assert windows.boxes.tolist() == [[16, 16, 48, 112]]  # a person with 16 pixels around
    assert windows[np.array([0])].shape == (1, 3780)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("margin", [0, 1])
def test_a_window_s_values_are_those_of_its_pixels(kind: dict, margin: int) -> None:
    image, shape, settings = photo(96, 112), WindowShape(4, 3, 1), ONE.model_copy(update=kind)
    windows = pyramid(image, settings, margin).windows(shape)
    box = [40, 32, 64, 64]  # x1 y1 x2 y2 of the object
    (row,) = [n for n, each in enumerate(windows.boxes.tolist()) if each == box]
    cut = image[32 - 24 : 64 + 24, 40 - 24 : 64 + 24]  # the margin of 8 pixels, and two cells more for the rim
    around = descriptor_of(settings).grid(cut)
    more = 2 - descriptor_of(settings).before
    np.testing.assert_allclose(windows[np.array([row])][0], around[more:-more, more:-more].ravel(), atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_the_products_of_windows_and_filter_on_all_levels(kind: dict) -> None:
    settings = Hog(**kind, finest=1.3, octaves=1, per_octave=3)
    found, shape = pyramid(photo(70, 90), settings, 1), WindowShape(3, 4, 1)
    rng = np.random.default_rng(1)
    filters = [
        rng.normal(size=(*each.grid(found.descriptor), found.descriptor.channels)).astype(np.float32)
        for each in (shape, shape, WindowShape(2, 2))
    ]
    windows = found.windows(shape)
    vectors = windows[np.arange(len(windows))]
    for weights, scores in zip(filters[:2], found.scores(filters), strict=False):
        np.testing.assert_allclose(scores, vectors @ weights.ravel(), atol=1e-4)
    assert len(found.scores(filters)[2]) == len(found.windows(WindowShape(2, 2)))


def test_boxes_of_a_level_are_in_pixels_of_the_image() -> None:
    settings = Hog(finest=2, octaves=1, per_octave=1)
    boxes = pyramid(photo(64, 64), settings, 0).windows(WindowShape(8, 8)).boxes
    assert boxes[0].tolist() == [0, 0, 32, 32]
    assert boxes[1].tolist() == [4, 0, 36, 32]
    assert len(boxes) == 9 * 9 + 1
    assert boxes[-1].tolist() == [0, 0, 64, 64]


def test_around_the_image_all_is_zero_but_the_channel_that_marks_it() -> None:
    for kind, channel in zip(KINDS, (None, None, 31), strict=True):
        settings = ONE.model_copy(update=kind)
        maps = compute_pyramid(photo(48, 48), settings)
        level = Pyramid(maps, descriptor_of(settings), 2).levels[0]
        more = 2 + descriptor_of(settings).before
        np.testing.assert_array_equal(level[more:-more, more:-more], maps.cells[0].reshape(*maps.hw[0], -1))
        outside = level.copy()
        outside[more:-more, more:-more] = 0
        marked = np.zeros(level.shape[2]) if channel is None else np.arange(level.shape[2]) == channel
        assert (outside[0, 0] == marked).all()
        assert outside.sum() == marked.sum() * (level.shape[0] * level.shape[1] - maps.hw[0].prod())


def test_an_image_too_small_for_a_level_has_no_window_there() -> None:
    found = pyramid(photo(20, 64), Hog(finest=1, octaves=1, per_octave=1), 1)
    shape = WindowShape(1, 2, 1)
    assert len(found.windows(shape)) == len(found.scores([np.zeros((2, 3, 36), np.float32)])[0]) > 0
    assert found.levels[1].shape == (0, 3, 36)
    nothing = Pyramid(ImageMaps([np.zeros((0, 36))], np.array([[0, 0]]), np.ones((1, 2))), descriptor_of(ONE), 1)
    assert nothing.scores([np.zeros((2, 3, 36), np.float32)])[0].shape == (0,)
    assert nothing.windows(shape).boxes.shape == (0, 4)


@pytest.mark.parametrize("kind", KINDS)
def test_the_cache_holds_the_pyramid_of_each_image(kind: dict, tmp_path: Path) -> None:
    """Shards are so small that images lie across their borders; one image is too small for any level."""
    settings = Hog(**kind, finest=1, octaves=1, per_octave=2, shard_mb=0.01)
    sizes = [(70, 50), (5, 6), (40, 90)]
    files = [tmp_path / f"{number}.png" for number in range(3)]
    images = [photo(height, width, seed) for seed, (width, height) in enumerate(sizes)]
    for file, image in zip(files, images, strict=True):
        Image.fromarray(image).save(file)
    (tmp_path / "scratch").mkdir()
    path = cache_pyramids(
        pyramid_entries([7, 8, 9], files, sizes, settings),
        settings,
        place=tmp_path / "scratch",
        workers=2,
        attributes={"system": "hog_svm"},
        title="caching",
    )
    cache = MapCache(path, "stage")
    assert cache.image_ids.tolist() == [7, 8, 9]
    assert cache.scales == scales(settings)
    for position, image in enumerate(images):
        found, expected = cache.image(position), compute_pyramid(image, settings)
        assert found.hw.tolist() == expected.hw.tolist()
        for own, other in zip(found.cells, expected.cells, strict=True):
            np.testing.assert_array_equal(own, other)


@pytest.mark.parametrize(("kind", "tolerance"), list(zip(KINDS, (0.03, 0.06, 1e-6), strict=True)))
def test_the_grid_of_a_mirrored_image_is_the_mirrored_grid(kind: dict, tolerance: float) -> None:
    """OpenCV's votes for a gradient and its mirror image differ by some hundredths of the whole.

    No gradient here is exactly vertical, halfway between two hard orientations: along x all are odd.
    """
    even = photo(64, 80)[..., :1] // 2 * 2
    image = np.repeat(even + (np.arange(80, dtype=np.uint8) % 4 // 2)[:, None], 3, axis=2)
    found = descriptor_of(ONE.model_copy(update=kind))
    grid, mirrored = found.grid(image), found.grid(np.ascontiguousarray(image[:, ::-1]))
    np.testing.assert_allclose(mirrored, found.mirror(grid), atol=tolerance)
    assert abs(mirrored - grid).max() > 0.1
    np.testing.assert_array_equal(found.mirror(found.mirror(grid)), grid)
