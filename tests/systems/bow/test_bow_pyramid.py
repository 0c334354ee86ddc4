"""Spatial pyramid matching against the paper's kernel, worked examples and the exact intersection."""

import numpy as np
import pytest

from pipeline.linear.classification import classification_metrics
from pipeline.systems.bow.params import WholeImages
from pipeline.systems.bow.pyramid import image_scores, intersection, intersection_map, level_weight, pyramid_histogram


def test_the_finest_level_weighs_most() -> None:
    assert [level_weight(level, 2) for level in range(3)] == [0.25, 0.25, 0.5]
    assert level_weight(0, 0) == 1


@pytest.mark.parametrize(("words", "levels", "length"), [(200, 2, 4200), (400, 2, 8400), (400, 3, 34000)])
def test_the_histogram_has_a_value_for_each_word_and_cell(words: int, levels: int, length: int) -> None:
    assert len(pyramid_histogram(np.zeros((0, 2)), np.zeros(0, np.int64), words, levels)) == length


def test_the_worked_example() -> None:
    """Intersections of 2, 2 and 1 at levels 0, 1 and 2; histograms are divided by the two patches of an image."""
    x, y = np.array([[0.1, 0.1], [0.9, 0.9]]), np.array([[0.2, 0.2], [0.6, 0.9]])
    word = np.zeros(2, np.int64)
    one, other = (pyramid_histogram(points, word, 1, 2)[None] for points in (x, y))
    assert 2 * intersection(one, other)[0, 0] == pytest.approx(0.25 * 2 + 0.25 * 2 + 0.5 * 1) == 1.5
    assert 2 * intersection(one, one)[0, 0] == pytest.approx(2)


def test_the_kernel_is_the_papers_sum_over_levels() -> None:
    rng = np.random.default_rng(0)
    points, words = rng.random((2, 60, 2)), rng.integers(0, 4, (2, 60))
    expected = 0.0
    for level, weight in enumerate((0.25, 0.25, 0.5)):
        side = 2**level
        for row in range(side):
            for column in range(side):
                inside = (np.floor(points * side) == [column, row]).all(axis=2)
                for word in range(4):
                    expected += weight * min(((words == word) & inside).sum(axis=1)) / 60
    a, b = (pyramid_histogram(points[i], words[i], 4, 2)[None] for i in range(2))
    assert intersection(a, b)[0, 0] == pytest.approx(expected, abs=1e-6)


def test_the_intersection_is_the_sum_of_the_smaller_values() -> None:
    a, b = np.float32([[0.2, 0.3, 0.5, 0]]), np.float32([[0.4, 0.1, 0.3, 0.2]])
    assert intersection(a, b)[0, 0] == pytest.approx(0.6)
    rng = np.random.default_rng(1)
    many, few = rng.random((40, 9), np.float32), rng.random((6, 9), np.float32)
    expected = [[sum(min(x, y) for x, y in zip(one, other, strict=True)) for other in few] for one in many]
    np.testing.assert_allclose(intersection(many, few), expected, rtol=1e-5)


@pytest.mark.parametrize(("order", "period", "expected"), [(1, 0.65, 0.580), (2, 0.5, 0.600), (3, 0.4, 0.608)])
def test_the_explicit_map_comes_near_the_intersection(order: int, period: float, expected: float) -> None:
    a = intersection_map(np.float32([[0.2, 0.3, 0.5, 0]]), order, period)
    b = intersection_map(np.float32([[0.4, 0.1, 0.3, 0.2]]), order, period)
    assert a.shape == (1, 4 * (2 * order + 1))
    assert float((a * b).sum()) == pytest.approx(expected, abs=5e-4)


@pytest.mark.parametrize("settings", [WholeImages(), WholeImages(exact_up_to=0), WholeImages(kernel="linear")], ids=str)
def test_classes_told_apart_by_place_are_learned_by_the_pyramid_alone(settings: WholeImages) -> None:
    """Both kinds of image have the same words, one kind all of word 0 in the left half."""
    rng = np.random.default_rng(2)
    histograms: dict[int, list[np.ndarray]] = {0: [], 1: []}
    shown = np.zeros((60, 3), np.int8)
    shown[:, 0], shown[:, 2] = rng.random(60) < 0.5, 1
    for kind in shown[:, 0]:
        points, words = rng.random((80, 2)), np.arange(80) % 2
        points[:, 0] = np.where((words == 0) == bool(kind), points[:, 0] / 2, 0.5 + points[:, 0] / 2)
        for levels, rows in histograms.items():
            rows.append(pyramid_histogram(points, words, 2, levels))
    precisions = []
    for rows in histograms.values():
        values = np.stack(rows)
        scores = image_scores(values[:40], shown[:40], values[40:], settings, seed=1)
        assert np.isneginf(scores[:, 1:]).all()  # no image and all images
        precisions.append(classification_metrics(scores[:, :1], shown[40:, :1])["map_voc"])
    assert precisions[1] == 1
    assert precisions[0] < 0.95


def test_the_linear_kernel_is_of_unit_norm() -> None:
    """However large the histograms are, an image's product with itself is 1, as its intersection is."""
    rng = np.random.default_rng(3)
    values, settings = rng.random((30, 12), np.float32), WholeImages(kernel="linear")
    shown = (values[:, :1] > 0.5).astype(np.int8)
    scores = image_scores(values[:20], shown[:20], values[20:], settings, seed=1)
    sizes = rng.uniform(0.1, 10, (30, 1)).astype(np.float32)
    again = image_scores((sizes * values)[:20], shown[:20], (sizes * values)[20:], settings, seed=1)
    np.testing.assert_allclose(again, scores, atol=1e-5)
