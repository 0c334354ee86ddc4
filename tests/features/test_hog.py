"""Histograms of oriented gradients: worked values, scikit-image, slices of a grid, and correlation by hand."""

import numpy as np
import pytest
from skimage.feature import hog

from pipeline.features.hog import correlate, dalal_triggs, felzenszwalb


def grey(values: np.ndarray) -> np.ndarray:
    return np.repeat(values.astype(np.uint8)[..., None], 3, axis=2)


Y, X = np.mgrid[:40, :40]
STEP = 100 * (X >= 20)


def test_lengths_for_the_paper_s_window() -> None:
    window = np.zeros((128, 64, 3), np.uint8)
    assert dalal_triggs(window).size == 3780
    assert felzenszwalb(window).shape == (14, 6, 32)


def test_a_horizontal_gradient_votes_half_for_the_first_and_half_for_the_last_orientation() -> None:
    cells = dalal_triggs(grey(3 * X))[1, 1].reshape(4, 9)  # centres of the orientations: 10, 30, ... 170 degrees
    assert cells[:, [0, 8]] == pytest.approx(1 / np.sqrt(8), abs=1e-3)
    assert cells[:, 1:8] == pytest.approx(0, abs=1e-6)


def test_a_gradient_in_the_middle_of_an_orientation_is_what_scikit_image_finds() -> None:
    # 9.5 degrees: nothing to interpolate, which scikit-image does not do; its rim is left out.
    image = grey(np.mgrid[:32, :32].transpose(1, 2, 0) @ (1, 6))
    theirs = hog(image, 9, (8, 8), (2, 2), "L2-Hys", feature_vector=False, channel_axis=-1)[1, 1].reshape(4, 9)
    assert dalal_triggs(image)[1, 1].reshape(4, 9)[:, 0] == pytest.approx(theirs[:, 0], abs=0.005)
    assert theirs[:, 0] == pytest.approx(0.5, abs=1e-3)


def test_a_cell_alone_as_summed_by_hand() -> None:
    image = (8 * X[:24, :24] + np.random.default_rng(0).integers(0, 20, (24, 24))).astype(np.uint8)
    y, x = np.mgrid[8:16, 8:16]
    values = image.astype(float)
    dx, dy = values[y, x + 1] - values[y, x - 1], values[y + 1, x] - values[y - 1, x]
    place = np.degrees(np.arctan2(dy, dx)) % 180 / 45 - 0.5  # four orientations of 45 degrees
    below = np.floor(place).astype(int)
    steps = np.arange(8)
    nearness = 1 - np.abs((steps + 0.5) / 8 - 0.5)  # of a pixel to the middle of the cell
    gauss = np.exp(-((steps - 4) ** 2) / (2 * 4**2))  # OpenCV's lies half a pixel beside the middle
    votes = np.hypot(dx, dy) * np.outer(nearness * gauss, nearness * gauss)
    histogram = np.bincount(below.ravel() % 4, (votes * (1 - place + below)).ravel(), 4)
    histogram += np.bincount((below.ravel() + 1) % 4, (votes * (place - below)).ravel(), 4)
    clipped = np.minimum(histogram / np.linalg.norm(histogram), 0.2)
    found = dalal_triggs(grey(image), bins=4, block=1)
    assert found.shape == (3, 3, 4)
    assert clipped.min() < 0.15 < clipped.max()
    assert found[1, 1] == pytest.approx(clipped / np.linalg.norm(clipped), abs=2e-3)


def test_blocks_of_a_part_are_a_slice_of_the_whole() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 80, 3), np.uint8)
    inside = dalal_triggs(image[8:56, 16:72])[1:-1, 1:-1]  # the outermost lack the pixels around
    np.testing.assert_allclose(inside, dalal_triggs(image)[2:5, 3:7], atol=1e-6)


@pytest.mark.parametrize(
    ("image", "channels"),
    [(X, (0, 18)), (STEP, (0, 18)), (100 - STEP, (9, 18)), (X + Y, (2, 20))],
)
def test_the_31_dimensions_of_ramps_and_steps(image: np.ndarray, channels: tuple[int, int]) -> None:
    centre = felzenszwalb(grey(image))[1, 1]
    assert centre[list(channels)] == pytest.approx(0.4, abs=1e-4)
    assert centre[27:31] == pytest.approx(0.04714, abs=1e-5)
    assert np.delete(centre, [*channels, 27, 28, 29, 30]) == pytest.approx(0, abs=1e-6)


def test_sums_and_sides_of_the_31_dimensions() -> None:
    assert felzenszwalb(grey(X)).shape == (3, 3, 32)
    assert felzenszwalb(grey(X)).sum() == pytest.approx(8.89704, abs=1e-4)
    assert felzenszwalb(grey(STEP))[:, [0, 2], 0] == pytest.approx(
        np.array([[0.22476] * 2, [0.22356] * 2, [0.22476] * 2]), abs=1e-4
    )
    assert not felzenszwalb(grey(np.full((40, 40), 7))).any()


def slow_votes(image: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """The loop of features.cc over the pixels of a colour image."""
    pixels, votes = image.astype(float), np.zeros((rows, columns, 18))
    for y in range(1, rows * 8 - 1):
        for x in range(1, columns * 8 - 1):
            i, j = min(y, len(image) - 2), min(x, image.shape[1] - 2)
            dx, dy = pixels[i, j + 1] - pixels[i, j - 1], pixels[i + 1, j] - pixels[i - 1, j]
            channel = max(range(3), key=lambda c: dx[c] ** 2 + dy[c] ** 2)
            best, orientation = 0.0, 0
            for o in range(9):
                dot = np.cos(o * np.pi / 9) * dx[channel] + np.sin(o * np.pi / 9) * dy[channel]
                if abs(dot) > best:
                    best, orientation = abs(dot), o if dot > 0 else o + 9
            top, left = int((y + 0.5) / 8 + 0.5) - 1, int((x + 0.5) / 8 + 0.5) - 1
            down, right = (y + 0.5) / 8 - 0.5 - top, (x + 0.5) / 8 - 0.5 - left
            for row, share_y in ((top, 1 - down), (top + 1, down)):
                for column, share_x in ((left, 1 - right), (left + 1, right)):
                    if 0 <= row < rows and 0 <= column < columns:
                        votes[row, column, orientation] += share_y * share_x * np.hypot(dx[channel], dy[channel])
    return votes


@pytest.mark.parametrize(("height", "width"), [(28, 36), (27, 43)])  # both round up and down to whole cells
def test_the_31_dimensions_of_a_random_image_are_those_of_a_slow_loop(height: int, width: int) -> None:
    image = np.random.default_rng(2).integers(0, 256, (height, width, 3), np.uint8)
    rows, columns = int(height / 8 + 0.5), int(width / 8 + 0.5)
    votes = slow_votes(image, rows, columns)
    unsigned = votes[..., :9] + votes[..., 9:]
    energy = (unsigned**2).sum(axis=2)
    found = felzenszwalb(image)
    assert found.shape == (rows - 2, columns - 2, 32)
    for y, x in np.ndindex(rows - 2, columns - 2):
        corners = [(y + 1, x + 1), (y, x + 1), (y + 1, x), (y, x)]
        norms = [1 / np.sqrt(energy[r : r + 2, c : c + 2].sum() + 1e-4) for r, c in corners]
        sensitive = np.array([np.minimum(votes[y + 1, x + 1] * norm, 0.2) for norm in norms])
        insensitive = np.array([np.minimum(unsigned[y + 1, x + 1] * norm, 0.2) for norm in norms])
        expected = [sensitive.sum(0) / 2, insensitive.sum(0) / 2, 0.2357 * sensitive.sum(1), [0]]
        np.testing.assert_allclose(found[y, x], np.concatenate(expected), atol=1e-5)


def test_a_correlation_scores_every_window_as_a_slow_loop_does() -> None:
    rng = np.random.default_rng(1)
    grid = rng.normal(size=(9, 7, 5)).astype(np.float32)
    filters = [rng.normal(size=(h, w, 5)).astype(np.float32) for h, w in [(3, 2), (9, 7), (1, 1)]]
    for weights, scores in zip(filters, correlate(grid, filters), strict=True):
        h, w = weights.shape[:2]
        slow = [[(grid[y : y + h, x : x + w] * weights).sum() for x in range(8 - w)] for y in range(10 - h)]
        np.testing.assert_allclose(scores, slow, atol=1e-4)


@pytest.mark.parametrize("side", [3, 8, 15, 19])
def test_what_is_too_small_has_no_cell_and_no_window(side: int) -> None:
    image = np.zeros((side, 80, 3), np.uint8)
    assert len(dalal_triggs(image)) == max(side // 8 - 1, 0)
    assert len(felzenszwalb(image)) == 0
    assert correlate(dalal_triggs(image), [np.zeros((4, 4, 36), np.float32)])[0].shape == (0, 6)
