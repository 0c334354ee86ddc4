from typing import Any

import pytest

HEADER = "image,label,xmin,ymin,xmax,ymax\n"


def dataset(folder: Any, first: str, header: str = HEADER) -> None:
    folder.pictures(*(f"images/{i}.png" for i in range(5)))
    rows = "".join(f"images/{i}.png,cat,10,10,20,20\n" for i in range(1, 5))
    folder.write("boxes.csv", f"{header}{first}\n{rows}")


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ("9.png,cat,1,2,3,4", "names '9.png', which is not the path or the name of one image."),
        ("0.png,cat,1,2,x,4", "has the box '1, 2, x, 4'; four numbers would be right."),
        ("0.png,,1,2,3,4", "has '' as its class; a name would be right."),
        ("0.png,cat,1,2,3", "has not the 6 columns of the header."),
        ("0.png,cat,1,2,3,4,5", "has not the 6 columns of the header."),
    ],
)
def test_a_wrong_row_is_named(folder: Any, row: str, sentence: str) -> None:
    dataset(folder, row)
    assert folder.problem() == f"boxes.csv:2: {sentence}"


def test_a_row_without_box_is_an_image_without_object(folder: Any) -> None:
    dataset(folder, "0.png,,,,,")
    report = folder.report()
    assert report.ok
    assert sum(report.images.values()) == 5


def test_a_path_to_another_split_is_not_taken_for_the_image_of_that_name(folder: Any) -> None:
    folder.pictures("train/0.png", "test/1.png")
    folder.write("boxes.csv", f"{HEADER}train/0.png,cat,1,2,3,4\nold/1.png,cat,1,2,3,4\ntest/0.png,cat,1,2,3,4\n")
    assert folder.problem() == "boxes.csv:4: names 'test/0.png', which is not the path or the name of one image."


def test_shares_are_refused(folder: Any) -> None:
    folder.pictures(*(f"{i}.jpg" for i in range(5)))
    rows = "".join(f"{i},/m/01,1,0.1,0.9,0.2,0.8\n" for i in range(5))
    folder.write("open-images.csv", f"ImageID,LabelName,Confidence,XMin,XMax,YMin,YMax\n{rows}")
    problems = folder.report().problems
    assert len(problems) == 5
    assert problems[0].startswith("open-images.csv:3: has all corners between 0 and 1; pixels, not shares")


def test_a_path_of_another_machine(folder: Any) -> None:
    dataset(folder, r"C:\data\images\0.png,cat,1,2,3,4")
    assert next(images["0"] for images in folder.contents().values() if "0" in images) == [("cat", (1, 2, 3, 4))]
