"""The slider of the gallery, from made-up rankings."""

import numpy as np
import pytest

from pipeline.core.boxes import as_boxes
from pipeline.evaluation.detections import Detections
from pipeline.evaluation.voc import Ranking
from pipeline.report.scales import Scale, pooled, scale

GOOD = Ranking(np.array([0.75, 0.25], np.float32), np.array([True, False]), 1)
LATE = Ranking(np.array([0.5], np.float32), np.array([True]), 1)
BAD = Ranking(np.array([0.9], np.float32), np.array([False]), 1)


def found(*scores: float) -> Detections:
    count = len(scores)
    return Detections(
        np.ones(count, np.int64),
        np.ones(count, np.int64),
        as_boxes(count * [[0, 0, 1, 1]]),
        np.array(scores, np.float32),
    )


def test_classes_are_ranked_together() -> None:
    together = pooled([GOOD, LATE])
    assert together.scores.tolist() == [0.75, 0.5, 0.25]
    assert together.correct.tolist() == [True, True, False]
    assert together.positives == 2


def test_it_starts_at_the_best_f1_of_all_classes() -> None:
    assert scale(found(0.25, 0.75, 0.125), 1, [GOOD, LATE], None) == Scale(0.125, 0.5, 0.75)


def test_it_starts_at_the_top_where_nothing_is_correct() -> None:
    assert scale(found(0.5, 0.25), 1, [BAD], None) == Scale(0.25, 0.5, 0.5)


def test_a_given_score_widens_the_scale() -> None:
    assert scale(found(0.5, 0.25), 1, [GOOD], 0.9) == Scale(0.25, 0.9, 0.9)
    assert scale(found(0.5, 0.25), 1, [GOOD], -1.0) == Scale(-1.0, -1.0, 0.5)


def test_so_many_detections_an_image_and_at_least_those_drawn_at_first() -> None:
    assert scale(found(0.75, 0.5, 0.25), 1, [GOOD], None, per_image=2).floor == 0.5
    assert scale(found(0.75, 0.5, 0.25), 1, [GOOD, LATE], None, per_image=1).floor == 0.5


@pytest.mark.parametrize("min_score", [None, 0.5])
def test_a_system_without_detections(min_score: float | None) -> None:
    start = min_score or 0.0
    assert scale(found(), 4, [Ranking(np.zeros(0, np.float32), np.zeros(0, np.bool_), 1)], min_score) == Scale(
        start, start, start
    )
