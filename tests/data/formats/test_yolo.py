from typing import Any

import pytest

LINE = "0 0.5 0.5 0.5 0.5\n"


def dataset(folder: Any, count: int = 5) -> None:
    for i in range(count):
        folder.pictures(f"images/{i}.png")
        folder.write(f"labels/{i}.txt", LINE)
    folder.write("classes.txt", "cat\ndog\n")


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("2 .5 .5 .5 .5", "has the class '2'; a number that classes.txt names would be right."),
        ("cat .5 .5 .5 .5", "has the class 'cat'; a number that classes.txt names would be right."),
        ("nan .5 .5 .5 .5", "has the class 'nan'; a number that classes.txt names would be right."),
        ("1 .5 .5 .5", "has 3 values behind the class; 4 of a box, or pairs of 3 or more points, would be right."),
        (
            "1 .5 .5 .5 .5 .9",
            "has 5 values behind the class; 4 of a box, or pairs of 3 or more points, would be right.",
        ),
        ("1 80 40 20 20", "is '1 80 40 20 20'; shares of the image's sides, from 0 to 1, would be right."),
        ("1 .5 .5 nan .5", "is '1 .5 .5 nan .5'; shares of the image's sides, from 0 to 1, would be right."),
        ("1 .5 .5 x .5", "is '1 .5 .5 x .5'; numbers would be right."),
    ],
)
def test_a_wrong_line_is_named(folder: Any, line: str, sentence: str) -> None:
    dataset(folder)
    folder.write("labels/3.txt", f"{LINE}\n{line}\n")
    assert folder.problem() == f"labels/3.txt:3: {sentence}"


def test_box_polygon_and_a_class_written_as_a_float(folder: Any) -> None:
    dataset(folder)
    for split, name in (("train", "0"), ("val", "1"), ("test", "2")):
        folder.write(f"{split}.txt", f"{name}\n")
    folder.write("labels/0.txt", "1.0 0.25 0.5 0.5 0.25\n0 0.1 0.5 0.3 0.25 0.2 1.0\n")
    assert folder.contents()["train"]["0"] == [("dog", (0, 30, 80, 50)), ("cat", (16, 20, 48, 80))]


def test_shares_are_of_the_upright_image(folder: Any) -> None:
    from PIL import Image

    dataset(folder)
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees: 80 wide, 160 high
    (folder.root / "images/0.png").unlink()
    Image.effect_noise((160, 80), 50).save(folder.root / "images/0.jpg", exif=exif)
    folder.write("labels/0.txt", "0 0.5 0.5 1 0.5\n")
    boxes = {name: objects for images in folder.contents().values() for name, objects in images.items()}
    assert boxes["0"] == [("cat", (0, 40, 80, 120))]


def test_images_without_a_label_file(folder: Any) -> None:
    dataset(folder)
    folder.pictures("images/empty.png", "unlabelled/x.png")
    report = folder.report()
    assert report.ok
    assert report.notes["image without object"] == [
        "images/empty.png: it has no label file: taken as an image without object."
    ]
    assert report.notes["image without annotation"] == ["unlabelled/x.png: it has no annotation: not used."]
    assert sum(report.images.values()) == 6


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("names: [cat, cat]", "data.yaml: names two classes 'cat'"),
        ("names: []", "data.yaml: names no class"),
        ("names: cat", "data.yaml: names is 'cat'; a list, or a mapping of numbers to names, would be right."),
        (
            "names: [cat]\ntrain: 7",
            "data.yaml: train is 7; a folder or a text file, or a list of them, would be right.",
        ),
        ("names: [cat]\nkpt_shape: [17, 3]", "data.yaml: has kpt_shape, for key points, which are not read"),
        ("names: [cat", "data.yaml: not readable as YAML"),
        (
            "names: [cat]\nval: pictures/val",
            "data.yaml: val: is 'pictures/val', but the folder has no images and no list",
        ),
        (
            "names: [cat]\ntrain: images\nval: images",
            "data.yaml: val: names the images of train; without it, data.split",
        ),
    ],
)
def test_a_wrong_data_yaml_is_named(folder: Any, text: str, sentence: str) -> None:
    dataset(folder)
    folder.write("data.yaml", text)
    assert sentence in folder.problem()


def test_files_that_name_other_classes(folder: Any) -> None:
    dataset(folder)
    folder.write("labels/classes.txt", "dog\ncat\n")
    assert "labels/classes.txt: names other classes or splits than classes.txt; one would be right." in folder.problem()


def test_classes_that_are_not_utf8(folder: Any) -> None:
    dataset(folder)
    (folder.root / "classes.txt").write_bytes("hämster\ndog\n".encode("latin-1"))
    assert folder.problem() == f"{folder.root}: classes.txt: is not UTF-8 text. docs/formats.md shows what is read."


def test_a_split_that_data_yaml_names_and_the_download_lacks(folder: Any) -> None:
    dataset(folder, 10)
    folder.write("data.yaml", "train: images\ntest: ../test/images\nnames: [cat, dog]\n")
    assert folder.report().images == {"train": 6, "val": 2, "test": 2}


def test_a_text_with_the_name_of_an_image_is_a_label_whatever_it_holds(folder: Any) -> None:
    dataset(folder)
    folder.write("labels/0.txt", "a picture of a cat\n")
    assert folder.problem().startswith("labels/0.txt:1: has the class 'a'; a number that classes.txt names would be")
