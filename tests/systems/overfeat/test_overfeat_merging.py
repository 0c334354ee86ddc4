"""Greedy merging against a slow loop, and the worked example."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import tensor
from torchvision.ops import box_iou

from pipeline.systems.overfeat.merging import match_scores, merge

PAIR = np.array([[10, 10, 50, 50], [14, 12, 54, 56]], np.float32)


def match_slowly(one: np.ndarray, other: np.ndarray) -> float:
    """Centre distance in mean sides, plus one less the overlap, with torchvision's overlap."""
    overlap = box_iou(tensor(one[None]), tensor(other[None])).item()
    distance = np.hypot((one[0] + one[2] - other[0] - other[2]) / 2, (one[1] + one[3] - other[1] - other[3]) / 2)
    side = np.mean([one[2] - one[0], one[3] - one[1], other[2] - other[0], other[3] - other[1]])
    return float(distance / side + 1 - overlap)


def merge_slowly(boxes: np.ndarray, scores: np.ndarray, threshold: float) -> list[tuple[list[float], float]]:
    left = [(box.astype(np.float32), float(score)) for box, score in zip(boxes, scores, strict=True)]
    while True:
        pairs = [(i, j) for i in range(len(left)) for j in range(i + 1, len(left))]
        if not pairs:
            break
        first, second = min(pairs, key=lambda pair: match_slowly(left[pair[0]][0], left[pair[1]][0]))
        if not match_slowly(left[first][0], left[second][0]) < threshold:
            break
        left[first] = ((left[first][0] + left[second][0]) / 2, left[first][1] + left[second][1])
        del left[second]
    return [(box.tolist(), score) for box, score in left]


def test_the_worked_example() -> None:
    """Overlap .68675; the mean of the corners."""
    (found,) = match_scores(PAIR[:1], PAIR[1:])
    assert found == pytest.approx(np.hypot(4, 4) / 41 + 1 - 0.68675, abs=1e-4)
    boxes, scores = merge(PAIR, np.array([0.5, 0.75], np.float32), 0.5)
    assert boxes.tolist() == [[12, 11, 52, 53]]
    assert scores.tolist() == [1.25]


def test_a_box_matches_itself_best_and_one_apart_not_at_all() -> None:
    assert match_scores(PAIR[:1], PAIR[:1]).tolist() == [0]
    apart = np.array([[50, 10, 90, 50]], np.float32)
    assert match_scores(PAIR[:1], apart).tolist() == [2]
    assert len(merge(np.concatenate([PAIR[:1], apart]), np.ones(2, np.float32), 1.99)[0]) == 2


def test_what_many_windows_agree_on_gets_a_high_score() -> None:
    """Suppression would leave the lone box first, with .9."""
    rng = np.random.default_rng(0)
    many = PAIR[:1] + rng.uniform(-1, 1, (9, 4)).astype(np.float32)
    boxes, scores = merge(np.concatenate([[[100, 100, 140, 140]], many]).astype(np.float32), np.full(10, 0.6), 0.5)
    assert scores.tolist() == pytest.approx([0.6, 9 * 0.6])
    assert np.abs(boxes[1] - PAIR[0]).max() < 1


def test_nothing_and_one_box_stay() -> None:
    assert [len(part) for part in merge(PAIR[:0], np.zeros(0, np.float32), 0.8)] == [0, 0]
    boxes, scores = merge(PAIR[:1], np.array([0.5], np.float32), 0.8)
    assert (boxes.tolist(), scores.tolist()) == (PAIR[:1].tolist(), [0.5])


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(0, 12), threshold=st.sampled_from([0.3, 0.8, 1.5]))
def test_it_is_the_slow_loop(seed: int, count: int, threshold: float) -> None:
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 60, (count, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(20, 50, (count, 2))], axis=1).astype(np.float32)
    scores = rng.uniform(0, 1, count).astype(np.float32)
    before = boxes.copy(), scores.copy()
    found = merge(boxes, scores, threshold)
    expected = merge_slowly(boxes, scores, threshold)
    assert len(found[0]) == len(expected)
    for box, score, (other, sum_of) in zip(*found, expected, strict=True):
        assert box.tolist() == pytest.approx(other, abs=1e-3)
        assert score == pytest.approx(sum_of, abs=1e-4)
    assert all(np.array_equal(one, other) for one, other in zip((boxes, scores), before, strict=True))
