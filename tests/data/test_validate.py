from pathlib import Path
from typing import Any

import pytest

from pipeline.core.errors import InputError
from pipeline.data.dataset import find_coco, validate
from pipeline.data.report import Report


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
    assert "holds no VOC folder" in validate(tmp_path / "empty").problems[0]


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
    found = {part.split: part.images for part in find_coco(coco.root)}
    assert found == {"train": "train2017", "val": "val2017", "test": "test2017"}
    assert validate(coco.root).ok


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
