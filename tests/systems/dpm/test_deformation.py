"""Distance transforms: worked values, and every displacement tried."""

import numpy as np
import pytest

from pipeline.systems.dpm.deformation import best_moves, deformation_features, distance_transform


def along_a_line(values: list[float], a: float, b: float, reach: int) -> list[float]:
    """Return the transform of one row, and check that of one column beside it."""
    row, nothing = np.array(values, np.float32), (0, 0)
    (across,) = distance_transform(row[None, None], np.array([[a, b, *nothing]], np.float32), reach)
    (down,) = distance_transform(row[None, :, None], np.array([[*nothing, a, b]], np.float32), reach)
    np.testing.assert_array_equal(across[0], down[:, 0])
    return across[0].tolist()


ROW = [0, 0, 5, 0, 0, 0, 0, 3]


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (1, 0, [1, 4, 5, 4, 1, 0, 2, 3]),
        (0.1, 0, [4.6, 4.9, 5, 4.9, 4.6, 4.1, 3.4, 3]),
        (0.1, 0.5, [5.6, 5.4, 5, 4.4, 3.6, 3.6, 3.4, 3]),
    ],
)
def test_worked_values_of_the_unbounded_transform(a: float, b: float, expected: list[float]) -> None:
    assert along_a_line(ROW, a, b, reach=7) == pytest.approx(expected, abs=1e-6)


def test_worked_values_of_the_bounded_transform() -> None:
    ten = [10.0] + [0.0] * 11
    assert along_a_line(ten, 0.1, 0, reach=4) == pytest.approx([10, 9.9, 9.6, 9.1, 8.4, *[0] * 7], abs=1e-6)
    assert along_a_line(ten, 0.1, 0, reach=11)[5] == pytest.approx(7.5)


def test_the_places_of_the_worked_row() -> None:
    response = np.pad(np.array([ROW], np.float32), 7, constant_values=-1000)
    anchors = np.array([[7, 7 + x] for x in range(8)])
    (moves,) = best_moves(response[None], anchors[None], np.array([[1, 0, 1, 0]], np.float32), 7)
    assert (anchors + moves)[:, 1].tolist() == [9, 9, 9, 9, 9, 12, 14, 14]  # columns 2 2 2 2 2 5 7 7
    assert not moves[:, 0].any()


@pytest.mark.parametrize("reach", [1, 2, 4, 20])
@pytest.mark.parametrize("shape", [(7, 9), (1, 5), (6, 1)])
def test_every_place_has_the_best_of_all_displacements(reach: int, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(reach)
    responses = rng.normal(size=(3, *shape)).astype(np.float32)
    costs = np.abs(rng.normal(0, 0.2, (3, 4))).astype(np.float32) * np.array([1, -1, 1, 1], np.float32)
    found = distance_transform(responses, costs, reach)
    for part, (ax, bx, ay, by) in enumerate(costs.tolist()):
        for py, px in np.ndindex(shape):
            every = [
                responses[part, qy, qx] - ax * (px - qx) ** 2 - bx * (px - qx) - ay * (py - qy) ** 2 - by * (py - qy)
                for qy, qx in np.ndindex(shape)
                if abs(py - qy) <= reach and abs(px - qx) <= reach
            ]
            assert found[part, py, px] == pytest.approx(max(every), abs=1e-5)


def test_moves_bring_what_the_transform_says() -> None:
    rng = np.random.default_rng(3)
    responses, reach = rng.normal(size=(2, 12, 14)).astype(np.float32), 3
    costs = np.array([[0.2, 0.1, 0.3, -0.1], [0.1, 0, 0.05, 0.2]], np.float32)
    anchors = np.array([[(y, x) for y in range(3, 9) for x in range(3, 11)], [(5, 5)] * 48])
    moves = best_moves(responses, anchors, costs, reach)
    transformed = distance_transform(responses, costs, reach)
    for part in range(2):
        places = anchors[part] + moves[part]
        scores = responses[part][tuple(places.T)] + deformation_features(moves[part]) @ costs[part]
        np.testing.assert_allclose(scores, transformed[part][tuple(anchors[part].T)], atol=1e-5)
    assert np.abs(moves[0]).max() == reach
    assert best_moves(responses, anchors[:, :0], costs, reach).shape == (2, 0, 2)
