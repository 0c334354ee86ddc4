"""The VOC reader, by way of `read_dataset`."""

import os
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.core.errors import InputError
from pipeline.data.dataset import Dataset, read_dataset

Read = Callable[..., Dataset]


@pytest.fixture
def read(voc: Any, make_data: Callable) -> Read:
    return lambda root=voc.root, **changes: read_dataset(make_data(root, **changes), workers=2)


def three(voc: Any) -> None:
    """Write the least dataset: one image for each split."""
    for split in ("train", "val", "test"):
        voc.pair(split)
        voc.list(split, split)


def messages(error: pytest.ExceptionInfo) -> str:
    assert "\nTraceback" not in str(error.value)
    return str(error.value)


def test_boxes_labels_and_ids(voc: Any, read: Read) -> None:
    three(voc)
    voc.image("a.JPG")
    voc.xml("a", ("dog", (1, 1, 100, 80)), ("cat", (2.5, 3, 4, "5.25")), more="<difficult>1</difficult>")
    voc.image("b.jpeg")
    voc.xml("b", more="")
    voc.list("train", "b", "train", "a")
    dataset = read()
    train = dataset.splits["train"]
    assert train.classes == ("cat", "dog")
    assert [(image.id, image.file) for image in train.images] == [
        (1, "JPEGImages/a.JPG"),
        (2, "JPEGImages/b.jpeg"),
        (4, "JPEGImages/train.png"),
    ]
    np.testing.assert_array_equal(train.images[0].boxes, np.array([[0, 0, 100, 80], [1.5, 2, 4, 5.25]], np.float32))
    assert train.images[0].labels.tolist() == [2, 1]
    assert train.images[0].ignore.all()
    assert not train.images[2].ignore.any()  # no <difficult> means 0
    assert train.images[1].boxes.shape == (0, 4)
    assert (train.images[0].width, train.images[0].height) == (100, 80)
    assert dataset.splits["val"].images[0].id == 5
    assert dataset.report.ignored == {"train": 2, "val": 0, "test": 0}
    assert dataset.report.images == {"train": 3, "val": 1, "test": 1}


def test_the_order_of_declared_classes_counts(voc: Any, read: Read) -> None:
    three(voc)
    dataset = read(classes=["dog", "cat"])
    assert dataset.splits["train"].images[0].labels.tolist() == [2]
    assert dataset.report.notes["class without object"] == [
        "data.classes: 'dog' is listed, but no object has this class."
    ]
    with pytest.raises(InputError, match=r"Annotations/train.xml:3: has the class 'cat', which data.classes"):
        read(classes=["dog"])


def test_bccd(shared: Path, read: Read) -> None:
    dataset = read(shared / "data/bccd")
    assert {split: len(index.images) for split, index in dataset.splits.items()} == {
        "train": 205,
        "val": 87,
        "test": 72,
    }
    assert dataset.splits["train"].classes == ("Platelets", "RBC", "WBC")
    assert dataset.report.dropped_boxes == len(dataset.report.notes["box without area"]) == 2
    assert any(":158: RBC" in note for note in dataset.report.notes["box without area"])
    assert sum(sum(split.values()) for split in dataset.report.objects.values()) == 4888 - 2


def test_voc100(shared: Path, read: Read) -> None:
    dataset = read(shared / "data/voc100")
    images = [image for index in dataset.splits.values() for image in index.images]
    assert (len(images), sum(len(image.boxes) for image in images)) == (100, 273)
    assert sum(image.ignore.sum() for image in images) == 38
    assert len(dataset.splits["test"].classes) == 20
    assert len(dataset.report.notes["split made here"]) == 2


def test_the_unpacked_devkit_is_found(voc: Any, read: Read, tmp_path: Path) -> None:
    three(voc)
    target = tmp_path / "download" / "VOCdevkit" / "VOC2007"
    target.parent.mkdir(parents=True)
    voc.root.rename(target)
    for root, source in ((tmp_path / "download", "voc2007"), (tmp_path / "download/VOCdevkit", "voc")):
        index = read(root, source=source).splits["val"]
        assert index.images[0].file == (target / "JPEGImages/val.png").relative_to(root).as_posix()
    with pytest.raises(InputError, match="no VOC folder of 2012"):
        read(tmp_path / "download", source="voc2012")
    with pytest.raises(InputError, match="no such folder"):
        read(tmp_path / "nothing")


def files_by_split(dataset: Dataset) -> dict[str, list[str]]:
    return {split: [image.file for image in index.images] for split, index in dataset.splits.items()}


@pytest.mark.parametrize("source", ["voc0712", "voc"])
def test_two_years_are_one_dataset_with_the_test_images_of_2007(
    source: str, devkit, read: Read, tmp_path: Path
) -> None:
    old, new = "VOCdevkit/VOC2007/JPEGImages", "VOCdevkit/VOC2012/JPEGImages"
    devkit("VOC2007", train=["000001", "000005"], val=["000002"], trainval=[], test=["000003", "000004"])
    devkit("VOC2012", train=["2008_000001", "000001"], val=["2008_000003"], trainval=[])
    for root, below in ((tmp_path, ""), (tmp_path / "VOCdevkit", "VOCdevkit/")):
        dataset = read(root, source=source)
        assert files_by_split(dataset) == {
            split: [file.removeprefix(below) for file in files]
            for split, files in {
                "train": [
                    f"{old}/000001.jpg",
                    f"{old}/000005.jpg",
                    f"{new}/000001.jpg",  # another image of the same name
                    f"{new}/2008_000001.jpg",
                ],
                "val": [f"{old}/000002.jpg", f"{new}/2008_000003.jpg"],
                "test": [f"{old}/000003.jpg", f"{old}/000004.jpg"],
            }.items()
        }
        images = [image for index in dataset.splits.values() for image in index.images]
        assert sorted(image.id for image in images) == list(range(1, 9))
        assert len({image.sha256 for image in images}) == 8
        assert not dataset.report.notes
    # One year of the two is still to be had.
    assert files_by_split(read(tmp_path, source="voc2007"))["train"] == [f"{old}/000001.jpg", f"{old}/000005.jpg"]


def test_a_year_that_gives_only_trainval_or_no_list_trains(devkit, read: Read, tmp_path: Path) -> None:
    devkit("VOC2007", train=["1"], val=["2"], test=["3"])
    devkit("VOC2012", trainval=["4", "5"])
    devkit("VOC2030").pair("6")
    names = {split: [Path(file).stem for file in files] for split, files in files_by_split(read(tmp_path)).items()}
    assert names == {"train": ["1", "4", "5", "6"], "val": ["2"], "test": ["3"]}


def test_faults_of_a_year_name_it(devkit, read: Read, tmp_path: Path) -> None:
    devkit("VOC2007", train=["1"], val=["2"], test=["3"])
    later = devkit("VOC2012", train=["4"])
    later.list("val", "gone")
    later.image("4.png")
    with pytest.raises(InputError) as error:
        read(tmp_path)
    assert "VOCdevkit/VOC2012/ImageSets/Main/val.txt:1: names 'gone', but JPEGImages has no such" in messages(error)
    assert "VOCdevkit/VOC2012/JPEGImages/4.jpg: has the same name as VOCdevkit/VOC2012/JPEGImages/4.png" in messages(
        error
    )


@pytest.mark.parametrize(
    ("folders", "source", "message"),
    [
        (["VOC2007"], "voc0712", "holds no VOC folder of 2012; one has the folders"),
        (["VOC2012"], "voc0712", "holds no VOC folder of 2007; one has the folders"),
        (["VOC2010", "VOC2012"], "voc", r"several VOC folders \(VOCdevkit/VOC2010, VOCdevkit/VOC2012\); name one"),
        (["VOC2007", "VOC2007-old"], "voc", r"several VOC folders \(VOCdevkit/VOC2007, VOCdevkit/VOC2007-old\)"),
        (["VOC2007", "../VOC2007"], "voc", r"several VOC folders \(VOCdevkit/VOC2007, VOC2007\)"),
        (["VOC2007", "VOC2012"], "voc0712", "VOC2007, VOCdevkit/VOC2012: none has the list ImageSets/Main/test.txt"),
    ],
)
def test_years_that_do_not_go_together(folders, source, message, devkit, read: Read, tmp_path: Path) -> None:
    for number, folder in enumerate(folders):
        devkit(folder, train=[f"{number}1"], val=[f"{number}2"])
    with pytest.raises(InputError, match=message):
        read(tmp_path, source=source)


def test_one_folder_is_not_two_years(voc: Any, read: Read) -> None:
    three(voc)
    with pytest.raises(InputError, match="is one VOC folder; the folder that holds VOC2007 and VOC2012 would be right"):
        read(source="voc0712")


def test_without_lists_images_without_annotation_are_noted(voc: Any, read: Read) -> None:
    for i in range(10):
        voc.pair(f"{i}")
    voc.image("bare.png")
    (voc.root / "JPEGImages" / ".hidden.png").write_text("")
    (voc.root / "JPEGImages" / "notes.txt").write_text("")
    dataset = read()
    assert dataset.report.images == {"train": 6, "val": 2, "test": 2}
    assert len(dataset.report.notes["image without annotation"]) == 1
    assert dataset.report.notes["file that is no image"][0].startswith("JPEGImages/notes.txt: ")


def test_lists_may_have_endings_repeats_marks_and_unlisted_images(voc: Any, read: Read) -> None:
    three(voc)
    voc.pair("spare")
    voc.list("train", "\ufefftrain.png", "", "train")
    dataset = read()
    assert dataset.report.images["train"] == 1
    assert dataset.report.notes["name given twice"] == [
        "ImageSets/Main/train.txt:3: train is already at ImageSets/Main/train.txt:1."
    ]
    assert dataset.report.notes["image in no split"][0].startswith("JPEGImages/spare.png: ")


def test_names_beyond_ascii_in_either_form(voc: Any, read: Read) -> None:
    three(voc)
    voc.image(unicodedata.normalize("NFD", "größe 1") + ".png")
    voc.xml(unicodedata.normalize("NFC", "größe 1"), ("猫", (1, 1, 9, 9)))
    voc.list("train", "train", unicodedata.normalize("NFC", "größe 1"))
    dataset = read()
    assert dataset.report.objects["train"] == {"cat": 1, "猫": 1}


def test_a_name_that_is_no_text(voc: Any, read: Read) -> None:
    three(voc)
    voc.image("train.png").rename(voc.root / "JPEGImages" / os.fsdecode(b"caf\xe9.png"))
    with pytest.raises(InputError, match=r"caf.udce9.png': the name is not UTF-8"):
        read()


def test_all_problems_are_told_together(voc: Any, read: Read) -> None:
    three(voc)
    voc.image("bare.png")
    voc.image("train.jpg")
    voc.xml("orphan")
    voc.list("train", "train", "gone", "bare")
    voc.list("val", "val", "train")
    with pytest.raises(InputError) as error:
        read()
    for part in (
        f"{voc.root}: 5 problems",
        "Annotations/orphan.xml: this annotation has no image",
        "ImageSets/Main/train.txt:2: names 'gone', but JPEGImages has no such image.",
        "ImageSets/Main/train.txt:3: names 'bare', but Annotations has no bare.xml.",
        "ImageSets/Main/val.txt:2: names 'train', which is in another split too: ImageSets/Main/train.txt:1.",
        "JPEGImages/train.jpg: has the same name as JPEGImages/train.png",
    ):
        assert part in messages(error)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<annotation>\n<object>\n</annotation>", r"train.xml:3: this is not well-formed XML \(mismatched tag\)"),
        ("", r"train.xml:1: this is not well-formed XML \(no element found\)"),
        ("<annotations/>", r"train.xml:1: the outermost element is <annotations>"),
        (
            '<!DOCTYPE a [<!ENTITY b "boom">]>\n<annotation><object><name>&b;</name></object></annotation>',
            "train.xml: entity declarations are refused",
        ),
        (
            '<!DOCTYPE a SYSTEM "none.dtd">\n<annotation>\n<object><name>&b;</name></object></annotation>',
            r"train.xml:3: this is not well-formed XML \(undefined entity &b;\)",
        ),
        ('<?xml version="1.0" encoding="ANSI"?>\n<annotation/>', "train.xml:1: declares the encoding 'ANSI', which is"),
        (
            '<?xml version="1.0" encoding="rot13"?>\n<annotation/>',
            "train.xml:1: declares the encoding 'rot13', which is",
        ),
        (
            '<?xml version="1.0" encoding="gbk"?>\n<annotation>\u732b</annotation>',
            "train.xml:1: is not in the encoding 'gbk'",
        ),
        ('<?xml version="1.0" encoding="utf-16"?>\n<annotation/>', "train.xml:1: this is not well-formed XML"),
        (
            "<annotation><object><name>cat</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
            "\n<difficult>nan</difficult></object></annotation>",
            "train.xml:2: <difficult> is 'nan'; a number would be right",
        ),
        ("<annotation>\n\n<object><bndbox/></object></annotation>", r"train.xml:3: <object> has no <name>"),
        (
            "<annotation>\n<object><name>cat</name></object></annotation>",
            r"train.xml:2: this object \(cat\) has no <bndbox>",
        ),
        (
            "<annotation><object><name>cat</name><bndbox>\n<xmin>left</xmin></bndbox></object></annotation>",
            "train.xml:2: <xmin> is 'left'; a number",
        ),
        (
            "<annotation><object>\n<name>big\nox</name></object></annotation>",
            r"train.xml:1: <name> is 'big\\nox'; a text on one line would be right",
        ),
        (
            "<annotation><Object><name>cat</name>\n<bndbox/></Object></annotation>",
            "train.xml:2: <bndbox> is in <Object>; <object> would be right",
        ),
    ],
)
def test_broken_annotations(voc: Any, read: Read, text: str, message: str) -> None:
    three(voc)
    voc.raw("train", text)
    with pytest.raises(InputError, match=message):
        read()


def test_objects_below_another_element_count(voc: Any, read: Read) -> None:
    three(voc)
    text = (voc.root / "Annotations/train.xml").read_text()
    voc.raw("train", text.replace("<object>", "<objects><object>").replace("</object>", "</object></objects>"))
    assert sum(len(image.boxes) for image in read().splits["train"].images) == 1


def test_a_pipe_is_no_image(voc: Any, read: Read) -> None:
    three(voc)
    os.mkfifo(voc.root / "JPEGImages/pipe.png")
    assert read().report.notes["file that is no image"][0].startswith("JPEGImages/pipe.png: ")


def test_an_annotation_that_is_a_folder_and_a_list_that_is_no_text(voc: Any, read: Read) -> None:
    three(voc)
    (voc.root / "Annotations/train.xml").unlink()
    (voc.root / "Annotations/train.xml").mkdir()
    (voc.root / "ImageSets/Main/val.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError) as error:
        read()
    assert (
        "Annotations/train.xml: cannot be read (Is a directory); a file that you may read would be right."
        in messages(error)
    )
    assert "ImageSets/Main/val.txt: is not UTF-8 text." in messages(error)


def test_no_image_and_no_object(voc: Any, read: Read) -> None:
    with pytest.raises(InputError, match="JPEGImages: holds no image"):
        read()
    for name in "abc":
        voc.image(f"{name}.png")
        voc.raw(name, "<annotation/>")
    with pytest.raises(InputError, match="the dataset: has no object"):
        read()


def test_a_split_without_image(voc: Any, read: Read) -> None:
    three(voc)
    voc.list("test")
    with pytest.raises(InputError, match="split test: has no image"):
        read()


def test_parts_of_an_object_are_no_objects(voc: Any, read: Read) -> None:
    three(voc)
    part = "<part><name>head</name><bndbox><xmin>2</xmin><ymin>2</ymin><xmax>3</xmax><ymax>3</ymax></bndbox></part>"
    voc.xml("train", ("person", (1, 1, 50, 50)), more=part)
    assert read().splits["train"].images[0].boxes.tolist() == [[0, 0, 50, 50]]


def test_a_line_of_a_list_is_one_name_that_may_hold_blanks(voc: Any, read: Read) -> None:
    for name in ("a b", "c d.e", "f"):
        voc.pair(name)
    voc.list("train", "a b.png")
    voc.list("val", " c d.e ")
    voc.list("test", "f")
    assert [index.images[0].file for index in read().splits.values()] == [
        f"JPEGImages/{name}.png" for name in ("a b", "c d.e", "f")
    ]
    voc.list("train", "a b f")
    with pytest.raises(InputError, match=r"ImageSets/Main/train.txt:1: names 'a b f', but JPEGImages has no such"):
        read()


def test_many_annotations_are_read_under_a_progress_bar(
    voc: Any, read: Read, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    three(voc)
    monkeypatch.setattr("pipeline.data.source.MANY", 1)
    assert read().report.ok
    assert "reading annotations" in capsys.readouterr().err


def test_upright_size_counts_and_unreadable_images_stop_or_go(voc: Any, read: Read) -> None:
    three(voc)
    exif = Image.Exif()
    exif[0x0112] = 8
    Image.new("RGB", (100, 80)).save(voc.root / "JPEGImages/turned.jpg", exif=exif)
    voc.xml("turned", ("cat", (1, 1, 80, 100)))
    voc.image("cut.png").write_bytes(b"\x89PNG\r\n")
    voc.xml("cut", ("cat", (1, 1, 80, 80)))
    voc.list("train", "train", "turned", "cut")
    with pytest.raises(InputError, match=r"JPEGImages/cut.png: the file is no image .* data.skip_unreadable"):
        read()
    dataset = read(skip_unreadable=True)
    turned = dataset.splits["train"].images[1]
    assert (turned.width, turned.height, turned.boxes.tolist()) == (80, 100, [[0, 0, 80, 100]])
    assert len(dataset.report.notes["unreadable image"]) == 1
    assert dataset.report.notes["size differs from the image"] == [
        "Annotations/turned.xml: says 100 x 80 pixels, but the image has 80 x 100, which counts."
    ]
    assert [image.id for index in dataset.splits.values() for image in index.images] == [2, 3, 4, 1]


def test_the_same_pixels_in_two_splits_are_noted(voc: Any, read: Read) -> None:
    three(voc)
    (voc.root / "JPEGImages/test.png").write_bytes((voc.root / "JPEGImages/train.png").read_bytes())
    assert read().report.notes["same image in two splits"] == [
        "JPEGImages/test.png: (test) has the bytes of JPEGImages/train.png (train)."
    ]


def test_one_worker_and_many_agree(voc: Any, make_data: Callable, tmp_path: Path) -> None:
    for i in range(12):
        voc.pair(f"{i}", ("cat", (0, 1, 20 + i, 200)))
    for workers in (1, 3):
        dataset = read_dataset(make_data(voc.root), workers)
        dataset.splits["train"].save(tmp_path / f"{workers}.json")
        assert dataset.report.clipped_boxes == 12
    assert (tmp_path / "1.json").read_bytes() == (tmp_path / "3.json").read_bytes()


def test_an_image_of_trainval_and_test_is_told(voc: Any, read: Read) -> None:
    for name in "abc":
        voc.pair(name)
    voc.list("trainval", "a", "b", "c")
    voc.list("test", "c")
    with pytest.raises(
        InputError, match=r"test.txt:1: names 'c', which is in another split too: ImageSets/Main/trainval.txt:3\."
    ):
        read()
    voc.list("trainval", "a", "b")
    voc.list("train", "a")  # trainval repeats its halves
    assert read().report.images == {"train": 1, "val": 1, "test": 1}


def test_lists_that_are_not_read(voc: Any, read: Read) -> None:
    for name in ("train", "val", "test"):
        voc.pair(name)
        voc.list(f"cat_{name}", f"{name} 1")
    with pytest.raises(InputError, match=r"ImageSets/Main/cat_test.txt: is not read, nor is any other list; ImageSets"):
        read()
    voc.list("train", "train", "val")
    voc.list("test", "test")
    layout = voc.root / "ImageSets/Layout/train.txt"
    layout.parent.mkdir()
    layout.write_text("train")
    assert read().report.notes["list that is not read"] == [
        "ImageSets/Main/cat_val.txt: splits are read from ImageSets/Main/{train,val,trainval,test}.txt."
    ]


def test_boxes_of_the_stored_pixels_of_a_turned_image(voc: Any, read: Read) -> None:
    three(voc)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (100, 80)).save(voc.root / "JPEGImages/train.png", exif=exif)
    with pytest.raises(
        InputError, match=r"train.xml: says 100 x 80 pixels, but the image has 80 x 100 once its EXIF orientation turns"
    ):
        read()
    voc.xml("train", ("cat", (11, 21, 30, 40)), size=(80, 100))
    assert read().report.ok


@pytest.mark.parametrize(
    ("size", "stops"), [((1000, 800), True), ((80, 80), False), ((80, 100), False), ((0, 0), False)]
)
def test_a_size_that_both_sides_contradict_is_a_problem(voc: Any, read: Read, size: tuple, stops: bool) -> None:
    three(voc)
    voc.xml("train", ("cat", (11, 21, 30, 40)), size=size)
    if stops:
        with pytest.raises(
            InputError, match=r"train\.xml: says 1000 x 800 pixels, but the image has 100 x 80; boxes of"
        ):
            read()
    else:
        assert len(read().report.notes["size differs from the image"]) == 1


@pytest.mark.parametrize("size", ["<size/>", "<size><width/><height/></size>", "<size><width>None</width></size>"])
def test_a_size_that_says_nothing_is_none(voc: Any, read: Read, size: str) -> None:
    three(voc)
    text = (voc.root / "Annotations/train.xml").read_text()
    voc.raw("train", text.replace("<size><width>100</width><height>80</height></size>", size))
    assert "size differs from the image" not in read().report.as_json()["notes"]


def test_boxes_in_shares_of_the_sides(voc: Any, read: Read) -> None:
    three(voc)
    voc.xml("train", ("cat", (0.25, 0.1, 0.75, 1)), ("cat", (0, 0, 1, 1)))
    with pytest.raises(InputError, match=r"train.xml: has all corners between 0 and 1; pixels, not shares"):
        read()


def test_names_that_look_alike_are_noted(voc: Any, read: Read) -> None:
    three(voc)
    voc.xml("train", ("Cat", (1, 1, 9, 9)), ("cat\u200b", (1, 1, 9, 8)), ("dog", (1, 1, 9, 7)))
    assert read().report.notes["classes with almost one name"] == [
        r"the dataset: 'Cat', 'cat', 'cat\u200b' are 3 classes."
    ]


def test_an_image_that_is_nearly_one_grey_is_noted(voc: Any, read: Read) -> None:
    """A camera of 12 bits in a file of 16: 4,095 of 65,535 is 16 of 255."""
    three(voc)
    Image.fromarray(np.tile(np.array([[0, 4095]], np.uint16), (80, 50))).save(voc.root / "JPEGImages/train.png")
    assert read().report.notes["image without contrast"] == [
        "JPEGImages/train.png: is nearly one grey at 8 bits; values that fill the range of its file would be right."
    ]


def test_a_folder_among_the_images_is_counted(voc: Any, read: Read) -> None:
    three(voc)
    (voc.root / "JPEGImages/day1").mkdir()
    for name in "ab":
        voc.image(f"day1/{name}.png")
    assert read().report.notes["folder that is not read"] == [
        "JPEGImages/day1: holds 2 files that could be used; move them to JPEGImages."
    ]


@pytest.mark.parametrize("encoding", ["gb2312", "GBK", "big5", "Shift_JIS", "euc-jp", "utf8", "UTF-8", "utf-16"])
def test_annotations_are_read_in_the_encoding_that_they_declare(voc: Any, read: Read, encoding: str) -> None:
    three(voc)
    file = voc.root / "Annotations/train.xml"
    text = f'<?xml version="1.0" encoding="{encoding}"?>\n' + file.read_text().replace("cat", "\u5c71")
    file.write_bytes(text.encode(encoding))
    assert read().splits["train"].classes == ("cat", "\u5c71")


@pytest.mark.parametrize(
    "kind", ['annotation SYSTEM "voc.dtd"', 'annotation PUBLIC "-//x" "http://x.invalid/voc.dtd"', "a"]
)
def test_a_document_type_elsewhere_is_not_read(voc: Any, read: Read, kind: str) -> None:
    three(voc)
    file = voc.root / "Annotations/train.xml"
    file.write_text(f'<?xml version="1.0"?>\n<!DOCTYPE {kind}>\n' + file.read_text())
    assert len(read().splits["train"].images[0].boxes) == 1


def test_large_images_say_what_proposals_cost(voc: Any, read: Read) -> None:
    three(voc)
    assert "image that proposals take long for" not in read().report.as_json()["notes"]
    Image.new("RGB", (1200, 1000)).save(voc.root / "JPEGImages/train.png")
    voc.xml("train", ("cat", (11, 21, 30, 40)), size=(1200, 1000))
    (note,) = read().report.notes["image that proposals take long for"]
    assert note.startswith("JPEGImages/train.png: has 1200 x 1000 pixels; 1 have more than 1 megapixel. Engine")
