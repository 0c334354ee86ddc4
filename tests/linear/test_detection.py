"""Detection from cached regions: what is left out, how many are kept, in which order things happen."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.core.boxes import as_boxes, clip, decode
from pipeline.core.errors import InputError
from pipeline.core.sections import Detection
from pipeline.data.index import ImageRecord, Index
from pipeline.detector import Description, detect_split
from pipeline.evaluation.detections import Detections
from pipeline.features.cache import CacheWriter, Column, FeatureCache
from pipeline.limits import class_limits
from pipeline.linear.detection import CachedRegions, LinearDetector
from pipeline.linear.model import LinearModel
from pipeline.linear.ridge import BoxRegressor

# Far from each other, so that none is suppressed.
GRID = [(30.0 * i, 0.0, 30.0 * i + 20, 20.0) for i in range(40)]


def settings(**changed: object) -> Detection:
    values = {
        "max_per_class": 100,
        "per_class_budget": 40,
        "nms": 0.3,
        "box_regression": True,
        "min_score": None,
        "nms_before": False,
    }
    return Detection.model_validate({**values, **changed})


def cache(folder: Path, *images: tuple[list, list[list[float]], int]) -> FeatureCache:
    """Return a cache of images ``(boxes, scores by class of each, number of ground-truth rows first)``; ids 101 up."""
    counts = [len(boxes) for boxes, *_ in images]
    scores = np.array([row for _, rows, _ in images for row in rows], np.float32)
    tables = {
        "offsets": np.cumsum([0, *counts]).astype(np.int64),
        "image_ids": np.arange(101, 101 + len(images)),
        "boxes": np.concatenate([as_boxes(boxes) for boxes, *_ in images]),
        "is_ground_truth": np.concatenate([np.arange(len(boxes)) < truth for boxes, _, truth in images]),
    }
    columns = [Column("fc7", scores.shape[1], "float32"), Column("pool5", 1, "float32")]
    with CacheWriter(folder, columns, len(scores), 1, tables, {}) as writer:
        for start, stop in writer.pending():
            rows = np.arange(start, stop, dtype=np.float32)[:, None]
            writer.write(start, {"fc7": scores[start:stop], "pool5": rows})
    return FeatureCache(writer.place.path, "systems/rcnn/dvc.yaml:features")


def svm(classes: int, missing: tuple[int, ...] = ()) -> LinearModel:
    """Return SVMs whose scores are the features; those of the labels ``missing`` were not learned."""
    bias = np.array([-np.inf if label in missing else 0 for label in range(1, classes + 1)], np.float32)
    return LinearModel(np.eye(classes, dtype=np.float32), bias, 1.0, "fc7")


def rows_of(found: Detections) -> list[tuple]:
    columns = (found.image_ids, found.labels, found.boxes[:, 0], np.round(found.scores, 3))
    return sorted(zip(*(column.tolist() for column in columns), strict=True))


def index(classes: int, sizes: list[tuple[int, int]]) -> Index:
    images = (ImageRecord(101 + number, "", width, height, "") for number, (width, height) in enumerate(sizes))
    return Index(tuple("abc"[:classes]), tuple(images))


def detect(
    cache: FeatureCache,
    svm: LinearModel,
    regressor: BoxRegressor | None = None,
    sizes: list[tuple[int, int]] | None = None,
    **changed: object,
) -> Detections:
    """Return the detections among cached regions, in images of 2000 x 100 pixels or of ``sizes``."""
    split = index(len(svm.bias), sizes or [(2000, 100)] * len(cache))
    used = settings(**changed)
    limits = class_limits(used.max_per_class, used.per_class_budget, [split], "linear.detect")
    description = Description.of("linear", split.classes, detect=used, limits=limits)
    detector = LinearDetector(description, svm, regressor, CachedRegions(cache, split))
    return detect_split(detector, split, Path("no image is read"))[0]


def test_ground_truth_rows_are_left_out(tmp_path: Path) -> None:
    given = cache(tmp_path, (GRID[:4], [[9], [8], [1], [2]], 2), (GRID[:1], [[7]], 1), (GRID[4:5], [[-3]], 0))
    found = detect(given, svm(1))
    assert rows_of(found) == [(101, 1, 60, 1), (101, 1, 90, 2), (103, 1, 120, -3)]


def test_the_best_of_each_image_and_class_are_kept(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(40, 2))
    given = cache(tmp_path, (GRID, scores.tolist(), 0), (GRID, (-scores).tolist(), 0))
    found = detect(given, svm(2), max_per_class=3)
    for image, values in ((101, scores), (102, -scores)):
        for label in (1, 2):
            own = found.take((found.image_ids == image) & (found.labels == label))
            expected = np.argsort(-values[:, label - 1])[:3]
            np.testing.assert_array_equal(own.boxes[:, 0], 30.0 * expected)
            np.testing.assert_allclose(own.scores, values[expected, label - 1], rtol=1e-6)


def official_limits(scores: list[NDArray], most: int, budget: int) -> list[set[int]]:
    """Return the rows kept of each image by ``rcnn_test.m`` for one class: a threshold that rises as images go by.

    The official code starts to raise it before the budget is full, which makes the outcome depend on the order of the
    images; here it waits.
    """
    threshold = -np.inf
    kept: list[NDArray] = []
    for number, z in enumerate(scores):
        rows = np.flatnonzero(z > threshold)
        kept.append(rows[np.argsort(-z[rows], kind="stable")[:most]])
        if number % 2 == 1 or number == len(scores) - 1:
            pool = np.sort(np.concatenate([z[rows] for z, rows in zip(scores, kept, strict=False)]))[::-1]
            if len(pool) >= budget * len(scores):
                threshold = pool[min(len(pool), budget * len(scores)) - 1]
                kept = [rows[z[rows] >= threshold] for z, rows in zip(scores, kept, strict=False)]
    return [set(rows.tolist()) for rows in kept]


@pytest.mark.parametrize("budget", [1, 5, 12, 100])
def test_the_budget_over_all_images_is_that_of_the_rising_threshold(tmp_path: Path, budget: int) -> None:
    rng = np.random.default_rng(budget)
    images = [rng.normal(loc, 1, size=(count, 2)) for loc, count in ((0, 40), (2, 30), (-1, 0), (1, 40), (0, 7))]
    given = cache(tmp_path, *[(GRID[: len(scores)], scores.tolist(), 0) for scores in images])
    found = detect(given, svm(2), max_per_class=15, per_class_budget=budget)
    for label in (1, 2):
        own = [scores[:, label - 1].astype(np.float32) for scores in images]
        for number, expected in enumerate(official_limits(own, 15, budget)):
            one = found.take((found.image_ids == 101 + number) & (found.labels == label))
            assert {round(x / 30) for x in one.boxes[:, 0].tolist()} == expected


def test_suppression_is_by_class_and_above_the_threshold(tmp_path: Path) -> None:
    """Against the first box the second shares .29 and the third .4; the second and third share .725."""
    boxes = [(0, 0, 10, 10), (0, 0, 10, 2.9), (0, 0, 10, 4), (50, 0, 60, 10)]
    given = cache(tmp_path, (boxes, [[4, 1], [3, 2], [2, 3], [1, 4]], 0))
    found = detect(given, svm(2))
    assert rows_of(found) == [(101, 1, 0, 3), (101, 1, 0, 4), (101, 1, 50, 1), (101, 2, 0, 3), (101, 2, 50, 4)]
    assert len(detect(given, svm(2), nms=0.8)) == 8


def test_boxes_are_regressed_then_clipped_then_suppressed(tmp_path: Path) -> None:
    """Two boxes apart are moved onto each other and one of them falls; a third is moved out of the image."""
    boxes = [(0, 0, 20, 20), (60, 0, 80, 20), (80, 50, 100, 70)]
    given = cache(tmp_path, (GRID[:1], [[0]], 1), (boxes, [[3], [2], [1]], 0))
    # The cache's pool5 of a row is its number: 1, 2, 3. dx = 1.5, 0, -1.5 times the width: x = 30, 60, 50.
    weights = np.array([[-1.5], [0], [0], [0]], np.float32)
    regressor = BoxRegressor(LinearModel(weights, np.array([3, 0, 0, 0], np.float32), 1.0, "pool5"))
    found = detect(given, svm(1), regressor, [(100, 100), (65, 60)])
    moved = decode(as_boxes(boxes), np.array([[1.5, 0, 0, 0], [0, 0, 0, 0], [-1.5, 0, 0, 0]], np.float32))
    expected = clip(moved, 65, 60)
    np.testing.assert_allclose(found.boxes, expected, atol=1e-5)
    np.testing.assert_allclose(expected[2], [50, 50, 65, 60])
    together = BoxRegressor(LinearModel(np.zeros((4, 1), np.float32), np.array([0, 0, 9, 9], np.float32), 1.0, "pool5"))
    found = detect(given, svm(1), together, [(100, 100), (65, 60)])
    assert found.scores.tolist() == [3], "all boxes grow beyond the image and become one"
    np.testing.assert_array_equal(found.boxes, [[0, 0, 65, 60]])


def test_each_box_is_moved_by_the_regressor_of_its_class(tmp_path: Path) -> None:
    given = cache(tmp_path, (GRID[:2], [[1, 2], [4, 3]], 0))
    model = LinearModel(np.zeros((8, 1), np.float32), np.zeros(8, np.float32), 1.0, "pool5")
    model.bias[0] = 0.1
    model.bias[4] = 0.5
    found = detect(given, svm(2), BoxRegressor(model))
    assert rows_of(found) == [(101, 1, 2, 1), (101, 1, 32, 4), (101, 2, 10, 2), (101, 2, 40, 3)]


def test_a_class_without_an_svm_is_never_detected(tmp_path: Path) -> None:
    given = cache(tmp_path, (GRID[:2], [[1, 2], [4, 3]], 0))
    found = detect(given, svm(2, missing=(1,)))
    assert set(found.labels.tolist()) == {2}
    assert np.isfinite(found.scores).all()


def test_nothing_to_detect_gives_no_detections(tmp_path: Path) -> None:
    empty = ([], [], 0)
    for number, (images, missing) in enumerate(
        [
            (((GRID[:1], [[1.0]], 0),), (1,)),
            (((GRID[:1], [[1.0]], 1), empty), ()),
            ((empty, (GRID[:1], [[1.0]], 1)), ()),
        ]
    ):
        (tmp_path / str(number)).mkdir()
        given = cache(tmp_path / str(number), *images)
        regressor = BoxRegressor(LinearModel(np.zeros((4, 1), np.float32), np.zeros(4, np.float32), 1.0, "pool5"))
        for used in (None, regressor):
            found = detect(given, svm(1, missing), used)
            assert len(found) == 0
            found.save(tmp_path / "detections.json")


def test_equal_scores_keep_the_order_of_the_proposals(tmp_path: Path) -> None:
    given = cache(tmp_path, (GRID, [[1.0]] * 40, 0), (GRID, [[1.0]] * 40, 0))
    found = detect(given, svm(1), max_per_class=10, per_class_budget=6)
    assert [int(x / 30) for x in found.boxes[:, 0]] == [*range(10), 0, 1]


# Two piles far apart, the second one weak; within a pile boxes overlap by more than 0.7.
PILES = [(0, 0, 10, 10), (0, 0, 10, 11), (50, 50, 60, 60), (50, 50, 60, 62)]
WEAK = [[3.0], [2.0], [-1.0], [-1.6]]


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"nms_before": False}, [3.0]),  # R-CNN: the limit first, and the two best are one pile
        ({"nms_before": True}, [3.0, -1.0]),  # SPP-net: suppression first
        ({"nms_before": True, "min_score": -1.0}, [3.0]),  # a score equal to the threshold is left out
        ({"nms_before": True, "min_score": -1.5, "max_per_class": 9}, [3.0, -1.0]),
        ({"min_score": -1.5, "max_per_class": 9}, [3.0, -1.0]),
    ],
)
def test_limit_suppression_and_threshold_in_their_order(tmp_path: Path, changed: dict, expected: list[float]) -> None:
    given = cache(tmp_path, (PILES, WEAK, 0))
    assert detect(given, svm(1), **({"max_per_class": 2} | changed)).scores.tolist() == expected


def test_boxes_suppressed_before_regression_are_suppressed_after_it_too(tmp_path: Path) -> None:
    given = cache(tmp_path, ([(50, 50, 60, 60), (54, 50, 64, 60)], [[3.0], [2.0]], 0))
    left = BoxRegressor(LinearModel(np.zeros((4, 1), np.float32), np.float32([-5, -5, 0, 0]), 1.0, "pool5"))
    one, other = (detect(given, svm(1), used, nms=0.5, nms_before=True) for used in (None, left))
    assert one.scores.tolist() == other.scores.tolist() == [3.0, 2.0]
    assert other.boxes.tolist() == [[0, 0, 10, 10], [4, 0, 14, 10]]


def test_a_cache_of_other_images_is_refused(tmp_path: Path) -> None:
    given = cache(tmp_path, (GRID[:2], [[1], [4]], 0))
    with pytest.raises(InputError, match=r"cache\.zarr: the features are of other images than the index"):
        CachedRegions(given, index(1, [(9, 9), (9, 9)]))
