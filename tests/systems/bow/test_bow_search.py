"""Efficient subwindow search against exhaustive search, and its bounds against the scores of boxes."""

from itertools import product

import numpy as np
import pytest

from pipeline.systems.bow.search import Pyramid, Scores, best_boxes, box_count, cell_count

NO_LIMIT = 10**9
GRID = [
    [-1, -1, -1, -1, -1, -1],
    [-1, 2, 3, -1, -1, -1],
    [-1, 1, -4, 2, -1, -1],
    [-1, 3, 2, 1, -1, 4],
    [-1, -1, -1, -1, -1, -1],
]


def all_boxes(rows: int, columns: int) -> list[tuple[int, int, int, int]]:
    spans = [[(a, b) for a in range(side) for b in range(a + 1, side + 1)] for side in (columns, rows)]
    return [(left, top, right, bottom) for (left, right), (top, bottom) in product(*spans)]


def score(weights: np.ndarray, levels: int, box: tuple[int, int, int, int]) -> float:
    """Return the score of a box by sums over slices; ``weights`` is ``(cells, rows, columns)``."""
    left, top, right, bottom = box
    total, cell = 0.0, 0
    for n in range(1, levels + 1):
        for row, column in product(range(n), range(n)):
            ys = slice(((n - row) * top + row * bottom) // n, ((n - row - 1) * top + (row + 1) * bottom) // n)
            xs = slice(
                ((n - column) * left + column * right) // n, ((n - column - 1) * left + (column + 1) * right) // n
            )
            total += weights[cell, ys, xs].sum()
            cell += 1
    return total


def test_the_cells_of_a_pyramid_are_those_of_all_grids_up_to_the_last() -> None:
    assert [cell_count(levels) for levels in (1, 2, 3, 4)] == [1, 5, 14, 30]
    assert [len(Pyramid(levels)) for levels in (1, 2, 3, 4)] == [1, 5, 14, 30]
    assert [len(Pyramid.of_cells(cells)) for cells in (1, 5, 14, 30)] == [1, 5, 14, 30]


def test_the_boxes_of_a_grid_are_counted() -> None:
    assert box_count(5, 6) == len(all_boxes(5, 6)) == 315
    assert box_count(31, 31) == 246_016


def test_the_worked_example() -> None:
    """Its optimum of 9 has two boxes: rows and columns 1 to 3, and columns 1 to 5 of row 3."""
    weights = np.array([[GRID]], float)
    scores = Scores(weights, Pyramid(1))
    whole = scores.bounds(np.array([0]), np.array([[0, 0, 1, 1]]), np.array([[5, 4, 6, 5]]))
    assert whole.tolist() == [18]
    best = [box for box in all_boxes(5, 6) if score(weights[0], 1, box) == 9]
    assert best == [(1, 1, 4, 4), (1, 3, 6, 4)]
    assert max(score(weights[0], 1, box) for box in all_boxes(5, 6)) == 9
    found = best_boxes(scores, np.array([-np.inf]), NO_LIMIT)
    assert found.scores.tolist() == [9]
    assert tuple(found.boxes[0].tolist()) in best
    assert found.proven.all()


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_the_best_box_is_that_of_an_exhaustive_search(levels: int) -> None:
    rng = np.random.default_rng(levels)
    for _ in range(17):
        rows, columns = rng.integers(1, 9, 2)
        weights = rng.normal(rng.normal(0, 0.3), 1, (3, cell_count(levels), rows, columns))
        found = best_boxes(Scores(weights, Pyramid(levels)), np.full(3, -np.inf), NO_LIMIT)
        for of_class, box, best in zip(weights, found.boxes, found.scores, strict=True):
            exhaustive = {box: score(of_class, levels, box) for box in all_boxes(rows, columns)}
            assert best == pytest.approx(max(exhaustive.values()))
            assert exhaustive[tuple(box.tolist())] == pytest.approx(best)
        assert found.proven.all()


@pytest.mark.parametrize("levels", [1, 2, 4])
def test_no_box_scores_more_than_the_bound_of_its_set(levels: int) -> None:
    rng = np.random.default_rng(levels)
    weights = rng.normal(size=(1, cell_count(levels), 12, 15))
    scores = Scores(weights, Pyramid(levels))
    edges = np.sort([[rng.integers(0, 16, 2), rng.integers(0, 13, 2)] for _ in range(3000)], axis=2)
    boxes = edges.transpose(0, 2, 1).reshape(-1, 4)
    boxes = boxes[(boxes[:, 0] < boxes[:, 2]) & (boxes[:, 1] < boxes[:, 3])][:1000]
    room = rng.integers(0, 5, boxes.shape)
    low, high = boxes - room, boxes + rng.integers(0, 5, boxes.shape)
    low, high = np.clip(low, [0, 0, 1, 1], [14, 11, 15, 12]), np.clip(high, [0, 0, 1, 1], [14, 11, 15, 12])
    labels = np.zeros(len(boxes), np.int64)
    exact = [score(weights[0], levels, tuple(box)) for box in boxes.tolist()]
    assert (scores.bounds(labels, low, high) >= np.array(exact) - 1e-9).all()
    np.testing.assert_allclose(scores.bounds(labels, boxes, boxes), exact, atol=1e-9)


def test_a_class_without_a_box_above_its_floor_has_none_and_an_infinite_floor_is_not_searched() -> None:
    weights = np.array([GRID] * 4, float)[:, None]
    found = best_boxes(Scores(weights, Pyramid(1)), np.array([8.5, 9, 18, np.inf]), NO_LIMIT)
    assert found.boxes[:, 2].astype(bool).tolist() == [True, False, False, False]
    assert found.scores.tolist() == [9, 9, 18, np.inf]
    assert found.evaluated[0] > found.evaluated[2] == 1 > found.evaluated[3] == 0


def test_a_search_that_reaches_its_limit_says_so() -> None:
    weights = np.random.default_rng(0).normal(size=(2, 1, 31, 31))
    scores, floors = Scores(weights, Pyramid(1)), np.full(2, -np.inf)
    cut, whole = best_boxes(scores, floors, 1000), best_boxes(scores, floors, NO_LIMIT)
    assert not cut.proven.any()
    assert whole.proven.all()
    assert (cut.scores <= whole.scores).all()
    assert cut.evaluated.sum() < whole.evaluated.sum()


def test_where_an_object_stands_out_the_search_evaluates_a_small_share_of_the_boxes() -> None:
    weights = np.random.default_rng(3).normal(-0.5, 1, (10, 1, 31, 31))
    weights[:, :, 8:20, 10:19] += 1.5
    found = best_boxes(Scores(weights, Pyramid(1)), np.full(10, -np.inf), NO_LIMIT)
    assert found.evaluated.mean() < 0.05 * box_count(31, 31)


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0, 0)])
def test_a_grid_without_places_has_no_box(shape: tuple[int, int]) -> None:
    found = best_boxes(Scores(np.zeros((2, 1, *shape)), Pyramid(1)), np.full(2, -np.inf), NO_LIMIT)
    assert not found.boxes.any()
    assert not found.evaluated.any()
