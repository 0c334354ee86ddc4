"""The COCO reader, by way of `read_dataset`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faster_coco_eval.core import mask

from pipeline.core.errors import InputError
from pipeline.data.dataset import Dataset, read_dataset, validate

Read = Callable[..., Dataset]


@pytest.fixture
def read(coco: Any, make_data: Callable) -> Read:
    def read(images: str = "images", annotations: Any = "annotations.json", **changes: Any) -> Dataset:
        section = {"images": images, "annotations": annotations}
        return read_dataset(make_data(coco.root, "coco", coco=section, **changes), 2)

    return read


def test_one_file_is_split_by_seed(coco: Any, read: Read) -> None:
    for i in range(10):
        coco.image(i, f"{i}.png")
        coco.box(i, [10, 20, 30.5, 40], iscrowd=int(i < 5))
    coco.image(10, "empty.png")
    coco.content["images"][-1].pop("width")
    coco.save()
    dataset = read()
    images = [image for index in dataset.splits.values() for image in index.images]
    assert dataset.report.images == {"train": 7, "val": 2, "test": 2}
    assert sum(dataset.report.ignored.values()) == 5
    assert sorted(image.id for image in images) == list(range(1, 12))
    boxes = np.concatenate([image.boxes for image in images])
    np.testing.assert_array_equal(boxes, np.array([[10, 20, 40.5, 60]] * 10, np.float32))
    for image in images:
        crowd = image.file in {f"images/{number}.png" for number in range(5)}
        assert image.ignore.tolist() == image.crowd.tolist() == ([crowd] if len(image.boxes) else [])


def test_files_with_other_category_ids_go_together(coco: Any, read: Read) -> None:
    files = {}
    for i, split in enumerate(("train", "val", "test"), 1):
        coco.content = {
            "images": [],
            "annotations": [],
            "categories": [{"id": i, "name": "dog"}, {"id": 9, "name": "ant"}],
        }
        coco.image(i, f"../{split}2017/x.png")
        coco.content["images"][0]["file_name"] = "x.png"
        coco.box(i, category=i)
        coco.box(i, [200, 1, 5, 5], category=9)
        files[split] = coco.save(f"{split}.json").name
    dataset = read("{split}2017", files)
    assert [index.images[0].file for index in dataset.splits.values()] == [
        "train2017/x.png",
        "val2017/x.png",
        "test2017/x.png",
    ]
    assert dataset.splits["val"].classes == ("ant", "dog")
    assert all(index.images[0].labels.tolist() == [2] for index in dataset.splits.values())
    assert dataset.report.dropped_boxes == 3
    assert dataset.report.notes["box outside the image"][0].startswith("train.json: annotation 2: ant at (200,")


def test_an_image_in_two_files_and_an_unlisted_one(coco: Any, read: Read) -> None:
    coco.image(1, "a.png")
    coco.image(2, "b.png")
    coco.content["images"].pop()
    coco.save("train.json")
    coco.save("test.json")
    with pytest.raises(InputError, match=r"test.json: image 1: names images/a.png, which another file"):
        read(annotations={"train": "train.json", "test": "test.json"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["annotations"][0].pop("bbox"), "annotation 1: has no 'bbox'"),
        (lambda c: c["annotations"][0].update(bbox=[1, 2, 3]), r"annotation 1: has \[1, 2, 3\] as 'bbox'"),
        (lambda c: c["annotations"][0].update(bbox=[1, 2, 3, 10**400]), "as 'bbox'; four numbers"),
        (lambda c: c["annotations"][0].update(image_id=5), "annotation 1: has image_id 5, which no"),
        (lambda c: c["annotations"][0].update(category_id=[7]), r"annotation 1: has category_id \[7\]"),
        (lambda c: c["images"][0].update(file_name="no.png"), "image 0: names images/no.png, but there is no such"),
        (lambda c: c["images"][0].update(file_name="../../x"), "image 0: has the file_name '../../x'"),
        (lambda c: c["images"][0].pop("id"), "image number 1: has None as 'id'"),
        (lambda c: c["images"][0].pop("file_name"), "image number 1: has None as 'file_name'"),
        (lambda c: c["images"][1].update(id=0), "image number 2: has the id 0, which another"),
        (lambda c: c["images"][1].update(file_name="0.png"), "image number 2: has the file_name '0.png', which"),
        (lambda c: c["categories"][0].update(name="\ud83d"), "category number 1: has '.ud83d' as 'name'"),
        (lambda c: c.update(images=[]), "annotations.json: lists no image"),
        (lambda c: c.pop("categories"), "annotations.json: has no list of mappings called 'categories'"),
        (lambda c: c.update(annotations=[1]), "annotations.json: has no list of mappings called 'annotations'"),
    ],
)
def test_broken_entries(coco: Any, read: Read, change: Callable, message: str) -> None:
    for i in range(3):
        coco.image(i, f"{i}.png")
        coco.box(i)
    change(coco.content)
    coco.save()
    with pytest.raises(InputError, match=message):
        read()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{\n"images": ]', r"annotations.json:2: this is not JSON \(Expecting value, column 11\)"),
        (b"\xff\xff", "annotations.json: this is not JSON"),
        (b"[" * 100_000, "annotations.json: this is not JSON"),
        (b"[]", "annotations.json: holds a JSON list"),
        (None, "annotations.json: cannot be read"),
    ],
)
def test_broken_files(coco: Any, read: Read, content: bytes | None, message: str) -> None:
    if content is not None:
        (coco.root / "annotations.json").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read()


def test_numbers_that_are_not_finite_and_wrong_sizes_are_noted(coco: Any, read: Read) -> None:
    for i in range(3):
        coco.image(i, f"sub/{i}.png", width="wide")
        coco.box(i)
        coco.box(i, [float("nan"), 1, 2, 2])
        coco.box(i, [5, 5, -1, 2])
    coco.image(4, "spare.png")
    coco.content["images"].pop()
    coco.save()
    report = read().report
    assert json.loads(json.dumps(report.as_json()))["dropped_boxes"] == 6
    assert len(report.notes["box that is not finite"]) == len(report.notes["inverted box"]) == 3
    assert report.notes["size differs from the image"][0].endswith(
        "says wide x 80 pixels, but the image has 100 x 80, which counts."
    )
    assert report.notes["image without annotation"] == ["images/spare.png: no annotation file lists it: not used."]


def test_our_own_index_is_coco_too(coco: Any, read: Read, tmp_path: Path) -> None:
    for i in range(3):
        coco.image(i, f"{i}.png")
        coco.box(i, ignore=1)
        coco.box(i, iscrowd=1)
        coco.box(i, [1, 2, 3, 4], segmentation=[[1, 2, 4, 2, 4, 6]])
    coco.save()
    first = read()
    for split, index in first.splits.items():
        index.save(coco.root / f"{split}.json")
    again = read(".", {split: f"{split}.json" for split in first.splits})
    for split, index in first.splits.items():
        again.splits[split].save(tmp_path / "again.json")
        assert (tmp_path / "again.json").read_bytes() == (coco.root / f"{split}.json").read_bytes()
        assert index.images[0].ignore.tolist() == [True, True, False]
        assert again.splits[split].images[0].crowd.tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("flags", "ignore", "crowd"),
    [
        ({"iscrowd": "0"}, False, False),
        ({"iscrowd": "1"}, True, True),
        ({"iscrowd": 0, "ignore": "false"}, False, False),
        ({"iscrowd": False, "ignore": " True "}, True, False),
        ({"iscrowd": None, "ignore": ""}, False, False),
        ({"iscrowd": 0.0, "ignore": 1.0}, True, False),
    ],
)
def test_flags_are_numbers_truth_values_or_their_texts(
    coco: Any, read: Read, flags: dict, ignore: bool, crowd: bool
) -> None:
    for i in range(3):
        coco.image(i, f"{i}.png")
        coco.box(i)
        coco.box(i, [1, 2, 3, 4], **flags)
    coco.save()
    image = read().splits["train"].images[0]
    assert image.ignore.tolist() == [False, ignore]
    assert image.crowd.tolist() == [False, crowd]


@pytest.mark.parametrize("value", ["no", "2", 7, [0], float("nan")])
def test_a_flag_that_says_neither_names_the_annotation(coco: Any, read: Read, value: Any) -> None:
    for i in range(3):
        coco.image(i, f"{i}.png")
        coco.box(i)
    coco.content["annotations"][1]["iscrowd"] = value
    coco.save()
    with pytest.raises(InputError, match=r"annotations.json: annotation 2: has .* as 'iscrowd'; 0 or 1 would be right"):
        read()


def test_categories_of_one_name_are_one_class(coco: Any, read: Read) -> None:
    coco.content["categories"] = [{"id": 0, "name": "cat "}, {"id": 7, "name": "\tcat\n"}, {"id": 8, "name": "Cat"}]
    for i in range(3):
        coco.image(i, f"{i}.png")
        coco.box(i)
        coco.box(i, [1, 2, 3, 4], 0)
        coco.box(i, [1, 2, 3, 5], 8)
    coco.save()
    dataset = read()
    assert dataset.splits["train"].classes == ("Cat", "cat")
    assert dataset.splits["train"].images[0].labels.tolist() == [2, 2, 1]
    assert dataset.report.notes["category given twice"] == [
        "annotations.json: 'cat' has the ids 0, 7: they are one class."
    ]
    assert dataset.report.notes["classes with almost one name"] == ["the dataset: 'Cat', 'cat' are 2 classes."]


def test_a_refused_entry_is_told_once(coco: Any, read: Read) -> None:
    coco.content["categories"].append({"id": 8, "name": None})
    for i in range(3):
        coco.image(i, "0.png")
        coco.box(i)
        coco.box(i, [1, 2, 3, 4], 8)
    coco.save()
    with pytest.raises(InputError) as error:
        read()
    assert str(error.value).splitlines()[0] == f"{coco.root}: 3 problems"
    assert "annotations.json: category number 2: has None as 'name'" in str(error.value)
    assert "annotations.json: image number 3: has the file_name '0.png', which another image has too" in str(
        error.value
    )


def test_ids_of_two_json_types_and_sizes_that_are_null_or_text(coco: Any, read: Read) -> None:
    for i in range(3):
        coco.image(i, f"{i}.png", width=None, height="80")
        coco.box(i)
    coco.content["images"][1]["width"] = "100"
    coco.save()
    assert "size differs from the image" not in read().report.as_json()["notes"]
    coco.content["images"][1]["id"] = "1"
    coco.save()
    with pytest.raises(InputError, match="annotation 2: has image_id 1, which an entry has as its id in another JSON"):
        read()


def test_a_name_that_no_disk_holds_is_a_missing_file(coco: Any, read: Read) -> None:
    for i in range(3):
        coco.image(i, f"{i}.png")
        coco.box(i)
    coco.content["images"][0]["file_name"] = "x" * 300
    coco.save()
    with pytest.raises(InputError, match=r"image 0: names images/x+, but there is no such file"):
        read()
    assert "there is no such file" in validate(coco.root).problems[0]


def test_an_object_twice_is_noted(coco: Any, read: Read) -> None:
    for i in range(3):
        coco.image(i, f"{i}.png")
        coco.box(i)
        coco.box(i)
    coco.save()
    assert read().report.notes["same object twice"][0] == (
        "annotations.json: annotation 6: cat has the box of another cat; both count."
    )


@pytest.mark.parametrize(
    ("crowds", "message"),
    [
        (range(3), "the splits train and val: have no object to train on"),
        ([2], "split test: has no object that counts, so that no score can come out"),
    ],
)
def test_what_can_train_nothing_or_score_nothing_stops_here(coco: Any, read: Read, crowds: Any, message: str) -> None:
    files = {}
    for i, split in enumerate(("train", "val", "test")):
        coco.content["images"], coco.content["annotations"] = [], []
        coco.image(i, f"{i}.png")
        coco.box(i, iscrowd=int(i in crowds))
        files[split] = coco.save(f"{split}.json").name
    with pytest.raises(InputError, match=message):
        read(annotations=files)


def square(x: int, y: int, side: int) -> np.ndarray:
    """Return a mask in an image of 100 x 80 pixels."""
    pixels = np.zeros((80, 100), bool)
    pixels[y : y + side, x : x + side] = True
    return pixels


def runs(pixels: np.ndarray) -> list[int]:
    """Return COCO's uncompressed counts of a mask whose first pixel is background."""
    flat = pixels.T.ravel().astype(int)
    return np.diff([0, *np.flatnonzero(np.diff(flat)) + 1, flat.size]).tolist()


POLYGON = [10, 20, 30, 20, 30, 40, 10, 40]
FORMS = {
    "polygon": [POLYGON],
    "two polygons": [[10, 20, 20, 20, 20, 40, 10, 40], [20, 20, 30, 20, 30, 40, 20, 40]],
    "numbers": {"size": [80, 100], "counts": runs(square(10, 20, 20))},
    "text": {
        "size": [80, 100],
        "counts": mask.encode(np.asfortranarray(square(10, 20, 20), np.uint8))["counts"].decode(),
    },
}


@pytest.mark.parametrize("form", FORMS)
def test_each_form_of_a_segmentation_is_one_mask(coco: Any, read: Read, form: str) -> None:
    for i in range(3):
        coco.image(i, f"{i}.png")
        coco.box(i, segmentation=FORMS[form])
        coco.box(i, [1, 2, 3, 4])
        coco.box(i, None, segmentation=FORMS[form], iscrowd=1)
        coco.content["annotations"][-1].pop("bbox")
    coco.save()
    dataset = read()
    image = dataset.splits["train"].images[0]
    np.testing.assert_array_equal(image.boxes[[0, 2]], [[10, 20, 30, 40]] * 2)
    np.testing.assert_array_equal(image.mask(0), square(10, 20, 20))
    np.testing.assert_array_equal(image.mask(2), square(10, 20, 20))
    assert image.mask(1) is None
    assert dataset.report.as_json()["masks"] == {"cat": {"train": 2, "val": 2, "test": 2}}
    assert "\n  of which with a mask      2    2     2\n" in dataset.report.table()


@pytest.mark.parametrize("nothing", [None, [], [[]], {}, ""])
def test_an_empty_segmentation_is_none(coco: Any, read: Read, nothing: Any) -> None:
    for i in range(3):
        coco.image(i, f"{i}.png")
        coco.box(i, segmentation=nothing)
    coco.save()
    report = read().report
    assert "masks" not in report.as_json()
    assert "mask" not in report.table()


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ([POLYGON[:-1]], "polygon 1 of 'segmentation' has 7 numbers; pairs x, y of 3 or more points would be right."),
        ([POLYGON, POLYGON[:4]], "polygon 2 of 'segmentation' has 4 numbers; pairs x, y of 3 or more points"),
        ([["a"] * 6], "polygon 1 of 'segmentation' is ['a', 'a', 'a', 'a', 'a', 'a']; numbers would be right."),
        (POLYGON, "has [10, 20, 30, 20, 30, 40, 10, 40] as 'segmentation'; a list of polygons [x, y, x, y, x, y], or"),
        ("92203", "has '92203' as 'segmentation'; a list of polygons"),
        ([[float("nan"), *POLYGON[1:]]], "has a polygon with a point that is not finite; numbers would be right."),
        ({"counts": "92203"}, "as 'segmentation'; 'size' [height, width] and 'counts', a text or a list of numbers"),
        ({"size": [80, 100, 3], "counts": "92203"}, "as 'segmentation'; 'size' [height, width] and"),
        ({"size": [80, 1e3], "counts": "92203"}, "as 'segmentation'; 'size' [height, width] and"),
        ({"size": [80, 100], "counts": [-1, 8001]}, "as 'segmentation'; 'size' [height, width] and"),
        ({"size": [80, 100], "counts": "\ud800"}, "as 'segmentation'; 'size' [height, width] and"),
        (
            {"size": [100, 80], "counts": [10, 20, 7970]},
            "the mask has 80 x 100 pixels, but the image has 100 x 80; a mask of the upright image's size would be",
        ),
        ({"size": [80, 100], "counts": [10, 20]}, "has run lengths that do not add up to 100 x 80 pixels; as many"),
        ({"size": [80, 100], "counts": "9220"}, "has run lengths that do not add up to 100 x 80 pixels; as many"),
    ],
)
def test_a_wrong_segmentation_is_named(coco: Any, read: Read, segmentation: Any, message: str) -> None:
    for i in range(3):
        coco.image(i, f"{i}.png")
        coco.box(i, segmentation=segmentation if i == 1 else [POLYGON])
    coco.save()
    with pytest.raises(InputError) as error:
        read()
    assert str(error.value).startswith(f"{coco.root}: annotations.json: annotation 2: ")
    assert message in str(error.value)


def test_run_lengths_without_box_that_are_longer_than_their_pixels(coco: Any, read: Read) -> None:
    for i in range(3):
        coco.image(i, f"{i}.png")
        coco.box(
            i, None if i == 1 else [1, 2, 3, 4], segmentation={"size": [80, 100], "counts": [1, 8000]} if i == 1 else []
        )
    coco.save()
    with pytest.raises(InputError, match="annotation 2: has run lengths beyond the 'size' of its 'segmentation'"):
        read()


def test_masks_are_cut_and_counted_and_those_without_pixels_noted(coco: Any, read: Read) -> None:
    for i in range(3):
        coco.image(i, f"{i}.png")
        coco.box(i, [90, 70, 20, 20], segmentation=[[90, 70, 1e300, 70, 1e300, 90, 90, 90]])
        coco.box(i, [5, 5, 2, 2], segmentation=[[5, 5, 5.1, 5, 5.1, 5.2]])
        coco.box(i, [0, 0, 100, 80], segmentation=[[0, 0, 100, 0, 100, 80, 0, 80]])
        coco.box(i, [200, 0, 10, 10], segmentation=[[200, 0, 210, 0, 210, 10]])
    coco.save()
    dataset = read()
    (image, *_) = dataset.splits["train"].images
    assert image.masked.tolist() == [True, False, True]
    np.testing.assert_array_equal(image.mask(0), square(90, 70, 20))
    assert image.mask(2).all()
    notes = dataset.report.notes
    assert len(notes["clipped mask"]) == len(notes["mask without pixels"]) == len(notes["box outside the image"]) == 3
    assert "annotations.json: annotation 1: the polygon of cat was cut to 100 x 80 pixels." in notes["clipped mask"]
    message = "annotations.json: annotation 2: the mask of cat has no pixel: its box counts alone."
    assert message in notes["mask without pixels"]
