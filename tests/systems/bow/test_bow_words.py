"""Dense SIFT, its grid and the vocabulary, against OpenCV one keypoint at a time, slow loops and worked examples."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.core.errors import InputError
from pipeline.data.images import read_image
from pipeline.data.index import Index
from pipeline.systems.bow.cache import WordCache, cache_words
from pipeline.systems.bow.params import Words
from pipeline.systems.bow.regions import box_counts, draw_boxes
from pipeline.systems.bow.search import Pyramid
from pipeline.systems.bow.words import Grid, Vocabulary, descriptors, learn_vocabulary, sample_descriptors

PAPER = Words(step=8, patch=16)


def pixels(height: int = 60, width: int = 90) -> np.ndarray:
    return cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8), (5, 5), 1)


@pytest.mark.parametrize(("size", "patches"), [((300, 250), 1080), ((192, 192), 529), ((16, 16), 1), ((15, 90), 0)])
def test_the_papers_grid_has_so_many_patches(size: tuple[int, int], patches: int) -> None:
    grid = Grid.of(*size, PAPER)
    assert len(grid) == len(grid.points) == patches


def test_larger_images_are_shrunk() -> None:
    grid = Grid.of(2000, 1000, PAPER)
    assert grid.shrunk == (512, 256)
    assert Grid.of(512, 400, PAPER).factor == 1
    assert grid.boxes(np.array([[0, 0, *grid.hw[::-1]]])).max() <= 2000


def test_a_descriptor_is_that_of_an_upright_keypoint_of_a_sixth_of_the_patch() -> None:
    image, grid = pixels(), Grid.of(90, 60, PAPER)
    found = descriptors(image, grid)
    assert found.shape == (60, 128)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    for row, (x, y) in zip(found, grid.points, strict=True):
        alone = cv2.SIFT_create().compute(grey, [cv2.KeyPoint(float(x), float(y), 16 / 6, 0)])[1][0]
        np.testing.assert_array_equal(row, alone)


def test_a_descriptor_sees_its_patch_and_hardly_more() -> None:
    """A change 16 pixels from the middle is no part of a patch of 16, even blurred; one inside is."""
    image, grid = pixels(), Grid.of(90, 60, PAPER)
    middle = int(np.flatnonzero((grid.points == [40, 32]).all(axis=1))[0])
    far, near = image.copy(), image.copy()
    far[32, 57], near[32, 43] = 255 - far[32, 57], 255 - near[32, 43]
    before = descriptors(image, grid)[middle]
    np.testing.assert_array_equal(descriptors(far, grid)[middle], before)
    assert (descriptors(near, grid)[middle] != before).any()


def test_boxes_hold_the_patches_whose_middles_lie_in_them() -> None:
    grid = Grid.of(300, 250, PAPER)
    rng = np.random.default_rng(1)
    corners = np.sort(rng.uniform(-5, 310, (200, 2, 2)), axis=1)
    boxes = corners.reshape(-1, 4).astype(np.float32)
    rows, columns = grid.hw
    for box, cells in zip(boxes, grid.cells(boxes), strict=True):
        x, y = grid.points.T
        inside = ((x >= box[0]) & (x < box[2]) & (y >= box[1]) & (y < box[3])).reshape(rows, columns)
        expected = np.zeros_like(inside)
        expected[cells[1] : cells[3], cells[0] : cells[2]] = True
        np.testing.assert_array_equal(inside, expected)


def test_cells_become_the_boxes_that_hold_them() -> None:
    grid = Grid.of(1200, 700, PAPER)
    rng = np.random.default_rng(2)
    rows, columns = grid.hw
    edges = [np.sort(rng.choice(side + 1, 2, replace=False)) for side in (columns, rows) * 50]
    cells = np.array([(x[0], y[0], x[1], y[1]) for x, y in zip(edges[::2], edges[1::2], strict=True)])
    np.testing.assert_array_equal(grid.cells(grid.boxes(cells)), cells)


def test_words_are_the_nearest_centres() -> None:
    rng = np.random.default_rng(3)
    values, centres = rng.random((50, 128), np.float32), rng.random((9, 128), np.float32)
    distances = ((values[:, None] - centres) ** 2).sum(axis=2)
    np.testing.assert_array_equal(Vocabulary(centres)(values), distances.argmin(axis=1))


def test_k_means_finds_separate_groups_again_and_the_same_each_time() -> None:
    rng = np.random.default_rng(4)
    groups = rng.random((5, 128)) * 100
    values = (np.repeat(groups, 60, axis=0) + rng.normal(0, 0.1, (300, 128))).astype(np.float32)
    found = learn_vocabulary(values, 5, seed=1)
    assert len(np.unique(found(values[::60]))) == 5
    np.testing.assert_array_equal(learn_vocabulary(values, 5, seed=1).centres, found.centres)


def test_a_vocabulary_needs_as_many_patches() -> None:
    with pytest.raises(InputError, match=r"bow\.words\.vocabulary is 5, but the training images have 4 patches"):
        learn_vocabulary(np.zeros((4, 128), np.float32), 5, seed=1)


def test_patches_are_sampled_from_all_images_alike(squares) -> None:
    root, records = squares
    values = sample_descriptors(records, root, Words(step=8, samples=50), seed=1)
    assert values.shape == (50, 128)
    first = sample_descriptors(records[:1], root, Words(step=8, samples=7), seed=1)
    np.testing.assert_array_equal(values[:7], first)


def test_cached_words_are_those_of_the_pixels_in_any_shards(squares, tmp_path: Path) -> None:
    root, records = squares
    index, vocabulary = (
        Index(("red", "blue"), tuple(records)),
        Vocabulary(np.random.default_rng(5).random((30, 128), np.float32) * 60),
    )
    words = Words(step=4)
    path = cache_words(
        records, root, words, vocabulary, place=tmp_path, workers=2, attributes={"system": "bow"}, title="caching"
    )
    cache = WordCache(path, index, words)
    for record, (rows, grid) in zip(records, cache.images(), strict=True):
        np.testing.assert_array_equal(rows, vocabulary.words(read_image(root / record.file), grid))
    np.testing.assert_array_equal(cache[3], vocabulary.words(read_image(root / records[3].file), cache.grids[3]))
    with pytest.raises(InputError, match="other images"):
        WordCache(path, Index(("red", "blue"), tuple(records[1:])), words)


@pytest.mark.parametrize("levels", [1, 3])
def test_words_in_boxes_are_counted_by_cell(levels: int) -> None:
    rng = np.random.default_rng(6)
    words = rng.integers(0, 7, (9, 12)).astype(np.uint16)
    boxes = np.array([[0, 0, 12, 9], [3, 2, 8, 7], [5, 5, 6, 6], [4, 4, 4, 8]])
    counts = box_counts(words, boxes, Pyramid(levels), 7).reshape(len(boxes), -1, 7)
    for box, of_box in zip(boxes, counts, strict=True):
        left, top, right, bottom = box.tolist()
        np.testing.assert_array_equal(of_box[0], np.bincount(words[top:bottom, left:right].ravel(), minlength=7))
        cell = 1
        for n in range(2, levels + 1):  # every word stands in one cell of each level
            np.testing.assert_array_equal(of_box[cell : cell + n * n].sum(axis=0), of_box[0])
            cell += n * n


def test_drawn_boxes_lie_in_the_image_and_depend_on_it_alone(squares) -> None:
    _, records = squares
    boxes = draw_boxes(records[0], 500, seed=1)
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] <= [112, 96]).all()
    assert (boxes[:, 2:] - boxes[:, :2] >= [11.1, 9.5]).all()
    np.testing.assert_array_equal(draw_boxes(records[0], 500, seed=1), boxes)
    assert (draw_boxes(records[1], 500, seed=1) != boxes).any()
