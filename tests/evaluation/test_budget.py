"""The limit on candidates over all images, and the thresholds that stand for it in a single one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.evaluation.detections import above_least, within_budget

CANDIDATES = st.lists(st.tuples(st.integers(1, 3), st.integers(-20, 20)), max_size=40)


def columns(candidates: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    labels, scores = zip(*candidates, strict=True) if candidates else ((), ())
    return np.array(labels, np.int64), np.array(scores, np.float32) / 7


def test_a_worked_example() -> None:
    labels = np.array([1, 2, 1, 1, 2, 1])
    scores = np.array([0.3, 0.1, 0.9, 0.3, 0.2, 0.5], np.float32)
    keep, least = within_budget(labels, scores, 3)
    assert keep.tolist() == [True, True, True, False, True, True], "of equal scores the first"
    assert least == {1: pytest.approx(0.3)}, "class 2 had room"
    assert above_least(labels, scores, least).all(), "equal scores reach the limit"
    found = above_least(np.array([1, 1, 2, 3]), np.array([0.31, 0.29, -5, -5], np.float32), least)
    assert found.tolist() == [True, False, True, True]
    assert within_budget(labels, scores, 2)[1] == {1: pytest.approx(0.4)}, "halfway between .5 and .3"


@given(CANDIDATES, st.integers(1, 8))
def test_limits_keep_the_budget_and_what_ties_with_its_last(candidates: list[tuple[int, int]], most: int) -> None:
    labels, scores = columns(candidates)
    keep, least = within_budget(labels, scores, most)
    reached = above_least(labels, scores, least)
    assert (reached | ~keep).all()
    for label in (1, 2, 3):
        own = np.sort(scores[labels == label])[::-1]
        np.testing.assert_array_equal(np.sort(scores[keep & (labels == label)])[::-1], own[:most])
        assert (label in least) == (len(own) > most)
        extra = scores[reached & ~keep & (labels == label)]
        assert (extra == own[most - 1]).all() if len(extra) else True
