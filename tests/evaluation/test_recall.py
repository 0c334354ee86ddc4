import numpy as np
import pytest

from pipeline.core.boxes import as_boxes
from pipeline.evaluation.recall import best_overlaps, cover, curve, curve_counts, mabo, recall, summary

# Two images, three objects that count. Image 1: a 10x10 object of class 1 whose best overlap is 0.6 with the second
# box, and a difficult one. Image 2: one object of class 1 with overlap 1 at once, one of class 2 that nothing touches.
IMAGES = [
    [(1, (0, 0, 10, 10)), (2, (50, 50, 60, 60), True)],
    [(1, (20, 20, 30, 40)), (2, (80, 80, 90, 90))],
]
PROPOSALS = [as_boxes([(0, 0, 4, 10), (0, 0, 6, 10)]), as_boxes([(20, 20, 30, 40)])]


def test_worked_example(make_index):
    coverage = cover(make_index(["a", "b"], *IMAGES), PROPOSALS, (1, 2))
    np.testing.assert_allclose(coverage.overlaps, [[0.4, 1, 0], [0.6, 1, 0]], rtol=1e-6)
    assert coverage.labels.tolist() == [1, 1, 2]
    # MABO: class a (0.6 + 1) / 2 = 0.8, class b 0, so 0.4.
    assert summary(coverage) == {"boxes_per_image": 1.5, "recall_50": 0.6667, "recall_70": 0.3333, "mabo": 0.4}
    assert curve(coverage) == [
        {"boxes": 1, "recall_50": 0.3333, "recall_70": 0.3333},
        {"boxes": 2, "recall_50": 0.6667, "recall_70": 0.3333},
    ]


def test_against_slow_loops():
    rng = np.random.default_rng(3)
    corner, side = rng.integers(0, 50, (40, 2)), rng.integers(1, 40, (40, 2))
    boxes = np.concatenate([corner, corner + side], axis=1).astype(np.float32)
    truth, proposals = boxes[:7], boxes[7:]
    counts = (1, 3, 10, 33, 100)
    slow = np.zeros((len(counts), len(truth)))
    for row, count in enumerate(counts):
        for column, (x1, y1, x2, y2) in enumerate(truth):
            for a1, b1, a2, b2 in proposals[:count]:
                shared = max(0, min(x2, a2) - max(x1, a1)) * max(0, min(y2, b2) - max(y1, b1))
                union = (x2 - x1) * (y2 - y1) + (a2 - a1) * (b2 - b1) - shared
                slow[row, column] = max(slow[row, column], shared / union)
    np.testing.assert_allclose(best_overlaps(proposals, truth, counts), slow, rtol=1e-6)


def test_a_class_weighs_the_same_however_many_objects_it_has():
    overlaps, labels = np.array([1, 1, 1, 0.2], np.float32), np.array([5, 5, 5, 7])
    assert mabo(overlaps, labels) == pytest.approx(0.6)


def test_the_threshold_itself_counts():
    assert recall(np.array([0.5, 0.49], np.float32), 0.5) == 0.5


def test_nothing_to_find_and_nothing_found(make_index):
    empty = summary(cover(make_index(["a"], []), [as_boxes([(0, 0, 1, 1)])], (1,)))
    assert empty == {"boxes_per_image": 1, "recall_50": 0, "recall_70": 0, "mabo": 0}
    blind = summary(cover(make_index(["a"], [(1, (0, 0, 9, 9))]), [as_boxes([])], (1, 10)))
    assert blind == {"boxes_per_image": 0, "recall_50": 0, "recall_70": 0, "mabo": 0}
    assert summary(cover(make_index(["a"]), [], (1,)))["boxes_per_image"] == 0


def test_every_image_needs_its_proposals(make_index):
    with pytest.raises(ValueError, match="zip"):
        cover(make_index(["a", "b"], *IMAGES), PROPOSALS[:1], (1,))


@pytest.mark.parametrize(("most", "expected"), [(1, (1,)), (3, (1, 2, 3)), (60, (1, 2, 5, 10, 20, 50, 60))])
def test_curve_ends_with_all_boxes(most, expected):
    assert curve_counts(most) == expected
