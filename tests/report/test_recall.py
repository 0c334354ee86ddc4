import re

import pytest

from pipeline.report.curves import SIDE
from pipeline.report.recall import recall_panels

ROWS = [{"boxes": 1, "recall_50": 0.2, "recall_70": 0.1}, {"boxes": 10, "recall_50": 0.7, "recall_70": 0.5}]
MORE = [*ROWS, {"boxes": 100, "recall_50": 1.0, "recall_70": 0.8}]


def points(path: str) -> list[tuple[float, ...]]:
    return [tuple(map(float, place.split())) for place in re.split("[ML]", path)[1:]]


def test_boxes_run_on_one_logarithmic_scale() -> None:
    half, tight = recall_panels({"RPN": ROWS, "selective search": MORE})
    assert points(half.paths["RPN"]) == [(0, 80), (SIDE / 2, 30)]
    assert points(half.paths["selective search"])[-1] == (SIDE, 0)
    assert points(tight.paths["selective search"])[-1] == pytest.approx((SIDE, 20))


def test_nothing_to_draw() -> None:
    assert recall_panels({}) == []
    assert recall_panels({"RPN": ROWS[:1]}) == []
