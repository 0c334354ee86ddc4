"""Matching against the rule written as slow loops, and worked examples."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.boxes import decode
from pipeline.systems.ssd.boxes import VARIANCES, coverage, match, targets

NONE = np.zeros((0, 4), np.float32)


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def match_slowly(defaults: np.ndarray, truth: np.ndarray, threshold: float) -> list[int]:
    """``MatchBBox`` of ``bbox_util.cpp``: bipartite first, then by overlap."""
    table = {(i, j): overlap(a, b) for i, a in enumerate(defaults) for j, b in enumerate(truth)}
    result = [-1] * len(defaults)
    left = set(range(len(truth)))
    while left:
        pairs = [(table[i, j], -i, -j) for i in range(len(defaults)) if result[i] < 0 for j in left]
        most, i, j = max(pairs, default=(0, 0, 0))
        if most <= 0:
            break
        result[-i] = -j
        left.remove(-j)
    for i in range(len(defaults)):
        if result[i] < 0:
            best = max(range(len(truth)), key=lambda j: table[i, j], default=-1)
            if best >= 0 and table[i, best] >= threshold:
                result[i] = best
    return result


def some_boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    corner = rng.uniform(0, 60, (count, 2))
    return np.concatenate([corner, corner + rng.uniform(8, 40, (count, 2))], axis=1).astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), boxes=st.integers(1, 40), objects=st.integers(0, 8))
def test_it_equals_the_slow_loop(seed: int, boxes: int, objects: int) -> None:
    rng = np.random.default_rng(seed)
    defaults, truth = some_boxes(rng, boxes), some_boxes(rng, objects)
    assert match(defaults, truth, 0.5).tolist() == match_slowly(defaults, truth, 0.5)


def test_every_object_gets_a_box_of_its_own() -> None:
    defaults = np.array([[0, 0, 10, 10], [0, 0, 14, 10], [50, 50, 60, 60]], np.float32)
    truth = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [55, 55, 75, 75]], np.float32)
    # Both first objects overlap the first box most; the second has to take the next. The third overlaps by 25/475.
    assert match(defaults, truth, 0.5).tolist() == [0, 1, 2]


def test_the_threshold_itself_matches_and_no_object_matches_nothing() -> None:
    defaults = np.array([[0, 0, 10, 10], [0, 0, 10, 5], [0, 0, 10, 4.9]], np.float32)
    assert match(defaults, defaults[:1], 0.5).tolist() == [0, 0, -1]
    assert match(defaults, NONE, 0.5).tolist() == [-1, -1, -1]
    assert match(defaults, np.array([[90, 90, 99, 99]], np.float32), 0.5).tolist() == [-1, -1, -1]


def test_targets_of_a_worked_example() -> None:
    defaults = np.array([[0, 0, 20, 10], [60, 60, 80, 80]], np.float32)
    found = targets(defaults, np.array([[2, 0, 22, 20]], np.float32), np.array([7]), 0.4)
    assert found.labels.tolist() == [7, 0]
    # Centre (12, 10) against (10, 5): 2/20 and 5/10 over 0.1; sides 20 x 20 against 20 x 10: 0 and log 2 over 0.2.
    assert found.offsets[0] == pytest.approx([1, 5, 0, np.log(2) / 0.2], rel=1e-6)
    assert not found.offsets[1].any()
    assert np.allclose(decode(defaults, found.offsets * VARIANCES)[0], [2, 0, 22, 20], atol=1e-4)


def test_targets_without_objects() -> None:
    found = targets(some_boxes(np.random.default_rng(0), 5), NONE, np.zeros(0, np.int64), 0.5)
    assert not found.labels.any()
    assert found.offsets.shape == (5, 4)


def test_coverage_counts_objects_over_all_images() -> None:
    defaults = np.array([[0, 0, 10, 10], [20, 0, 40, 20]], np.float32)
    truths = [np.array([[0, 0, 10, 10], [0, 0, 10, 4]], np.float32), NONE, np.array([[20, 5, 40, 20]], np.float32)]
    assert coverage(defaults, truths, 0.5) == pytest.approx(2 / 3)
    assert coverage(defaults, [NONE], 0.5) == 1
