"""PNG masks: which image a file belongs to, what its values are, and what is said where that is not clear."""

from typing import Any

import numpy as np
import pytest


def drawn(*rectangles: tuple[int, int, int, int, int], dtype: type = np.uint8) -> np.ndarray:
    """Return values of an image of 160 x 80 pixels: ``x1, y1, x2, y2`` of each rectangle, half-open, and its value."""
    values = np.zeros((80, 160), dtype)
    for x1, y1, x2, y2, value in rectangles:
        values[y1:y2, x1:x2] = value
    return values


def dataset(folder: Any, classes: str | None = "cat\nox\n", kind: str = "masks", ending: str = "") -> None:
    for i in range(5):
        folder.pictures(f"images/{i}.png")
        folder.png(f"{kind}/{i}{ending}.png", drawn((10, 20, 30, 50, 1)))
    if classes:
        folder.write("classes.txt", classes)


def objects(folder: Any) -> list:
    return next(images["0"] for images in folder.contents().values() if "0" in images)


def test_regions_of_a_class_are_objects_that_may_touch_at_a_corner(folder: Any) -> None:
    dataset(folder)
    folder.png("masks/0.png", drawn((0, 0, 10, 10, 1), (10, 10, 20, 20, 1), (20, 10, 30, 20, 2), (50, 0, 60, 9, 1)))
    assert objects(folder) == [("cat", (0, 0, 20, 20)), ("cat", (50, 0, 60, 9)), ("ox", (20, 10, 30, 20))]


def test_void_is_no_object_and_an_empty_mask_an_image_without_any(folder: Any) -> None:
    dataset(folder)
    folder.png("masks/0.png", drawn((8, 8, 22, 22, 255), (10, 10, 20, 20, 2)))
    folder.png("masks/2.png", drawn())
    assert objects(folder) == [("ox", (10, 10, 20, 20))]
    report = folder.report()
    assert report.ok
    assert sum(sum(split.values()) for split in report.objects.values()) == 4


@pytest.mark.parametrize(("dtype", "value"), [(np.uint8, 255), (np.uint8, 1), (np.bool_, True)])
def test_a_binary_mask_of_one_class(folder: Any, dtype: type, value: int) -> None:
    dataset(folder, "polyp\n", ending="_mask")
    folder.png("masks/0_mask.png", drawn((10, 10, 20, 20, value), dtype=dtype))
    assert objects(folder) == [("polyp", (10, 10, 20, 20))]


def test_void_beside_the_only_class(folder: Any) -> None:
    dataset(folder, "background\npolyp\n")
    folder.png("masks/0.png", drawn((8, 8, 22, 22, 255), (10, 10, 20, 20, 1)))
    assert objects(folder) == [("polyp", (10, 10, 20, 20))]


def test_instances_of_one_class_with_more_than_8_bits(folder: Any) -> None:
    dataset(folder, "person\n", "instances")
    folder.png("instances/0.png", drawn((0, 0, 9, 9, 255), (9, 0, 20, 9, 300), (50, 0, 60, 9, 300), dtype=np.uint16))
    assert objects(folder) == [("person", (0, 0, 9, 9)), ("person", (9, 0, 60, 9))]


def test_the_class_of_an_instance_is_that_of_most_of_its_pixels(folder: Any) -> None:
    dataset(folder)
    folder.png("masks/0.png", drawn((0, 0, 10, 10, 2), (0, 0, 10, 3, 1), (0, 3, 10, 4, 255)))
    folder.png("instances/0.png", drawn((0, 0, 10, 10, 7)))
    assert objects(folder) == [("ox", (0, 0, 10, 10))]


def test_names_with_a_class_and_a_number_need_no_list_of_classes(folder: Any) -> None:
    dataset(folder, None, ending="_big_ox_12")
    folder.pictures("images/0_big.png")
    report = folder.report()
    assert report.problems == [
        "masks/0_big_ox_12.png: may belong to images/0.png or images/0_big.png; one image of each name would be right."
    ]
    (folder.root / "images/0_big.png").unlink()
    assert objects(folder) == [("big_ox", (10, 20, 30, 50))]
    assert folder.report().notes["layout recognised"] == [
        "PNG masks: 5 PNG files in folders of masks, such as masks/0_big_ox_12.png; data.source: masks says the same."
    ]


def test_pictures_in_folders_of_any_name_and_splits(folder: Any) -> None:
    for split in ("train", "val", "test"):
        folder.pictures(f"img_dir/{split}/0.png")
        folder.png(f"ann_dir/{split}/0.png", drawn((10, 20, 30, 50, 1)))
    folder.write("classes.txt", "cat\n")
    assert [list(images.values()) for images in folder.contents().values()] == [[[("cat", (10, 20, 30, 50))]]] * 3
    assert {kind for kind, messages in folder.report().notes.items() if messages} == {"layout recognised"}


@pytest.mark.parametrize(
    ("file", "values", "sentence"),
    [
        (
            "masks/3.png",
            drawn((0, 0, 9, 9, 3), (9, 9, 10, 10, 7)),
            "has the values 3, 7, which classes.txt does not name;",
        ),
        (
            "masks/3.png",
            np.zeros((8, 8, 3), np.uint8),
            "has pixels of the mode RGB; a palette, or grey values, would be",
        ),
        (
            "masks/3.png",
            drawn((0, 0, 9, 9, 1))[:40],
            "the mask has 160 x 40 pixels, but the image has 160 x 80; a mask of",
        ),
        (
            "masks/lost.png",
            drawn(),
            "this mask has no image of its name; NAME.png, NAME_mask.png or NAME_CLASS_NUMBER.png",
        ),
        (
            "masks/3_cat.png",
            drawn(),
            "this mask has no image of its name; NAME.png, NAME_mask.png or NAME_CLASS_NUMBER.png",
        ),
        (
            "masks/x/3.png",
            drawn(),
            "masks/3.png and masks/x/3.png: are masks of one image; one file of its classes, one",
        ),
        (
            "masks/3_cat_1.png",
            drawn((0, 0, 9, 9, 1)),
            "masks/3.png and masks/3_cat_1.png: are masks of one image; one file",
        ),
        ("instances/3.png", drawn((50, 50, 60, 60, 9)), "its value 9 has no class in masks/3.png; one would be right."),
        (
            "instances/3.png",
            drawn()[:40],
            "has 160 x 40 pixels, but masks/3.png has 160 x 80; one size would be right.",
        ),
    ],
)
def test_a_wrong_mask_is_named(folder: Any, file: str, values: np.ndarray, sentence: str) -> None:
    dataset(folder)
    folder.png(file, values)
    assert folder.problem().startswith(sentence if " are masks of " in sentence else f"{file}: {sentence}")


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (drawn(), "has no pixel of its object; 0 and one value more would be right."),
        (
            drawn(*((i, 0, i + 1, 1, i) for i in range(1, 8))),
            "has the values 1, 2, 3, 4, 5 and 2 more; 0 and one value",
        ),
    ],
)
def test_a_mask_of_one_object_that_has_none_or_several(folder: Any, values: np.ndarray, sentence: str) -> None:
    dataset(folder, None, ending="_cat_1")
    folder.png("masks/3_cat_1.png", values)
    assert folder.problem().startswith(f"masks/3_cat_1.png: {sentence}")


@pytest.mark.parametrize(
    ("classes", "sentence"),
    [
        (
            None,
            "masks/0.png: lies in a folder of masks, but no file names the classes of its values; classes.txt with one",
        ),
        ("", "classes.txt: names no class, or one twice; a name for each value would be right."),
        ("background\n", "classes.txt: names no class, or one twice; a name for each value would be right."),
        ("cat\ncat\n", "classes.txt: names no class, or one twice; a name for each value would be right."),
    ],
)
def test_classes_that_are_not_named(folder: Any, classes: str | None, sentence: str) -> None:
    dataset(folder, None)
    if classes is not None:
        folder.write("classes.txt", classes)
    assert folder.problem().startswith(f"{folder.root}: {sentence}")


def test_instances_whose_class_nothing_says(folder: Any) -> None:
    dataset(folder, kind="instances")
    assert folder.report().problems[0] == (
        "instances/0.png: does not say which of the classes in classes.txt its instances have; one name, or a file of "
        "the classes of its pixels, would be right."
    )


def test_masks_beside_boxes_are_named_with_the_key_that_chooses(folder: Any) -> None:
    dataset(folder)
    for i in range(5):
        folder.write(f"labels/{i}.txt", "0 0.5 0.5 0.5 0.5\n")
    assert folder.problem().endswith("; data.source: yolo or data.source: masks chooses.")
    assert folder.contents("yolo")["test"].popitem()[1] == [("cat", (40, 20, 120, 60))]
    assert folder.contents("masks")["test"].popitem()[1] == [("cat", (10, 20, 30, 50))]
