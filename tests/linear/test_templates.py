"""Shapes of windows: the worked root of voc-release5, and groups of equal count."""

import numpy as np
import pytest

from pipeline.features.hog_pyramid import WindowShape
from pipeline.linear.templates import Component, aspect_groups, components_of, root_cells

SIZES = np.array([[50, 100], [52, 110], [47, 90], [51, 105], [49, 95]], np.float32)


def test_the_root_of_five_boxes() -> None:
    """Aspect 2.0138 and area 4,230: sides of 45.8 and 92.3 pixels."""
    assert root_cells(SIZES, (3000, 5000)) == (12, 6)


@pytest.mark.parametrize(("area", "cells"), [((5000, 9000), (13, 6)), ((100, 1500), (7, 3)), ((1, 2), (2, 2))])
def test_its_area_stays_within_limits(area: tuple[float, float], cells: tuple[int, int]) -> None:
    assert root_cells(SIZES, area) == cells


def test_the_most_frequent_aspect_counts_and_not_the_mean() -> None:
    mixed = np.array([[64, 64]] * 6 + [[16, 256]] * 4, np.float32)
    assert root_cells(mixed, (4096, 4096)) == (8, 8)


def test_groups_have_equal_counts_and_rising_aspects() -> None:
    sizes = np.array([[10, 30], [10, 10], [30, 10], [10, 20], [20, 10], [10, 15]], np.float32)
    assert aspect_groups(sizes, 3).tolist() == [2, 1, 0, 2, 0, 1]
    assert aspect_groups(sizes, 1).tolist() == [0] * 6


def test_components_follow_the_classes_that_have_objects() -> None:
    boxes = np.array([[0, 0, 64, 64], [5, 5, 37, 133], [0, 0, 64, 64], [1, 1, 129, 33]], np.float32)
    components, assigned = components_of(boxes, np.array([3, 1, 3, 1]), 2, (4096, 4096), 1)
    assert components[assigned[1]] == Component(1, WindowShape(16, 4, 1))
    assert components[assigned[3]] == Component(1, WindowShape(4, 16, 1))
    assert [each.label for each in components] == [1, 1, 3, 3]
    assert {components[number].label for number in assigned[[0, 2]]} == {3}
    one, _ = components_of(boxes[:1], np.array([2]), 2, (4096, 4096), 0)
    assert one == [Component(2, WindowShape(8, 8, 0))]
    none, nowhere = components_of(np.zeros((0, 4), np.float32), np.zeros(0, np.int64), 2, (1, 2), 0)
    assert (none, nowhere.tolist()) == ([], [])
