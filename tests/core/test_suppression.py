"""Suppression by the share of a box that a better one covers, against a slow loop and the plain measure."""

import numpy as np

from pipeline.core.boxes import iou, nms
from pipeline.core.suppression import suppress_covered

BIG, SMALL = (0, 0, 100, 100), (30, 30, 70, 70)


def test_a_small_box_in_a_better_large_one_goes_and_a_large_one_around_a_better_small_one_stays() -> None:
    boxes = np.array([BIG, SMALL], np.float32)
    assert suppress_covered(boxes, [0.9, 0.8], 0.5).tolist() == [0]  # all of the small one is covered
    assert suppress_covered(boxes, [0.8, 0.9], 0.5).tolist() == [1, 0]  # .16 of the big one
    assert suppress_covered(boxes, [0.8, 0.9], 0.15).tolist() == [1]
    assert iou(boxes[:1], boxes[1:]) == np.float32(0.16)
    assert nms(boxes, np.array([0.9, 0.8], np.float32), 0.5).tolist() == [0, 1]


def test_boxes_are_compared_with_those_that_are_kept() -> None:
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 60, (80, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(5, 40, (80, 2))], axis=1).astype(np.float32)
    scores = rng.integers(0, 20, 80).astype(np.float32)  # many are equal: their order counts
    kept: list[int] = []
    for number in sorted(range(80), key=lambda n: -scores[n]):
        x1, y1, x2, y2 = boxes[number].tolist()
        shares = [
            max(0, min(x2, boxes[k, 2]) - max(x1, boxes[k, 0])) * max(0, min(y2, boxes[k, 3]) - max(y1, boxes[k, 1]))
            for k in kept
        ]
        if all(shared <= 0.5 * (x2 - x1) * (y2 - y1) for shared in shares):
            kept.append(number)
    assert suppress_covered(boxes, scores, 0.5).tolist() == kept
    assert 10 < len(kept) < 80


def test_no_boxes_and_boxes_without_area() -> None:
    assert suppress_covered(np.zeros((0, 4)), np.zeros(0), 0.5).tolist() == []
    assert suppress_covered([BIG, (10, 10, 10, 40)], [2, 1], 0.5).tolist() == [0, 1]
