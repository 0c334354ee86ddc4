"""Boxes fitted by least squares: the mean for one input, scikit-learn's regression for several."""

import numpy as np
from sklearn.linear_model import LinearRegression

from pipeline.linear.box_fit import fit_boxes, fitted_boxes


def drawn(count: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 100, (count, 2))
    windows = np.concatenate([corners, corners + rng.uniform(20, 60, (count, 2))], axis=1).astype(np.float32)
    return windows, windows + rng.normal(0, 3, (count, 4)).astype(np.float32)


def test_with_a_one_alone_edges_move_by_their_mean_offset() -> None:
    windows = np.array([[0, 0, 10, 20], [100, 50, 120, 90]], np.float32)
    objects = np.array([[1, 0, 9, 18], [104, 50, 120, 88]], np.float32)  # left +.1 and +.2, right -.1 and 0
    found = fit_boxes(np.ones((2, 1)), windows, objects)
    np.testing.assert_allclose(found, [[0.15, 0, -0.05, -0.075]], atol=1e-6)
    moved = fitted_boxes(found, np.ones((1, 1)), np.array([[10, 10, 50, 50]], np.float32))
    np.testing.assert_allclose(moved, [[16, 10, 48, 47]], atol=1e-5)


def test_with_places_of_parts_it_is_scikit_learn_s_regression() -> None:
    windows, objects = drawn(80)
    inputs = np.concatenate([np.random.default_rng(1).normal(size=(80, 4)), np.ones((80, 1))], axis=1)
    sides = np.tile(windows[:, 2:] - windows[:, :2], 2)
    theirs = LinearRegression().fit(inputs[:, :4], (objects - windows) / sides)
    moved = fitted_boxes(fit_boxes(inputs, windows, objects), inputs, windows)
    np.testing.assert_allclose(moved, windows + theirs.predict(inputs[:, :4]) * sides, atol=1e-3)


def test_inputs_that_are_always_zero_change_nothing() -> None:
    windows, objects = drawn(30)
    alone = fit_boxes(np.ones((30, 1)), windows, objects)
    beside = fit_boxes(np.column_stack([np.zeros((30, 2)), np.ones(30)]), windows, objects)
    np.testing.assert_allclose(beside, np.concatenate([np.zeros((2, 4)), alone]), atol=1e-6)
