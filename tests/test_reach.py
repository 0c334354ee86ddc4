"""Shares of the objects, against counts by hand."""

import numpy as np
import pytest

from pipeline.data.index import ImageRecord, Index
from pipeline.reach import Reach, limit_reach, room_reach, summary


def index_of(*counts: int, crowds: int = 0) -> Index:
    """Return an index of images with so many objects of class a, and ``crowds`` in each beside them."""
    records = []
    for number, count in enumerate(counts, 1):
        crowd = np.arange(count + crowds) >= count
        boxes = np.tile(np.array([[0, 0, 9, 9]], np.float32), (len(crowd), 1))
        records.append(ImageRecord(number, "", 9, 9, "", boxes, np.ones(len(crowd), np.int64), crowd, crowd))
    return Index(("a", "b"), tuple(records))


def test_a_limit_on_candidates_is_judged_by_what_the_objects_need() -> None:
    """8 objects in 2 of 4 images: 80 candidates in an image that shows any, 40 on average."""
    index = index_of(6, 2, 0, 0)
    in_image, on_average = limit_reach(60, 40, [index], "k")
    assert (in_image.share, in_image.parameter, in_image.advice) == (0.75, "k.max_per_class", "80 or more")
    assert (on_average.share, on_average.parameter) == (1.0, "k.per_class_budget")
    assert in_image.few
    assert not on_average.few


def test_limits_that_follow_the_objects_or_are_off_have_no_share() -> None:
    assert limit_reach("auto", None, [index_of(6)], "k") == []


def test_room_is_what_an_image_of_many_objects_lacks() -> None:
    """Of 3, 10 and 0 objects 3 and 4 have room among four detections; crowds need none."""
    assert room_reach(4, [index_of(3, 10), index_of(0, crowds=9)], "k").share == pytest.approx(7 / 13)
    assert room_reach(4, [index_of(0)], "k").share == 0


def test_a_summary_warns_of_faults_alone() -> None:
    fault, usual = Reach("are low", 0.5, "k", "more", judged=True), Reach("are low", 0.5, "k", "more", judged=False)
    assert summary([usual]) == "50.0% of the objects are low"
    assert summary([fault, usual]).endswith("; warning: below 95%, so more would help")
