"""Fitted shapes: overlaps against plain IoU, and a search that is never worse than what a person chose."""

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.core.boxes import iou
from pipeline.data.index import ImageRecord, Index
from pipeline.fitting import Objects, Seen, better, enlargement, raised_limit, raised_room, search, to_nearest


def index_of(*labels: int) -> Index:
    """Return an index with an image for each object, its box as wide as its number."""
    records = [
        ImageRecord(n, "", 100, 50, "", np.array([[0, 0, n, 9]], np.float32), np.array([label]), np.zeros(1, np.bool_))
        for n, label in enumerate(labels, 1)
    ]
    return Index(("a", "b"), tuple(records))


def seen_of(boxes: NDArray[np.float32], first: float, step: float, cells: int) -> Seen:
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    away = to_nearest(centres, first, step, np.array([cells, cells]))
    return Seen(boxes[:, 2:] - boxes[:, :2], away[:, None], np.full(len(boxes), 1 / len(boxes)))


@pytest.fixture
def boxes() -> NDArray[np.float32]:
    rng = np.random.default_rng(1)
    corners = rng.uniform(0, 180, (60, 2))
    return np.concatenate([corners, corners + rng.lognormal(3.5, 0.6, (60, 2))], axis=1).astype(np.float32)


def test_overlaps_are_those_with_the_boxes_of_every_cell(boxes: NDArray[np.float32]) -> None:
    shapes = np.array([[20, 40], [60, 30], [90, 90]], np.float32)
    places = 7 + 24 * np.arange(8)
    x, y = np.meshgrid(places, places)
    centres = np.stack([x, y], axis=-1).reshape(-1, 1, 2)
    grid = np.concatenate([centres - shapes / 2, centres + shapes / 2], axis=2).reshape(-1, 4)
    seen = seen_of(boxes, 7, 24, 8)
    found = seen.overlaps(shapes, np.zeros(3, np.int64))
    expected = iou(grid, boxes).max(axis=0)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert seen.mean(shapes, np.zeros(3, np.int64)) == pytest.approx(expected.mean(), abs=1e-5)
    assert seen.score(shapes, np.zeros(3, np.int64)) == pytest.approx(
        expected.mean() + (expected >= 0.5).mean(), abs=1e-5
    )


def squares(values: NDArray[np.float64]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    return np.stack([values, values], axis=1).astype(np.float32), np.zeros(len(values), np.int64)


def squares_seen(*sides: float) -> Seen:
    """Return square objects around the cells' centres."""
    sizes = np.array([sides, sides], np.float32).T
    return Seen(sizes, np.zeros((len(sides), 1, 2), np.float32), np.full(len(sides), 1 / len(sides)))


def test_the_search_finds_shapes_that_are_there() -> None:
    """Objects of two shapes around the cells' centres: two shapes overlap them wholly."""
    seen = squares_seen(*[30, 80] * 5)
    found = search([np.array([50.0, 60.0])], np.sort, squares, seen)
    np.testing.assert_allclose(found, [30, 80], rtol=0.02)
    for start in ([32.0, 128.0], [10.0, 20.0]):
        assert seen.score(*squares(search([np.array(start)], np.sort, squares, seen))) >= seen.score(
            *squares(np.array(start))
        )


def test_only_rounded_values_are_tried_and_nothing_worse_than_a_start_is_returned() -> None:
    """Objects of 10 and 19: 14 overlaps both by half, (10/14)^2 = .51 and (14/19)^2 = .54; 10 and 20 only one of them.

    In whole tens 10 is better, (1 + .28) / 2 and one half more, than 20, (.25 + .90) / 2 and one half more.
    """
    seen = squares_seen(10, 19)

    def tens(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.round(values, -1)

    exact = search([np.array([10.5])], np.sort, squares, seen)
    assert seen.score(*squares(exact)) > 1.5
    assert search([np.array([10.0]), np.array([20.0])], tens, squares, seen).tolist() == [10]
    assert search([exact], tens, squares, seen).tolist() == exact.tolist()


def test_shapes_that_train_on_enough_of_the_objects_stay() -> None:
    """One of 40 overlaps those of 30 by .5625 and of 80 by .25: half of the objects, and 20 in 21 of them."""
    now, spread = np.array([40.0, 400.0]), np.array([30.0, 80.0])
    few, many = squares_seen(30, 80), squares_seen(*[30] * 20, 80)
    found = better(now, spread, np.round, squares, few, 0.5, "here; the best")
    assert found is not None
    np.testing.assert_allclose(found[0], [30, 80], atol=1)
    assert found[1].endswith("1.00 on average, so far 0.41")
    assert better(now, spread, np.round, squares, many, 0.5, "") is None
    assert better(now, spread, np.round, squares, many, 0.6, "") is not None, "where a closer one is needed"


def test_half_the_weight_is_the_classes_and_half_the_objects() -> None:
    objects = Objects.of([index_of(1, 1, 1, 2)], difficult=True)
    np.testing.assert_allclose(objects.weights, [(1 / 4 + 1 / 6) / 2] * 3 + [(1 / 4 + 1 / 2) / 2])
    assert objects.images.tolist() == [[100, 50]] * 4


def test_a_sample_keeps_the_weight_of_each_class(monkeypatch: pytest.MonkeyPatch) -> None:
    objects = Objects.of([index_of(*[1] * 90, *[2] * 3)], difficult=True)
    monkeypatch.setattr("pipeline.fitting.SAMPLE", 20)
    sample = objects.sample()
    assert np.bincount(sample.labels).tolist() == [0, 10, 3]
    for label in (1, 2):
        expected = objects.weights[objects.labels == label].sum()
        assert sample.weights[sample.labels == label].sum() == pytest.approx(expected)
    assert sample.boxes[[0, 9], 2].tolist() == [1, 90], "spread over all"


def test_an_image_grows_until_small_objects_span_two_cells_and_twice_at_most() -> None:
    sides = np.array([20.0] * 10 + [100.0] * 90, np.float32)
    assert enlargement(sides, 16) == (pytest.approx(20), pytest.approx(1.6))
    assert enlargement(sides, 8)[1] == 1
    assert enlargement(sides, 64)[1] == 2


def test_limits_rise_with_the_objects() -> None:
    index = index_of(1, 1, 2)
    assert raised_limit(20, [index], "k") == []
    assert [(each.key, each.value) for each in raised_limit(19, [index], "k")] == [("k", 20)]
    assert raised_room(2, [index], "k") == []
    assert [each.value for each in raised_room(1, [index], "k")] == [2]
