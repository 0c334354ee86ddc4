"""From annotated corners to clean boxes, and the check of a folder without parameters."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import InputError
from pipeline.data.dataset import clean, validate
from pipeline.data.report import Report

NAN, INF = float("nan"), float("inf")
corner = st.one_of(
    st.floats(-50, 150, width=32), st.integers(-3, 103).map(float), st.floats(allow_nan=True, allow_infinity=True)
)


@pytest.mark.parametrize(
    ("corners", "box", "fate"),
    [
        ((11, 21, 30, 40), (10, 20, 30, 40), "kept"),
        ((1, 1, 100, 80), (0, 0, 100, 80), "kept"),
        ((1.5, 2.25, 10.5, 20), (0.5, 1.25, 10.5, 20), "kept"),
        ((0, 1, 10, 10), (0, 0, 10, 10), "clipped box"),
        ((90, 70, 120, 95), (89, 69, 100, 80), "clipped box"),
        ((101, 1, 120, 10), None, "box outside the image"),
        ((-20, 1, 0, 10), None, "box outside the image"),
        ((40, 40, 40, 40), None, "box without area"),
        ((40, 40, 40, 60), None, "box without area"),
        ((40, 40, 30, 60), None, "inverted box"),
        ((40, NAN, 50, 60), None, "box that is not finite"),
        ((40, 40, INF, 60), None, "box that is not finite"),
        ((1, 1, 1e300, 80), (0, 0, 100, 80), "clipped box"),
    ],
)
def test_inclusive_corners(corners: tuple, box: tuple | None, fate: str) -> None:
    boxes, fates = clean([corners], 100, 80, inclusive=True)
    assert fates == [fate]
    if box is not None:
        np.testing.assert_array_equal(boxes, np.array([box], np.float32))


def test_half_open_corners_are_not_shifted() -> None:
    boxes, fates = clean([(10, 20, 30, 40), (10, 20, 10.0004, 40), (0, 0, 100, 80)], 100, 80, inclusive=False)
    assert fates == ["kept", "box without area", "kept"]
    np.testing.assert_array_equal(boxes[0], [10, 20, 30, 40])


def test_no_corner() -> None:
    boxes, fates = clean([], 100, 80, inclusive=True)
    assert boxes.shape == (0, 4)
    assert fates == []


@given(st.lists(st.tuples(corner, corner, corner, corner), max_size=8), st.booleans())
def test_kept_boxes_have_area_inside_the_image(corners: list[tuple], inclusive: bool) -> None:
    boxes, fates = clean(corners, 100, 80, inclusive=inclusive)
    assert boxes.dtype == np.float32
    assert sum(Counter(fates).values()) == len(corners) == len(boxes)
    for box, fate, (x1, y1, x2, y2) in zip(boxes, fates, corners, strict=True):
        if fate in ("kept", "clipped box"):
            assert 0 <= box[0] < box[2] <= 100
            assert 0 <= box[1] < box[3] <= 80
        if fate == "kept":
            shift = 1 if inclusive else 0
            np.testing.assert_allclose(box, (x1 - shift, y1 - shift, x2, y2), atol=6e-4)


def test_a_voc_folder(voc: Any) -> None:
    for i in range(5):
        voc.pair(f"{i}", ("cat", (1, 1, 50, 50)), ("ox", (0, 1, 9, 9)), ("ox", (5, 5, 5, 5)))
    report = validate(voc.root, 1)
    assert report.ok
    assert (report.dropped_boxes, report.clipped_boxes) == (5, 5)
    assert report.table().splitlines()[:6] == [
        "                    train  val  test",
        "images                  3    1     1",
        "objects                 6    2     2",
        "  of which ignored      0    0     0",
        "  cat                   3    1     1",
        "  ox                    3    1     1",
    ]
    assert "\nbox without area: 5\n  Annotations/" in report.table()
    assert report.table().endswith("\nproblems: 0")


def test_problems_are_returned_not_raised(voc: Any, tmp_path: Path) -> None:
    for i in range(14):
        voc.xml(f"{i:02d}")
    voc.image("x.png")
    report = validate(voc.root)
    assert not report.ok
    assert len(report.problems) == 14
    assert "  ... and 4 more" in report.table()
    assert validate(tmp_path / "none").problems[0].startswith(f"{tmp_path}/none: there is no such folder")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "some.json").write_text("[]")
    assert "some.json: holds a JSON list; a mapping with" in validate(tmp_path / "empty").problems[0]


def test_a_coco_folder(coco: Any) -> None:
    for i in range(5):
        coco.image(i, f"{i}.png")
        coco.box(i)
    coco.save("labels/instances.json")
    (coco.root / "labels" / "other.json").write_text("{}")
    report = validate(coco.root)
    assert report.ok, report.problems
    assert report.images == {"train": 3, "val": 1, "test": 1}


def test_coco_files_of_single_splits(coco: Any) -> None:
    for i, split in enumerate(("train", "val", "test")):
        coco.content["images"], coco.content["annotations"] = [], []
        coco.image(i, f"../{split}2017/{i}.png")
        coco.content["images"][0]["file_name"] = f"{i}.png"
        coco.box(i)
        coco.save(f"annotations/instances_{split}2017.json")
    report = validate(coco.root)
    assert report.ok, report.problems
    assert report.images == {"train": 1, "val": 1, "test": 1}


def test_coco_files_that_go_together_and_keypoints_that_do_not_count(coco: Any) -> None:
    for i in range(5):
        coco.content["images"], coco.content["annotations"] = [], []
        coco.image(i, f"{i}.png")
        coco.box(i)
        coco.save(f"annotations/instances_{i}.json")
    coco.save("annotations/person_keypoints.json")
    assert sum(validate(coco.root).images.values()) == 5


def test_the_real_examples(shared: Path) -> None:
    report = validate(shared / "data/bccd")
    assert report.ok
    assert report.as_json()["dropped_boxes"] == 2


def test_one_problem_is_one_sentence() -> None:
    report = Report()
    report.stop_if_broken("here")
    report.problem("a.xml:3", "is wrong.")
    with pytest.raises(InputError, match=r"^here: a.xml:3: is wrong.$"):
        report.stop_if_broken("here")
    assert report.table() == "problems: 1\n  a.xml:3: is wrong."
