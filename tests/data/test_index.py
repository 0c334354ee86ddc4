import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.storage import read_json
from pipeline.data.index import ImageRecord, Index
from pipeline.data.masks import encode


def record(boxes: list, key: int = 3) -> ImageRecord:
    count = len(boxes)
    return ImageRecord(
        id=key,
        file="JPEGImages/ü 1.png",
        width=500,
        height=400,
        sha256="ab" * 32,
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        labels=np.arange(1, count + 1),
        ignore=np.arange(count) % 2 == 1,
    )


def test_the_file_is_coco(tmp_path: Path) -> None:
    path = tmp_path / "train.json"
    Index(("cat", "dog"), (record([(10, 20, 40, 60.5), (0.25, 0, 500, 400)]),)).save(path)
    content = read_json(path)
    assert content["categories"] == [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    assert content["images"][0] | {"sha256": ""} == {
        "id": 3,
        "file_name": "JPEGImages/ü 1.png",
        "width": 500,
        "height": 400,
        "sha256": "",
    }
    first, second = content["annotations"]
    assert (first["bbox"], first["area"], first["ignore"]) == ([10, 20, 30, 40.5], 1215, 0)
    assert (second["id"], second["image_id"], second["category_id"], second["ignore"]) == (2, 3, 2, 1)


def test_there_and_back(tmp_path: Path) -> None:
    index = Index(("a", "b"), (record([(1, 2, 3, 4), (0.1, 0.2, 499.999, 400)]), record([], 4)))
    index.save(tmp_path / "i.json")
    loaded = Index.load(tmp_path / "i.json")
    assert loaded.classes == index.classes
    np.testing.assert_array_equal(loaded.images[0].boxes, index.images[0].boxes)
    np.testing.assert_array_equal(loaded.images[0].ignore, [False, True])
    np.testing.assert_array_equal(loaded.images[0].crowd, [False, False])
    assert loaded.images[1].boxes.shape == (0, 4)


@given(st.integers(0, 399_000), st.integers(1, 100_000))
def test_thousandths_come_back_bit_by_bit(tmp_path_factory, left: int, width: int) -> None:
    path = tmp_path_factory.getbasetemp() / "bits.json"
    boxes = np.array([[left / 1000, 0, (left + width) / 1000, 400]], np.float32)
    Index(("a",), (record(boxes.tolist()),)).save(path)
    np.testing.assert_array_equal(Index.load(path).images[0].boxes, boxes)


def test_images_are_spread_over_the_split():
    index = Index(("a",), tuple(ImageRecord(i, f"{i}.png", 10, 10, "") for i in range(1, 101)))
    assert [image.id for image in index.spread(4)] == [1, 26, 51, 76]
    assert len(index.spread(1000)) == 100
    assert Index(("a",), ()).spread(5) == []


def test_masks_are_cocos_segmentation(tmp_path: Path) -> None:
    """COCO's own reader, in faster-coco-eval, gives the pixels that were drawn."""
    from faster_coco_eval import COCO

    pixels = np.zeros((400, 500), bool)
    pixels[20:50, 10:40] = np.random.default_rng(1).random((30, 30)) < 0.5
    index = Index(("a", "b"), (with_masks(record([(10, 20, 40, 50), (0, 0, 9, 9)]), pixels), record([], 4)))
    index.save(tmp_path / "i.json")
    coco = COCO(str(tmp_path / "i.json"))
    np.testing.assert_array_equal(coco.annToMask(coco.loadAnns([1])[0]), pixels)
    assert "segmentation" not in coco.loadAnns([2])[0]
    loaded = Index.load(tmp_path / "i.json", masks=True)
    np.testing.assert_array_equal(loaded.images[0].mask(0), pixels)
    assert loaded.images[0].mask(1) is None
    assert loaded.images[0].masked.tolist() == [True, False]
    assert loaded.images[1].masks == ()
    loaded.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "i.json").read_bytes()


def test_masks_that_nobody_asked_for_weigh_nothing(tmp_path: Path) -> None:
    plain = record([(10, 20, 40, 50)])
    for name, image in (("plain", plain), ("masked", with_masks(plain, np.ones((400, 500), bool)))):
        Index(("a",), (image,)).save(tmp_path / f"{name}.json")
    assert "segmentation" not in (tmp_path / "plain.json").read_text(encoding="utf-8")
    records = [Index.load(tmp_path / f"{name}.json").images for name in ("plain", "masked")]
    assert pickle.dumps(records[0]) == pickle.dumps(records[1])
    assert len(pickle.dumps(Index.load(tmp_path / "masked.json", masks=True).images)) > len(pickle.dumps(records[0]))
    assert not records[1][0].masked.any()
    assert records[1][0].mask(0) is None


def with_masks(image: ImageRecord, pixels: np.ndarray) -> ImageRecord:
    """Give the first object a mask, and the others none."""
    return replace(image, masks=(encode(pixels).counts, *[None] * (len(image.boxes) - 1)))
