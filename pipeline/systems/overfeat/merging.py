"""Greedy merging of boxes, OverFeat's alternative to suppression (section 4.3).

The paper's match score is "the sum of the distance between centers of the two bounding boxes and the intersection area
of the boxes", and a pair merges where it is small. Taken at its word a greater intersection would keep boxes apart, and
an area does not add to a distance. Here it is the distance of the centres in the mean side of both, plus one less their
overlap. The paper gives no threshold.
"""

import numpy as np
from numpy.typing import NDArray

from pipeline.core.boxes import Boxes, iou


def match_scores(box: Boxes, boxes: Boxes) -> NDArray[np.float32]:
    """Return the match score of ``box`` (1, 4) with each of ``boxes`` (N, 4), ``(N,)``: 0 for equal ones."""
    centre, centres = (box[:, :2] + box[:, 2:]) / 2, (boxes[:, :2] + boxes[:, 2:]) / 2
    distance = np.linalg.norm(centres - centre, axis=1)
    sides = ((box[:, 2:] - box[:, :2]).mean(axis=1) + (boxes[:, 2:] - boxes[:, :2]).mean(axis=1)) / 2
    return np.asarray(distance / np.maximum(sides, 1e-6) + 1 - iou(box, boxes)[0], np.float32)


def merge(boxes: Boxes, scores: NDArray[np.float32], threshold: float) -> tuple[Boxes, NDArray[np.float32]]:
    """Return what greedy merging leaves of ``boxes`` (N, 4) and ``scores`` (N,), in the order of their first members.

    The pair with the smallest match score is replaced by the mean of both boxes and the sum of both scores, until none
    is below ``threshold``. So a box that many windows agree on ends with a high score, a lone one keeps its own.
    """
    boxes, scores = boxes.copy(), scores.copy()
    there = np.ones(len(boxes), np.bool_)
    table = np.full((len(boxes), len(boxes)), np.inf, np.float32)
    for row in range(len(boxes) - 1):
        table[row, row + 1 :] = match_scores(boxes[row : row + 1], boxes[row + 1 :])
    while table.size:
        first, second = divmod(int(table.argmin()), len(boxes))
        if not table[first, second] < threshold:
            break
        boxes[first] = (boxes[first] + boxes[second]) / 2
        scores[first] += scores[second]
        there[second] = False
        table[second], table[:, second] = np.inf, np.inf
        others = np.flatnonzero(there)
        others = others[others != first]
        renewed = match_scores(boxes[first : first + 1], boxes[others])
        table[np.minimum(others, first), np.maximum(others, first)] = renewed
    return boxes[there], scores[there]
