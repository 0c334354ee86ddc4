"""Figures in print, and rows from made-up figures."""

import pytest

from pipeline.report.tables import (
    columns_of,
    figure_text,
    folders,
    number,
    parameter_rows,
    percent,
    size,
    surroundings,
    time_rows,
)

PLACE = {"device": "cpu", "device_name": "a processor", "threads": 2, "torch": "2.11"}
TIMING = {
    "rcnn": {
        **PLACE,
        "proposals_median": 0.3,
        "svm_median": 0.002,
        "without_proposals_median": 0.4,
        "total_median": 0.7,
        "total_p95": 0.9,
    },
    "faster_rcnn": {
        **PLACE,
        "proposals_median": 0.01,
        "without_proposals_median": 0.02,
        "total_median": 0.035,
        "total_p95": 0.05,
        "images_per_second_batch_8": 40.0,
        "images_per_second_batch_16": 44.0,
    },
}


def test_figures_in_print():
    assert [percent(value) for value in (0.607511, 1, 0, None)] == ["60.8", "100.0", "0.0", "\N{EN DASH}"]
    numbers = ["12,345", "0.9115", "98.77", "12,170", "\N{EN DASH}"]
    assert [number(value) for value in (12345, 0.91149, 98.76543, 12170.3, None)] == numbers
    assert [figure_text(value) for value in (True, "cpu", 1200, 0.5, None)] == [
        "yes",
        "cpu",
        "1,200",
        "0.5",
        "\N{EN DASH}",
    ]


def test_sizes_in_print():
    shown = [size(count) for count in (298, 999_400, 999_600, 57_300_000, 2_640_000_000)]
    assert shown == ["0.298 kB", "999 kB", "1 MB", "57.3 MB", "2.64 GB"]


def test_sizes_are_summed_by_folder_and_entry():
    sums = folders({"models/b": 4, "features/rcnn/a": 1, "features/rcnn/b": 2, "features/sppnet": 8})
    assert sums == {"features": {"rcnn": 3, "sppnet": 8}, "models": {"b": 4}}


def test_rows_with_unlike_columns():
    assert columns_of([{"mabo": 0.8}, {"recall.0.5": 0.9, "mabo": 0.7}]) == ["mabo", "recall.0.5"]


def test_parameters_under_dotted_names():
    nested = {"a": {"b": [1, "x"], "c": {}}, "d": "ü", "e": True}
    assert parameter_rows(nested) == [("a.b", '[1, "x"]'), ("a.c", "{}"), ("d", "ü"), ("e", "true")]


def test_speed_ups_are_against_the_first_system_with_and_without_proposals() -> None:
    rows = time_rows(TIMING)
    assert (rows["faster_rcnn"].speedup, rows["faster_rcnn"].speedup_without) == pytest.approx((20, 20))
    assert (rows["rcnn"].speedup, rows["rcnn"].speedup_without) == (1, 1)
    alone = time_rows({"faster_rcnn": TIMING["faster_rcnn"]})["faster_rcnn"]
    assert (alone.speedup, alone.speedup_without) == (1, 1)


def test_all_systems_have_the_phases_of_any_in_milliseconds() -> None:
    rows = time_rows(TIMING)
    assert rows["rcnn"].phases == {"proposals": pytest.approx(300), "svm": pytest.approx(2)}
    assert rows["faster_rcnn"].phases == {"proposals": pytest.approx(10), "svm": None}
    assert rows["faster_rcnn"].rates == {8: 40.0, 16: 44.0}
    assert (rows["rcnn"].total, rows["rcnn"].p95) == (pytest.approx(700), pytest.approx(900))
    assert time_rows({}) == {}


def test_places_that_differ_are_all_named() -> None:
    assert surroundings(TIMING) == ["a processor (cpu), 2 threads, torch 2.11"]
    other = {**TIMING, "rcnn": {**TIMING["rcnn"], "device": "cuda", "device_name": "a card"}}
    assert len(surroundings(other)) == 2
