"""VOC's SegmentationObject, with files that Pillow draws, by way of `read_dataset`."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from pipeline.core.errors import InputError
from pipeline.data.dataset import Dataset, read_dataset

Read = Callable[..., Dataset]
VOID = 255


@pytest.fixture
def read(voc: Any, make_data: Callable) -> Read:
    for split in ("train", "val", "test"):
        voc.list(split, split)
        if split != "train":
            voc.pair(split)
    return lambda **changes: read_dataset(make_data(voc.root, **changes), workers=1)


def png(voc: Any, *drawn: tuple[tuple[int, int, int, int], int], size: tuple[int, int] = (100, 80)) -> Image.Image:
    """Write the masks of the image "train": ellipses in boxes, half-open from 0, with a border of void."""
    image = Image.new("P", size)
    image.putpalette([128] * 768)
    pencil = ImageDraw.Draw(image)
    for (x1, y1, x2, y2), value in drawn:
        pencil.ellipse((x1, y1, x2 - 1, y2 - 1), fill=value, outline=VOID)
    (voc.root / "SegmentationObject").mkdir(exist_ok=True)
    image.save(voc.root / "SegmentationObject/train.png")
    return image


def test_each_mask_goes_to_the_box_that_it_overlaps_most(voc: Any, read: Read) -> None:
    """The dog is inside of the cat's box, and the values are not in the order of the annotation."""
    voc.image("train.png")
    voc.xml("train", ("cat", (1, 1, 100, 80)), ("ox", (71, 51, 90, 70)), ("dog", (31, 21, 60, 50)))
    drawn = np.asarray(png(voc, ((0, 0, 100, 80), 9), ((30, 20, 60, 50), 1), ((70, 50, 90, 70), 2)))
    dataset = read()
    image = dataset.splits["train"].images[0]
    for position, value in enumerate((9, 2, 1)):
        np.testing.assert_array_equal(image.mask(position), drawn == value)
    assert dataset.report.masks["train"] == {"cat": 1, "dog": 1, "ox": 1}
    assert dataset.report.masks["val"] == {"cat": 0, "dog": 0, "ox": 0}


def test_two_masks_share_no_box(voc: Any, read: Read) -> None:
    """Both overlap the first box most, the second mask almost as much as the first."""
    voc.image("train.png")
    voc.xml("train", ("cat", (1, 1, 40, 40)), ("cat", (21, 1, 62, 40)))
    drawn = np.asarray(png(voc, ((0, 0, 42, 40), 1), ((4, 2, 46, 38), 2)))
    image = read().splits["train"].images[0]
    np.testing.assert_array_equal(image.mask(0), drawn == 1)
    np.testing.assert_array_equal(image.mask(1), drawn == 2)


def test_a_difficult_object_may_have_no_mask(voc: Any, read: Read) -> None:
    voc.image("train.png")
    path = voc.xml("train", ("cat", (11, 11, 30, 30)), ("dog", (51, 11, 70, 30)))
    png(voc, ((10, 10, 30, 30), 1))
    with pytest.raises(InputError) as error:
        read()
    assert str(error.value) == (
        f"{voc.root}: SegmentationObject/train.png: has no mask of the dog at Annotations/train.xml:6; one for each "
        "object that is not difficult would be right."
    )
    path.write_text(path.read_text().replace("<name>dog</name>", "<name>dog</name><difficult>1</difficult>"))
    assert read().splits["train"].images[0].masked.tolist() == [True, False]


@pytest.mark.parametrize("third", [(70, 50, 90, 70), (12, 12, 28, 28)])
def test_a_mask_without_object(voc: Any, read: Read, third: tuple) -> None:
    voc.image("train.png")
    voc.xml("train", ("cat", (11, 11, 30, 30)), ("dog", (51, 11, 70, 30)))
    png(voc, ((10, 10, 30, 30), 1), ((50, 10, 70, 30), 2), (third, 3))
    with pytest.raises(InputError) as error:
        read()
    assert str(error.value) == (
        f"{voc.root}: SegmentationObject/train.png: the value 3 is in no box of Annotations/train.xml that no other "
        "takes; an object for each of the 3 masks would be right."
    )


def test_a_mask_elsewhere(voc: Any, read: Read) -> None:
    voc.image("train.png")
    voc.xml("train", ("cat", (11, 11, 30, 30)))
    png(voc, ((50, 50, 70, 70), 4))
    with pytest.raises(InputError, match=r"train.png: the value 4 is in no box of Annotations/train.xml that no other"):
        read()


def test_a_mask_of_another_size_and_a_broken_one(voc: Any, read: Read) -> None:
    voc.image("train.png")
    voc.xml("train", ("cat", (11, 11, 30, 30)), ("cat", (51, 11, 70, 30)))
    png(voc, ((10, 10, 30, 30), 1), ((50, 10, 70, 30), 2), size=(100, 81))
    with pytest.raises(InputError) as error:
        read()
    assert str(error.value) == (
        f"{voc.root}: SegmentationObject/train.png: the mask has 100 x 81 pixels, but the image has 100 x 80; a mask "
        "of the upright image's size would be right."
    )
    (voc.root / "SegmentationObject/train.png").write_bytes(b"no png")
    with pytest.raises(
        InputError, match=r"SegmentationObject/train.png: the mask is no image that Pillow knows; a PNG"
    ):
        read()


@pytest.mark.filterwarnings("error")
def test_boxes_that_are_no_numbers_take_no_mask_and_those_beyond_the_image_do(voc: Any, read: Read) -> None:
    voc.image("train.png")
    boxes = [("nan", 11, 30, 30), (11, 11, 30, 30), (91, 11, 1e300, 30)]
    voc.xml("train", *(("cat", box) for box in boxes), more="<difficult>1</difficult>")
    drawn = np.asarray(png(voc, ((10, 10, 30, 30), 1), ((90, 10, 110, 30), 2)))
    image = read().splits["train"].images[0]
    np.testing.assert_array_equal(image.mask(0), drawn == 1)
    np.testing.assert_array_equal(image.mask(1), drawn == 2)
