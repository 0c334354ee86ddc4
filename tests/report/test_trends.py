"""Stacked error types, from made-up shares."""

import re

from pipeline.report.trends import trends

ROWS = [
    {"errors": 1, "Loc": 1.0, "Sim": 0.0, "Oth": 0.0, "BG": 0.0},
    {"errors": 10, "Loc": 0.5, "Sim": 0.0, "Oth": 0.3, "BG": 0.2},
    {"errors": 100, "Loc": 0.25, "Sim": 0.0, "Oth": 0.5, "BG": 0.25},
]


def points(path):
    return [tuple(map(float, place.split())) for place in re.split("[ML]", path.removesuffix("Z"))[1:]]


def test_shares_are_stacked_over_a_logarithmic_scale():
    trend = trends({"ssd": ROWS})["ssd"]
    assert list(trend.areas) == ["Loc", "Oth", "BG"]
    assert points(trend.areas["Loc"]) == [(0, 0), (50, 50), (100, 75), (100, 100), (50, 100), (0, 100)]
    assert points(trend.areas["Oth"]) == [(0, 0), (50, 20), (100, 25), (100, 75), (50, 50), (0, 0)]
    assert points(trend.areas["BG"])[:3] == [(0, 0), (50, 0), (100, 0)]
    assert (trend.first, trend.most) == (1, 100)


def test_one_error_is_no_trend():
    assert trends({"ssd": ROWS[:1], "yolo": []}) == {}
