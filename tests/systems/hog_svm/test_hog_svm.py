"""HOG + SVM as a whole: what is trained on some pictures finds their objects, and what its room says of the data."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.core.boxes import iou
from pipeline.core.errors import InputError
from pipeline.core.sections import Hog
from pipeline.data.index import ImageRecord, Index
from pipeline.features.hog_pyramid import WindowShape
from pipeline.linear.templates import Component
from pipeline.linear.windows import Filter, Positives
from pipeline.systems.hog_svm.model import HogModel
from pipeline.systems.hog_svm.params import HogSvm, Window
from pipeline.systems.hog_svm.reach import window_reach

SHAPE = WindowShape(4, 4, 1)


def model() -> HogModel:
    weights = np.arange(5 * 5 * 36, dtype=np.float32).reshape(5, 5, 36)
    filters = (Filter(Component(2, SHAPE), weights, -0.5), Filter(Component(1, SHAPE), -weights, float("-inf")))
    return HogModel(filters, np.array([[0.25, 0, 0, -0.25], [0, 0, 0.5, 0]], np.float32))


def test_a_saved_model_comes_back_and_its_bytes_repeat(tmp_path: Path) -> None:
    model().save(tmp_path / "a.safetensors")
    model().save(tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    found = HogModel.load(tmp_path / "a.safetensors", "stage")
    np.testing.assert_array_equal(found.offsets, model().offsets)
    for own, other in zip(found.filters, model().filters, strict=True):
        assert (own.component, own.bias) == (other.component, other.bias)
        np.testing.assert_array_equal(own.weights, other.weights)


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "filters.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"no filters can be read .*; the stage train writes them"):
        HogModel.load(tmp_path / "filters.safetensors", "train")


def test_objects_lie_where_those_of_their_filter_lay() -> None:
    windows = np.array([[0, 0, 40, 80], [0, 0, 40, 80]], np.float32)
    boxes = model().boxes(windows, np.array([0, 1]))
    assert boxes.tolist() == [[10, 0, 40, 60], [0, 0, 60, 80]]


def test_the_place_of_objects_is_their_mean_place() -> None:
    windows = np.array([[0, 0, 10, 10], [20, 20, 40, 40]], np.float32)
    objects = np.array([[1, 0, 10, 10], [26, 20, 40, 38]], np.float32)  # left +.1, +.3; bottom 0, -.1
    filters = [Filter(Component(1, SHAPE), np.zeros((5, 5, 36), np.float32), 0.0)] * 2
    none = Positives(np.zeros((0, 900), np.float16), windows[:0], windows[:0])
    fitted = HogModel.fit(filters, [Positives(np.zeros((2, 900), np.float16), windows, objects), none])
    np.testing.assert_allclose(fitted.offsets, [[0.2, 0, 0, -0.05], [0, 0, 0, 0]], atol=1e-6)


def index_of(*boxes: tuple[float, float, float, float]) -> Index:
    values = np.array(boxes, np.float32).reshape(-1, 4)
    count = len(values)
    record = ImageRecord(1, "a.png", 128, 128, "", values, np.ones(count, np.int64), np.zeros(count, np.bool_))
    return Index(("thing",), (record,))


def test_reach_is_the_share_of_objects_that_a_window_overlaps_by_half() -> None:
    """Windows of 32 pixels on levels of size 1 and 1/2: 32 and 64 pixels wide, at steps of 8 and 16."""
    section = HogSvm(hog=Hog(finest=1, octaves=1, per_octave=1), window=Window(area=(1024, 1024), margin=0))
    objects = ((0, 0, 32, 32), (64, 64, 128, 128), (3, 3, 15, 15), (4, 4, 36, 36))
    windows = [(x, y, x + 32, y + 32) for x in range(0, 97, 8) for y in range(0, 97, 8)]
    windows += [(x, y, x + 64, y + 64) for x in range(0, 65, 16) for y in range(0, 65, 16)]
    expected = (iou(windows, objects).max(axis=0) >= 0.5).mean()
    assert window_reach([index_of(*objects)], section).share == expected == 0.75
    assert window_reach([index_of()], section).share == 1
    assert "hog_svm.hog.finest" in window_reach([index_of(*objects)], section).advice
