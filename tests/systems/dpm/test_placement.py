"""Placements: scores by slow sums over cells, vectors that weights turn into scores, boxes of parts, mirror images."""

import cv2
import numpy as np
import pytest

from pipeline.features.hog_pyramid import Pyramid, WindowShape, compute_pyramid, descriptor_of
from pipeline.features.maps import ImageMaps
from pipeline.systems.dpm.model import View, views_of
from pipeline.systems.dpm.placement import Mixture, Placements
from tests.systems.dpm.conftest import HOG, random_look

MARGIN, REACH = 1, 2
SHAPES = WindowShape(3, 2, 1), WindowShape(2, 3, 1)


def photo(height: int, width: int, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 2)


def placements(image: np.ndarray, views: list[View], descriptor: str = "felzenszwalb") -> Placements:
    hog = HOG.model_copy(update={"descriptor": descriptor})
    maps = compute_pyramid(image, hog)
    pyramid = Pyramid(maps, descriptor_of(hog), MARGIN, slice(hog.per_octave, None))
    return Placements(pyramid, maps, Mixture(views, MARGIN, REACH))


def cell_of(grid: np.ndarray, before: int, padding: int | None, y: int, x: int) -> np.ndarray:
    """Return the vector whose first cell is ``y, x`` of the image, which may lie around it."""
    y, x = y - before, x - before
    if 0 <= y < grid.shape[0] and 0 <= x < grid.shape[1]:
        return grid[y, x].astype(np.float64)
    return np.arange(grid.shape[2]) == padding if padding is not None else np.zeros(grid.shape[2])


@pytest.mark.parametrize("descriptor", ["dalal_triggs", "felzenszwalb"])
@pytest.mark.parametrize(("height", "width"), [(96, 80), (93, 107)])  # also sides that halve to odd numbers of cells
def test_scores_are_those_of_slow_sums(descriptor: str, height: int, width: int) -> None:
    found = descriptor_of(HOG.model_copy(update={"descriptor": descriptor}))
    looks = [random_look(1, SHAPES[0], 2, 1, descriptor), random_look(2, SHAPES[1], 1, 2, descriptor)]
    image = photo(height, width)
    placed = placements(image, views_of(looks, False, found), descriptor)
    maps = compute_pyramid(image, HOG.model_copy(update={"descriptor": descriptor}))
    grids = [cells.reshape(*hw, -1) for cells, hw in zip(maps.cells, maps.hw, strict=True)]

    def response(weights: np.ndarray, level: int, y: int, x: int) -> float:
        own = (grids[level], found.before, found.padding)
        return sum(weights[i, j] @ cell_of(*own, y + i, x + j) for i, j in np.ndindex(weights.shape[:2]))

    rng = np.random.default_rng(0)
    for number, look in enumerate(looks):
        windows = placed.windows(number)
        assert len(placed.scores[number]) == len(windows) > 15
        for row in rng.choice(len(windows), 12, replace=False):
            level, (at,) = placed.windows(number).places(np.array([row]))
            y, x = at - MARGIN  # the first cell of the window, in cells of the image
            score = look.bias + response(look.root, level[0] + HOG.per_octave, y, x)
            for part in look.parts:
                ax, bx, ay, by = part.cost.tolist()
                score += max(
                    response(part.weights, level[0], 2 * y + part.anchor[0] + dy, 2 * x + part.anchor[1] + dx)
                    - (ax * dx**2 - bx * dx + ay * dy**2 - by * dy)
                    for dy in range(-REACH, REACH + 1)
                    for dx in range(-REACH, REACH + 1)
                )
            assert placed.scores[number][row] == pytest.approx(score, abs=1e-3)


@pytest.mark.parametrize("descriptor", ["dalal_triggs", "felzenszwalb"])
@pytest.mark.parametrize("mirror", [False, True])
def test_the_weights_turn_vectors_into_scores(descriptor: str, mirror: bool) -> None:
    looks = [random_look(1, SHAPES[0], 2, 1, descriptor), random_look(1, SHAPES[1], 3, 2, descriptor)]
    views = views_of(looks, mirror, descriptor_of(HOG.model_copy(update={"descriptor": descriptor})))
    placed = placements(photo(96, 112), views, descriptor)
    for number, view in enumerate(views):
        rows = np.arange(len(placed.scores[number]))
        moves = placed.moves(number, rows)
        vectors = placed.vectors(number, rows, moves, 10)
        scores = vectors @ looks[view.origin].parameters(10)
        np.testing.assert_allclose(scores, placed.scores[number], atol=2e-4)
        assert np.abs(moves).max() == REACH


def test_parameters_go_into_a_look_and_back() -> None:
    look, other = random_look(1, SHAPES[0], 3, 1), random_look(1, SHAPES[0], 3, 2)
    filled = look.with_parameters(other.parameters(10), 10)
    np.testing.assert_array_equal(filled.parameters(10), other.parameters(10).astype(np.float32))
    assert [part.anchor for part in filled.parts] == [part.anchor for part in look.parts]


def test_a_part_s_box_shows_the_pixels_that_it_sees() -> None:
    """A part whose filter answers to one bright square alone is found on it, wherever the square is near the anchor."""
    look = random_look(1, WindowShape(4, 4, 0), 0)
    template = compute_pyramid(np.pad(np.full((8, 8, 3), 255, np.uint8), ((24, 24), (24, 24), (0, 0))), HOG)
    grid = template.cells[0].reshape(*template.hw[0], -1)  # of 7 x 7 cells, the square on the middle one
    part = type(random_look(1, SHAPES[0]).parts[0])
    seen = np.ascontiguousarray(grid[1:4, 1:4])  # cells 2 to 4
    moved = type(look)(look.component, look.root * 0, 0.0, (part((2, 2), seen, np.full(4, 0.001, np.float32)),))
    image = np.zeros((128, 128, 3), np.uint8)
    image[40:48, 56:64] = 255
    placed = placements(image, [View(moved, 0)])
    row = int(placed.scores[0].argmax())
    filters = placed.filters(0, np.array([row]), placed.moves(0, np.array([row])))[0]
    assert filters[1].tolist() == [48, 32, 72, 56]  # the square and a cell around it
    np.testing.assert_array_equal(filters[0], placed.windows(0).boxes[row])


@pytest.mark.parametrize("descriptor", ["dalal_triggs", "felzenszwalb"])
def test_mirrored_looks_see_in_mirrored_images_what_looks_see(descriptor: str) -> None:
    """The mirrored pyramid is made of the grids; that these are the grids of mirrored images is tested elsewhere."""
    found = descriptor_of(HOG.model_copy(update={"descriptor": descriptor}))
    looks = [random_look(1, SHAPES[0], 2, 1, descriptor), random_look(2, SHAPES[1], 1, 2, descriptor)]
    views = views_of(looks, True, found)
    maps = compute_pyramid(photo(128, 96), HOG.model_copy(update={"descriptor": descriptor, "per_octave": 1}))
    cells = [found.mirror(each.reshape(*hw, -1)) for each, hw in zip(maps.cells, maps.hw, strict=True)]
    mirrored = ImageMaps([each.reshape(-1, found.channels) for each in cells], maps.hw, maps.factors)
    here, there = (
        Placements(Pyramid(each, found, MARGIN, slice(1, None)), each, Mixture(views, MARGIN, REACH))
        for each in (maps, mirrored)
    )
    for own, other in ((0, 1), (1, 0), (2, 3), (3, 2)):
        boxes, turned = here.windows(own).boxes, there.windows(other).boxes[:, [2, 1, 0, 3]]
        turned[:, [0, 2]] = 96 - turned[:, [0, 2]]
        first, second = np.lexsort(boxes.T), np.lexsort(turned.T)
        np.testing.assert_array_equal(boxes[first], turned[second])
        np.testing.assert_allclose(here.scores[own][first], there.scores[other][second], atol=1e-4)
        assert len(boxes) > 30


def test_an_image_too_small_for_a_level_has_no_placement_there() -> None:
    views = [View(random_look(1, SHAPES[0], 2, 1), 0)]
    for shape in ((5, 5), (20, 90), (1, 300), (300, 3)):
        placed = placements(photo(*shape), views)
        assert len(placed.scores[0]) == len(placed.windows(0))
        assert np.isfinite(placed.scores[0]).all()
