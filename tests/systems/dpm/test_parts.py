"""Where parts start: on the strong cells of a root, apart from each other."""

import numpy as np
import pytest

from pipeline.core.sections import Hog
from pipeline.features.hog_pyramid import WindowShape, descriptor_of
from pipeline.linear.templates import Component
from pipeline.systems.dpm.model import Look
from pipeline.systems.dpm.parts import cover, with_parts

DESCRIPTOR = descriptor_of(Hog(descriptor="felzenszwalb"))


def root(*strong: tuple[int, int]) -> Look:
    weights = np.full((6, 5, 32), -0.5, np.float32)
    for y, x in strong:
        weights[y, x, 3] = 2
    return Look(Component(1, WindowShape(6, 5)), weights, -0.3)


def test_parts_lie_on_the_strong_cells_at_twice_the_resolution() -> None:
    look = with_parts(root((1, 1), (4, 3)), 2, 3, DESCRIPTOR)
    for part, (y, x) in zip(sorted(look.parts, key=lambda part: part.anchor), [(1, 1), (4, 3)], strict=True):
        assert part.anchor[0] <= 2 * y <= 2 * y + 1 < part.anchor[0] + 3  # both cells of the strong one
        assert part.anchor[1] <= 2 * x <= 2 * x + 1 < part.anchor[1] + 3
        assert part.weights.shape == (3, 3, 32)
        assert np.linalg.norm(part.weights) == pytest.approx(0.1)
        assert part.weights.argmax() % 32 == 3
        assert part.cost == pytest.approx([0.01, 0, 0.01, 0])
    assert look.root is not None
    assert look.bias == -0.3


def test_a_part_is_no_larger_than_the_root_at_twice_the_resolution() -> None:
    small = Look(Component(1, WindowShape(2, 3)), np.ones((2, 3, 32), np.float32), 0.0)
    assert with_parts(small, 1, 6, DESCRIPTOR).parts[0].weights.shape == (4, 6, 32)
    blocks = Look(Component(1, WindowShape(3, 4)), np.ones((2, 3, 36), np.float32), 0.0)  # three cells, two blocks
    assert with_parts(blocks, 1, 8, descriptor_of(Hog())).parts[0].weights.shape == (5, 7, 36)


def test_places_are_put_anew_until_they_cover_more() -> None:
    """The greedy first place lies across both peaks; beside a second one it is better on one of them."""
    energy = np.array([[4, 0, 5, 5, 0, 4]], np.float32)
    places = cover(energy, 2, (1, 3))
    assert sorted(places) == [(0, 0), (0, 3)]
    one_by_one = cover(energy, 1, (1, 3))
    assert one_by_one in ([(0, 1)], [(0, 2)])


def test_rectangles_cover_as_much_as_the_best_pair_of_all() -> None:
    energy = np.random.default_rng(0).random((5, 6)).astype(np.float32) ** 4
    every = list(np.ndindex(4, 5))

    def covered(pair: list[tuple[int, int]]) -> float:
        mask = np.zeros_like(energy, np.bool_)
        for y, x in pair:
            mask[y : y + 2, x : x + 2] = True
        return float(energy[mask].sum())

    best = max(covered([a, b]) for a in every for b in every)
    assert covered(cover(energy, 2, (2, 2))) == pytest.approx(best)
