"""Classification of whole images: labels, norms and mean AP, against scikit-learn and worked examples."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from pipeline.data.index import ImageRecord
from pipeline.linear.classification import classification_metrics, presence, train_image_svms, unit_norm


def image(labels: list[int], ignore: list[bool]) -> ImageRecord:
    boxes = np.tile(np.float32([0, 0, 1, 1]), (len(labels), 1))
    return ImageRecord(1, "a", 9, 9, "", boxes, np.array(labels, np.int64), np.array(ignore, np.bool_))


def test_an_image_with_only_difficult_objects_is_neither() -> None:
    images = [image([1, 2], [False, True]), image([], []), image([2, 2], [True, False])]
    assert presence(images, 3).tolist() == [[1, -1, 0], [0, 0, 0], [0, 1, 0]]


def test_rows_get_norm_one_and_zeros_stay() -> None:
    rows = unit_norm(np.array([[3, 4], [0, 0]], np.float16))
    np.testing.assert_allclose(rows, [[0.6, 0.8], [0, 0]], rtol=1e-6)


def test_separable_classes_are_learned_and_impossible_ones_left_out() -> None:
    rng = np.random.default_rng(0)
    features = unit_norm(rng.normal(size=(60, 5)))
    shown = np.stack([features[:, 0] > 0, np.ones(60), np.zeros(60)], axis=1).astype(np.int8)
    model = train_image_svms(features, shown, C=100, seed=1)
    assert ((model(features)[:, 0] > 0) == shown[:, 0]).mean() > 0.95
    assert np.isneginf(model.bias[1:]).all()


def test_the_mean_ap_is_scikit_learn_s_area_where_precision_falls_steadily() -> None:
    rng = np.random.default_rng(1)
    shown = (rng.random((40, 3)) < 0.3).astype(np.int8)
    shown[:, 2] = 0  # no image shows the third class: it does not count
    scores = (shown * 2 + np.arange(40)[:, None] / 100).astype(np.float32)
    figures = classification_metrics(scores, shown)
    expected = np.mean([average_precision_score(shown[:, c], scores[:, c]) for c in range(2)])
    assert figures == {"images": 40, "classes": 2, "map_voc07": 1.0, "map_voc": expected}


def test_images_that_are_neither_do_not_count() -> None:
    scores = np.float32([[4], [3], [2], [1]])
    # right, (neither), wrong, right: precisions 1, 1/2, 2/3 at recalls 1/2, 1/2, 1
    figures = classification_metrics(scores, np.array([[1], [-1], [0], [1]], np.int8))
    assert figures["map_voc"] == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert figures["map_voc07"] == pytest.approx((6 * 1 + 5 * 2 / 3) / 11)


def test_without_any_object_there_is_no_figure() -> None:
    assert classification_metrics(np.zeros((2, 1), np.float32), np.zeros((2, 1), np.int8))["map_voc"] is None
