"""The regions in arrays against the package's own ``selective_search``: the same ones, in the same order."""

import warnings

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from selectivesearch import selective_search
from selectivesearch.selectivesearch import _calc_colour_hist

from pipeline.proposals.grouping import BIN_OF_VALUE, search


def package(image: np.ndarray, scale: int, sigma: float) -> list[tuple[int, int, int, int]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        _, regions = selective_search(image, scale=scale, sigma=sigma, min_size=scale)
    return [(x, y, x + width, y + height) for x, y, width, height in (region["rect"] for region in regions)]


def assert_same(image: np.ndarray, scales: tuple[int, ...], sigma: float) -> None:
    found = search(image, scales, sigma)
    assert len(found) == len(scales)
    for scale, corners in zip(scales, found, strict=True):
        assert list(map(tuple, corners.tolist())) == package(image, scale, sigma)


@given(
    st.integers(0, 2**32 - 1),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.sampled_from([1, 2, 3, 8]),  # side of the blocks
    st.sampled_from([2, 3, 16, 256]),  # values in each channel: few make ties
    st.sampled_from([0.01, 0.5, 0.8, 1.5]),
)
@settings(max_examples=60)
def test_random_images(seed, shape, block, values, sigma):
    cells = np.random.default_rng(seed).integers(0, values, (*shape, 3))
    image = (cells * 255 // (values - 1)).astype(np.uint8).repeat(block, axis=0).repeat(block, axis=1)
    assert_same(image[:44, :52], (1 if image.size < 500 else 10, 50, 200), sigma)


def test_equal_tiles_whose_pairs_are_all_alike():
    tile = np.full((20, 20, 3), 40, np.uint8)
    tile[3:17, 3:17] = (200, 90, 0)
    tile[7:13, 7:13] = (0, 90, 200)
    image = np.tile(tile, (3, 4, 1))
    assert len(search(image, (20,), 0.01)[0]) == 2 * (1 + 12 + 12) - 1
    assert_same(image, (20, 50), 0.01)


def test_scene_and_its_views(scene):
    for image in (scene, scene[::-1], scene.transpose(1, 0, 2), scene[:, :, ::-1]):
        assert_same(image, (50, 100, 150, 300), 0.8)


def test_photograph(photographs):
    ((pixels, _),) = photographs(slice(3, 4))
    assert_same(cv2.resize(pixels, (200, 150)), (50, 150), 0.8)


@pytest.mark.slow
def test_a_hundred_photographs(photographs):
    for pixels, _ in photographs(slice(None)):
        assert_same(cv2.resize(pixels, (160, 120)), (50, 100, 300), 0.8)


def test_every_value_falls_into_the_packages_bin():
    for value, bin_ in enumerate(BIN_OF_VALUE):
        histogram = _calc_colour_hist(np.array([[0.0, 0.0, value]]))
        assert histogram[50:].argmax() == bin_
