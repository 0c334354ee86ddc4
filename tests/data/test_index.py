from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.storage import read_json
from pipeline.data.index import ImageRecord, Index


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
