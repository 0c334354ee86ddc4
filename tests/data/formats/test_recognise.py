"""Which format a folder has, and what is said where that is not clear."""

import json
from pathlib import Path
from typing import Any, get_args

import pytest

from pipeline.core.errors import InputError
from pipeline.core.sections import Data
from pipeline.data.download import ARCHIVES
from pipeline.data.formats.recognise import AUTO, FORMATS, PAGE

XML = (
    "<annotation><object><name>cat</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
    "</object></annotation>"
)


def test_each_format_can_be_chosen_by_the_parameter() -> None:
    sources = get_args(Data.model_fields["source"].annotation)
    assert set(sources) == {"digits", AUTO, *FORMATS, *ARCHIVES}


def test_two_readings_are_named_with_the_key_that_chooses(folder: Any) -> None:
    for i in range(5):
        folder.pictures(f"{i}.png")
        folder.write(f"{i}.xml", XML)
        folder.write(f"{i}.txt", "0 0.5 0.5 0.5 0.5\n")
    folder.write("classes.txt", "dog\n")
    assert folder.problem() == (
        f"{folder.root}: can be read as VOC XML (5 files such as 0.xml), and as YOLO text (5 text files with the names "
        "of images, such as 0.txt, and classes.txt); data.source: voc or data.source: yolo chooses."
    )
    assert folder.contents("voc")["test"].popitem()[1] == [("cat", (0, 0, 9, 9))]
    assert folder.contents("yolo")["test"].popitem()[1] == [("dog", (40, 20, 120, 60))]


def test_nothing_recognised_says_what_is_there_and_what_is_read(folder: Any) -> None:
    folder.pictures("a.png", "b.png", "drawings/a.png")
    folder.write("notes.md", "# notes")
    assert folder.problem() == (
        f"{folder.root}: holds no annotations that are read (VOC XML, COCO JSON, YOLO text, LabelMe JSON, VIA JSON, "
        "CSV of boxes, PNG masks), only 3 x .png, 1 x .md; docs/formats.md shows each layout."
    )
    assert "holds no annotations that are read (YOLO text)" in folder.problem("yolo")
    assert Path(__file__).parents[3].joinpath(PAGE).is_file()


def test_an_empty_folder_and_none(folder: Any) -> None:
    assert "only no file" in folder.problem()
    folder.root.rmdir()
    assert "there is no such folder; data.root must name" in folder.problem()


@pytest.mark.parametrize(
    ("file", "text", "sentence"),
    [
        ("a.json", '{"images": [}', "a.json:1: this is not JSON"),
        ("a.json", '{"images": [], "categories": []}', "a.json: has no list of mappings called 'annotations'"),
        ("a.json", '[{"image_id": 1, "bbox": [1, 2, 3, 4]}]', "a.json: holds a JSON list; a mapping with"),
        ("boxes.csv", "file,xmin,ymin,xmax,ymax\n", "boxes.csv:1: names file, xmin, ymin, xmax, ymax; a header with"),
        ("p.txt", "0 0.5 0.5 0.5 0.5\n", "p.txt: looks like a YOLO label, but no file names its classes; data.yaml"),
    ],
)
def test_the_reason_against_the_nearest_format_is_given(folder: Any, file: str, text: str, sentence: str) -> None:
    folder.pictures("p.png")
    folder.write(file, text)
    assert sentence in folder.problem()
    with pytest.raises(InputError, match=PAGE):
        folder.contents()


def test_a_list_and_a_folder_that_is_no_split(folder: Any) -> None:
    for name in ("train/a", "val/b", "test/c", "more/d"):
        folder.pictures(f"{name}.png")
        folder.write(f"{name}.xml", XML)
    folder.pictures("more/e.png")
    report = folder.report()
    assert report.notes["image in no split"] == ["more/d.png: no folder or list of a split has it: not used."]
    assert report.notes["image without annotation"] == ["more/e.png: it has no annotation: not used."]
    folder.write("train.txt", "a\nd\nz\n")
    folder.write("test.txt", "more/d.png\ne\n")
    assert folder.report().problems == [
        "train.txt:3: names 'z', which is not the path or the name of one image.",
        "test.txt:2: names more/e.png, which has no annotation.",
        "train.txt:2: names more/d.png, which is in another split too: test.txt:1.",
    ]


def test_lists_in_a_folder_below(folder: Any) -> None:
    for name in "abc":
        folder.pictures(f"mine/photos/{name}.png")
        folder.write(f"mine/xml/{name}.xml", XML)
    for split, name in (("train", "b"), ("val", "a"), ("test", "c")):
        folder.write(f"mine/ImageSets/Main/{split}.txt", name)
        folder.write(f"mine/ImageSets/Segmentation/{split}.txt", "a")
    assert {split: list(images) for split, images in folder.contents().items()} == {
        "train": ["b"],
        "val": ["a"],
        "test": ["c"],
    }
    assert folder.report().notes["list not used"][0] == (
        "mine/ImageSets/Segmentation/test.txt: the lists in mine/ImageSets/Main are used."
    )


def test_splits_that_are_missing_are_made(folder: Any) -> None:
    for i in range(10):
        folder.pictures(f"train/{i}.png")
        folder.write(f"train/{i}.xml", XML)
    assert {split: len(images) for split, images in folder.contents().items()} == {"train": 6, "val": 2, "test": 2}
    assert len(folder.report().notes["split made here"]) == 2


def test_one_name_in_two_splits_and_in_folders_of_any_name(folder: Any) -> None:
    for split in ("train", "val", "test"):
        folder.pictures(f"{split}/photos/0.png")
        folder.write(f"{split}/boxes/0.xml", XML)
    assert [list(images) for images in folder.contents().values()] == [["0"], ["0"], ["0"]]


def test_annotations_without_image_or_with_two(folder: Any) -> None:
    for i in range(5):
        folder.pictures(f"images/{i}.png")
        folder.write(f"xml/{i}.xml", XML)
    folder.pictures("images/0.jpg")
    folder.write("xml/lost.xml", XML)
    folder.write("xml/4.xml", "<annotation><object></object></annotation>")
    assert folder.report().problems == [
        "xml/0.xml: may belong to images/0.jpg or images/0.png; one image of each name would be right.",
        "xml/lost.xml: this annotation has no image of its name.",
        "xml/4.xml:1: <object> has no <name>, or an empty one.",
    ]


def test_names_and_values_of_any_length_and_kind_make_one_line(folder: Any) -> None:
    folder.pictures("a.png", "b\n.png")
    folder.write("a.xml", XML.replace(">1<", f">{'9' * 5000}x<", 1))
    long, unnamed = folder.report().problems
    assert unnamed == r"'b\n.png': the name is not UTF-8 text on one line; another would be right."
    assert long.startswith("a.xml:1: <xmin> is '999")
    assert long.endswith("99x'; a number would be right.")
    assert len(long) < 501


def test_a_link_to_itself_and_a_file_that_may_not_be_read(folder: Any) -> None:
    folder.pictures("a.png")
    folder.write("a.xml", XML)
    (folder.root / "b.png").symlink_to("b.png")
    assert folder.report().notes["layout recognised"][0].startswith("VOC XML: 1 files such as a.xml")
    (folder.root / "data.yaml").symlink_to("/proc/self/mem")  # which root may not read either
    folder.write("a.txt", "0 0.5 0.5 0.5 0.5\n")
    assert "cannot be read (Input/output error); a file that you may read would be right." in folder.problem("yolo")


def test_coco_files_in_any_place_and_with_a_first_image_that_is_not_there(folder: Any) -> None:
    images = [{"id": i, "file_name": f"{i}.png"} for i in range(4)]
    boxes = [{"id": i, "image_id": i, "category_id": 1, "bbox": [1, 1, 9, 9]} for i in range(4)]
    content = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "cat"}]}
    folder.pictures(*(f"photos/{i}.png" for i in range(1, 4)))
    folder.write("a/b/boxes.JSON", json.dumps(content))
    assert folder.problem() == "a/b/boxes.JSON: image 0: names photos/0.png, but there is no such file."
    folder.pictures("photos/0.png")
    assert folder.report().ok
