import json

import numpy as np
import pytest

from pipeline.core.errors import InputError
from pipeline.evaluation.detections import Detections

STAGE = "dvc repro systems/rcnn/dvc.yaml:detect"


@pytest.fixture
def index(make_index):
    return make_index(["a", "b"], [(1, (0, 0, 5, 5))], [])


def test_there_and_back(tmp_path, index, make_detections):
    path = tmp_path / "rcnn.json"
    saved = make_detections((1, 1, (1.5, 2.25, 10.75, 20), -0.1234567), (2, 2, (0, 0, 99.99, 100), 1e-30))
    saved.save(path)
    loaded = Detections.load(path, index, STAGE)
    assert loaded.image_ids.tolist() == [1, 2]
    assert loaded.labels.tolist() == [1, 2]
    assert loaded.scores.tolist() == saved.scores.tolist()
    np.testing.assert_allclose(loaded.boxes, saved.boxes, atol=1e-5)
    assert (loaded.boxes.dtype, loaded.scores.dtype) == (np.float32, np.float32)


def test_the_file_is_a_coco_result_list(tmp_path, make_detections):
    path = tmp_path / "rcnn.json"
    make_detections((1, 2, (1, 2, 11, 22), 0.5)).save(path)
    assert json.loads(path.read_text()) == [{"image_id": 1, "category_id": 2, "bbox": [1, 2, 10, 20], "score": 0.5}]


def test_sorted_by_image_then_class_then_score(tmp_path, make_detections):
    path, box = tmp_path / "rcnn.json", (0, 0, 5, 5)
    make_detections((2, 1, box, 0.9), (1, 2, box, 0.1), (1, 2, box, 0.2), (1, 1, box, 0.0)).save(path)
    rows = [(row["image_id"], row["category_id"], row["score"]) for row in json.loads(path.read_text())]
    assert rows == [(1, 1, 0.0), (1, 2, 0.2), (1, 2, 0.1), (2, 1, 0.9)]


def test_the_order_in_memory_does_not_change_the_bytes(tmp_path, make_detections):
    rng = np.random.default_rng(0)
    rows = [(int(rng.integers(1, 5)), int(rng.integers(1, 3)), rng.uniform(0, 50, 4), rng.random()) for _ in range(50)]
    make_detections(*rows).save(tmp_path / "a.json")
    make_detections(*(rows[i] for i in rng.permutation(50))).save(tmp_path / "b.json")
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_neighbouring_scores_stay_apart(tmp_path, index, make_detections):
    first = np.float32(0.9)
    second = np.nextafter(first, np.float32(0))
    make_detections((1, 1, (0, 0, 5, 5), first), (1, 1, (0, 0, 5, 5), second)).save(tmp_path / "d.json")
    loaded = Detections.load(tmp_path / "d.json", index, STAGE)
    assert loaded.scores[0] > loaded.scores[1]


def test_boxes_are_rounded_to_a_hundredth_of_a_pixel(tmp_path, make_detections):
    make_detections((1, 1, (0.123456, 1, 10.987654, 3), 0.5)).save(tmp_path / "d.json")
    assert json.loads((tmp_path / "d.json").read_text())[0]["bbox"] == [0.12, 1, 10.87, 2]  # right edge 10.99


def test_no_detections(tmp_path, index, make_detections):
    make_detections().save(tmp_path / "d.json")
    assert json.loads((tmp_path / "d.json").read_text()) == []
    loaded = Detections.load(tmp_path / "d.json", index, STAGE)
    assert (len(loaded), loaded.boxes.shape) == (0, (0, 4))


def test_what_json_cannot_say_is_not_written(tmp_path, make_detections):
    with pytest.raises(ValueError, match="not JSON compliant"):
        make_detections((1, 1, (0, 0, 5, 5), np.nan)).save(tmp_path / "d.json")
    assert not (tmp_path / "d.json").exists()


ENTRY = {"image_id": 1, "category_id": 1, "bbox": [0, 0, 5, 5], "score": 0.5}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"a": 1}', "found dict, not a list"),
        ("[1, 2", "no JSON"),
        ([{"image_id": 1}], "no COCO result .*'category_id'"),
        ([7], "no COCO result"),
        ([ENTRY | {"bbox": [1, 2, 3]}], "3 numbers instead of 4"),
        ([ENTRY, ENTRY | {"image_id": 9}], r"entry 2 \(image 9, class 1\): its image_id is not in the index"),
        ([ENTRY | {"category_id": 3}], "category_id is not in 1 to 2"),
        ([ENTRY | {"category_id": 0}], "category_id is not in 1 to 2"),
        ([ENTRY | {"score": float("nan")}], "not a finite number"),
        ([ENTRY | {"bbox": [0, 0, float("inf"), 1]}], "not a finite number"),
    ],
)
def test_a_wrong_file_is_named_with_the_stage_that_writes_it(tmp_path, index, content, says):
    path = tmp_path / "rcnn.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(InputError, match=says) as caught:
        Detections.load(path, index, STAGE)
    assert str(path) in str(caught.value)
    assert STAGE in str(caught.value)


def test_a_missing_file_is_named_with_the_stage_that_writes_it(tmp_path, index):
    with pytest.raises(
        InputError, match=r"none\.json: the file does not exist; `dvc repro systems/rcnn/dvc.yaml:detect`"
    ):
        Detections.load(tmp_path / "none.json", index, STAGE)
