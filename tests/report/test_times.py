"""The table of times, from made-up figures."""

import pytest

from pipeline.report.times import surroundings, time_rows

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


def test_speed_ups_are_against_rcnn_with_and_without_proposals() -> None:
    rows = time_rows(TIMING)
    assert rows["faster_rcnn"].speedup == pytest.approx(20)
    assert rows["faster_rcnn"].speedup_without == pytest.approx(20)
    assert (rows["rcnn"].speedup, rows["rcnn"].speedup_without) == (1, 1)
    alone = time_rows({"faster_rcnn": TIMING["faster_rcnn"]})["faster_rcnn"]
    assert (alone.speedup, alone.speedup_without) == (None, None)


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
