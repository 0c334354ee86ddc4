"""Panels of curves and areas, from points by hand."""

import re

import pytest

from pipeline.report.charts import SIDE, class_panels, curve_path, error_trends, recall_chart

RECALL = [{"boxes": 1, "recall_50": 0.2, "recall_70": 0.1}, {"boxes": 10, "recall_50": 0.7, "recall_70": 0.5}]
MORE = [*RECALL, {"boxes": 100, "recall_50": 1.0, "recall_70": 0.8}]
ERRORS = [
    {"errors": 1, "Loc": 1.0, "Sim": 0.0, "Oth": 0.0, "BG": 0.0},
    {"errors": 10, "Loc": 0.5, "Sim": 0.0, "Oth": 0.3, "BG": 0.2},
    {"errors": 100, "Loc": 0.25, "Sim": 0.0, "Oth": 0.5, "BG": 0.25},
]


def points(path):
    return [tuple(map(float, place.split())) for place in re.split("[ML]", path.removesuffix("Z"))[1:]]


def test_a_path_goes_right_with_recall_and_up_with_precision():
    """y is measured from the top."""
    assert curve_path([(0.25, 1.0), (0.5, 2 / 3)]) == "M0 0L25 0L50 33.3"
    assert curve_path([]) == ""


def test_a_panel_for_each_class_with_objects(make_results):
    results = make_results(curves={"rcnn": {"car": [(1.0, 0.5)]}, "ssd": {}})
    results.metrics["rcnn"]["per_class"]["cat & <dog>"] = results.metrics["ssd"]["per_class"]["cat & <dog>"] = None
    [panel] = class_panels(results)
    assert panel.name == "car"
    assert panel.paths == {"rcnn": "M0 50L100 50", "ssd": ""}


def test_proposals_run_on_one_logarithmic_scale(make_results):
    shared = {f"proposals_{split}": {"recall": {"recall": MORE}} for split in ("test", "val")}
    ssd = {"first": {"recall": {"train": MORE}}, "last": {"recall": {"test": RECALL}}}
    chart = recall_chart(make_results(stages={"shared": shared, "ssd": ssd}))
    assert list(chart.colours) == ["selective search", "SSD, last"]
    half, tight = chart.panels
    assert points(half.paths["SSD, last"]) == [(0, 80), (SIDE / 2, 30)]
    assert points(half.paths["selective search"])[-1] == (SIDE, 0)
    assert points(tight.paths["selective search"])[-1] == pytest.approx((SIDE, 20))


@pytest.mark.parametrize("stages", [{}, {"ssd": {"last": {"recall": {"test": RECALL[:1]}}}}])
def test_no_proposals_to_draw(make_results, stages):
    assert recall_chart(make_results(stages=stages)) is None


def test_shares_of_errors_are_stacked_over_a_logarithmic_scale():
    trend = error_trends({"ssd": ERRORS})["ssd"]
    assert list(trend.areas) == ["Loc", "Oth", "BG"]
    assert points(trend.areas["Loc"]) == [(0, 0), (50, 50), (100, 75), (100, 100), (50, 100), (0, 100)]
    assert points(trend.areas["Oth"]) == [(0, 0), (50, 20), (100, 25), (100, 75), (50, 50), (0, 0)]
    assert points(trend.areas["BG"])[:3] == [(0, 0), (50, 0), (100, 0)]
    assert (trend.first, trend.most) == (1, 100)


def test_one_error_is_no_trend():
    assert error_trends({"ssd": ERRORS[:1], "yolo": []}) == {}
