"""Box regression: its samples by hand, the normal equations, its answers on a planted map, the choice of its ridge."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.core.boxes import iou
from pipeline.core.errors import InputError
from pipeline.core.sections import BoxRegression
from pipeline.linear import ridge as box_regression
from pipeline.linear.model import LinearModel
from pipeline.linear.ridge import BoxRegressor, chosen_ridge, train_box_regressors
from pipeline.linear.training_set import TrainingSet

OBJECT = (0.0, 0.0, 10.0, 10.0)


def settings(**changed: object) -> BoxRegression:
    values = {
        "layer": "fc7",
        "ridge": 1000,
        "min_iou": 0.6,
        "whiten": True,
        "max_samples": 20000,
        "feature_norm": 20,
    }
    return BoxRegression.model_validate({**values, **changed})


def train(regions: TrainingSet, **changed: object) -> tuple[BoxRegressor, list[int]]:
    given = settings(**changed)
    (regressor,), counts = train_box_regressors(regions, given, [given.ridge], seed=3)
    return regressor, counts


def offsets_to(box: NDArray, truth: NDArray) -> list[float]:
    """Write R-CNN's appendix C out for one box, with plain sides."""
    width, height = box[2] - box[0], box[3] - box[1]
    goal_width, goal_height = truth[2] - truth[0], truth[3] - truth[1]
    return [
        ((truth[0] + truth[2]) / 2 - (box[0] + box[2]) / 2) / width,
        ((truth[1] + truth[3]) / 2 - (box[1] + box[3]) / 2) / height,
        np.log(goal_width / width),
        np.log(goal_height / height),
    ]


def scene(count: int, seed: int = 0, width: int = 6) -> list[tuple]:
    """Return images of two objects each with jittered boxes around them and features that tell the jitter's offsets."""
    rng = np.random.default_rng(seed)
    planted = rng.normal(size=(4, width))
    images = []
    for number in range(count):
        truth = np.array([[100, 100, 180, 160], [400, 300, 460, 420]]) + rng.uniform(-20, 20, (2, 1))
        labels = (1, 2) if number % 3 else (2, 2)
        near = truth[rng.integers(2, size=12)]
        sides = np.tile(near[:, 2:] - near[:, :2], 2)
        boxes = np.concatenate([truth, near + rng.uniform(-0.1, 0.16, near.shape) * sides])
        best = iou(boxes, truth).argmax(axis=1)
        wanted = np.array([offsets_to(box, truth[i]) for box, i in zip(boxes, best, strict=True)])
        features = wanted @ planted + rng.normal(size=(len(boxes), width)) * 0.002 + 2
        images.append((list(zip(labels, truth.tolist(), strict=True)), boxes.tolist(), features))
    return images


def samples_slowly(images: list[tuple], label: int, min_iou: float) -> tuple[NDArray, NDArray]:
    rows, targets = [], []
    for objects, boxes, features in images:
        truth = np.array([box for _, box in objects], np.float32)
        for box, row in zip(np.array(boxes, np.float32), features.astype(np.float32), strict=True):
            overlaps = iou(box, truth)[0]
            if overlaps.max() > min_iou and objects[overlaps.argmax()][0] == label:
                rows.append(row)
                targets.append(offsets_to(box, truth[overlaps.argmax()]))
    return np.array(rows, np.float64), np.array(targets)


def solved_slowly(rows: NDArray, targets: NDArray, scale: float, ridge: float, whiten: bool) -> tuple[NDArray, NDArray]:
    """Return the solution as ``rcnn_train_bbox_regressor.m`` writes it; the last feature is 1."""
    x = np.hstack([rows * scale, np.ones((len(rows), 1))])
    mu, t, t_inverse = np.zeros(4), np.eye(4), np.eye(4)
    if whiten:
        mu = targets.mean(axis=0)
        values, vectors = np.linalg.eigh(np.cov(targets.T, bias=True))
        t = vectors @ np.diag(1 / np.sqrt(values + 0.001)) @ vectors.T
        t_inverse = np.linalg.inv(t)
    beta = np.linalg.solve(x.T @ x + ridge * np.eye(x.shape[1]), x.T @ ((targets - mu) @ t))
    solution = beta @ t_inverse
    return solution[:-1].T, solution[-1] + mu


@pytest.mark.parametrize("width", [6, 300])  # fewer and more than there are samples
@pytest.mark.parametrize("whiten", [True, False])
def test_the_solution_is_that_of_the_normal_equations(training_set: Callable, whiten: bool, width: int) -> None:
    images = scene(12, width=width)
    regressor, counts = train(training_set(("cat", "dog"), *images, splits=(5, 7)), ridge=50, whiten=whiten)
    norms = np.linalg.norm(np.concatenate([features for *_, features in images]), axis=1)
    scale = 20 / norms.mean()
    assert regressor.model.scale == pytest.approx(scale, rel=1e-5)
    for label in (1, 2):
        rows, targets = samples_slowly(images, label, 0.6)
        weights, bias = solved_slowly(rows, targets, scale, 50, whiten)
        assert counts[label - 1] == len(rows) > 20
        place = slice(4 * (label - 1), 4 * label)
        np.testing.assert_allclose(regressor.model.weights[place], weights, atol=2e-5)
        np.testing.assert_allclose(regressor.model.bias[place], bias, atol=2e-5)


@pytest.mark.parametrize("width", [6, 300])
def test_several_ridges_give_the_models_of_each(training_set: Callable, width: int) -> None:
    regions, ridges = training_set(("cat", "dog"), *scene(12, width=width)), [0.1, 50, 1000]
    together, counts = train_box_regressors(regions, settings(), ridges, seed=3)
    for regressor, ridge in zip(together, ridges, strict=True):
        alone, same = train(regions, ridge=ridge)
        assert same == counts
        np.testing.assert_allclose(regressor.model.weights, alone.model.weights, atol=2e-5)
        np.testing.assert_allclose(regressor.model.bias, alone.model.bias, atol=2e-5)


def test_of_the_whitening_only_the_mean_is_seen() -> None:
    """All four targets share one ridge, so the matrix cancels; the mean does not, since the bias is penalised."""
    rows, targets = samples_slowly(scene(12), 2, 0.6)
    white, plain, centred = (
        solved_slowly(rows, wanted, 1, 50, whiten)
        for wanted, whiten in ((targets, True), (targets, False), (targets - targets.mean(axis=0), False))
    )
    np.testing.assert_allclose(white[0], centred[0], atol=1e-9)
    assert np.abs(white[1] - plain[1]).max() > 0.01


def test_a_planted_map_is_found_and_boxes_move_onto_their_objects(training_set: Callable) -> None:
    images = scene(30)
    regressor, _ = train(training_set(("cat", "dog"), *images), ridge=0.1)
    for objects, boxes, features in scene(40)[30:]:
        given = np.array(boxes, np.float32)
        truth = np.array([box for _, box in objects], np.float32)
        best = iou(given, truth).argmax(axis=1)
        labels = np.array([label for label, _ in objects])[best]
        moved = regressor(features, given, labels)
        assert moved.dtype == np.float32
        assert iou(moved, truth)[np.arange(len(best)), best].min() > 0.97
        assert iou(given, truth)[np.arange(len(best)), best].min() < 0.8


def test_samples_overlap_an_object_by_more_than_the_limit(training_set: Callable) -> None:
    """Exactly .6 is out, ground truth and difficult objects are in, and the best object decides the class."""
    boxes = [
        (0, 0, 10, 6),
        (0, 0, 10, 6.5),
        (200, 0, 210, 8),
        (0, 0, 10, 5),
        (300, 0, 312, 10),
    ]
    objects = [(1, OBJECT), (2, (200, 0, 210, 10), True), (1, (300, 0, 310, 10)), (2, (302, 0, 312, 10))]
    regions = [*(item[1] for item in objects), *boxes]
    features = np.random.default_rng(0).normal(size=(len(regions), 3))
    overlaps = iou(np.array([(300, 0, 312, 10)], np.float32), np.array([item[1] for item in objects], np.float32))[0]
    assert overlaps[2] == overlaps[3] > 0.6
    _, counts = train(training_set(("cat", "dog", "cow"), (objects, regions, features)))
    assert counts == [4, 3, 0], "two cats, (0, 0, 10, 6.5) and the tie; two dogs and (200, 0, 210, 8)"


def test_a_class_with_nothing_but_a_crowd_has_no_regressor(training_set: Callable) -> None:
    """Neither the crowd nor what lies in it is a sample; its boxes stay where they are."""
    crowd, inside, near = (100.0, 100.0, 200.0, 200.0), (100.0, 100.0, 190.0, 200.0), (0.0, 0.0, 10.0, 9.0)
    regions = [crowd, OBJECT, inside, near]
    features = np.random.default_rng(0).normal(size=(len(regions), 3))
    given = ([(2, crowd, "crowd"), (1, OBJECT)], regions, features)
    regressor, counts = train(training_set(("cat", "dog"), given))
    assert counts == [2, 0]
    np.testing.assert_array_equal(regressor(features, np.array(regions, np.float32), np.full(4, 2)), regions)


def test_boxes_of_a_class_without_samples_stay(training_set: Callable) -> None:
    regressor, counts = train(training_set(("cat", "dog", "cow"), *scene(4)))
    assert counts[2] == 0
    given = np.array([[5, 5, 25, 45], [5, 5, 25, 45]], np.float32)
    moved = regressor(np.ones((2, 6)), given, np.array([3, 1]))
    np.testing.assert_array_equal(moved[0], given[0])
    assert not np.array_equal(moved[1], given[1])


def test_no_box_gives_no_box(training_set: Callable) -> None:
    regressor, _ = train(training_set(("cat", "dog"), *scene(4)))
    moved = regressor(np.zeros((0, 6), np.float16), np.zeros((0, 4), np.float32), np.zeros(0, np.int64))
    assert moved.shape == (0, 4)


def test_a_regressor_applies_its_offsets_by_hand() -> None:
    model = LinearModel(np.zeros((8, 1), np.float32), np.zeros(8, np.float32), 1.0, "pool5")
    model.bias[4:] = [0.5, -0.25, np.log(2), 0]
    moved = BoxRegressor(model)(np.ones((2, 1)), np.array([[0, 0, 20, 40]] * 2, np.float32), np.array([2, 1]))
    # Centre (10, 20) moves by half the width and a quarter of the height, the width doubles.
    np.testing.assert_allclose(moved, [[0, -10, 40, 30], [0, 0, 20, 40]], atol=1e-5)


@pytest.mark.parametrize("room", [0, 3000])
def test_several_passes_over_the_cache_give_the_model_of_one(
    training_set: Callable, monkeypatch: pytest.MonkeyPatch, room: int, capsys: pytest.CaptureFixture[str]
) -> None:
    regions = training_set(("cat", "dog", "cow", "hen"), *scene(12))
    whole, counts = train(regions)
    assert "pass 2" not in capsys.readouterr().err
    monkeypatch.setattr(box_regression, "PASS_BYTES", room)
    parts, again = train(regions)
    assert "pass 2" in capsys.readouterr().err
    assert again == counts
    np.testing.assert_array_equal(parts.model.weights, whole.model.weights)
    np.testing.assert_array_equal(parts.model.bias, whole.model.bias)


def test_too_many_samples_are_thinned_over_all_images(training_set: Callable) -> None:
    images = scene(30)
    regions = training_set(("cat", "dog"), *images)
    _, counts = train(regions)
    thin, few = train(regions, max_samples=60, ridge=0.1)
    assert min(counts) > 60
    assert few == [60, 60]
    again, _ = train(regions, max_samples=60, ridge=0.1)
    np.testing.assert_array_equal(thin.model.weights, again.model.weights)
    # Rows and targets stay together: even the few samples find the planted map.
    rows, targets = samples_slowly(images, 1, 0.6)
    found = thin.model(rows)[:, :4]
    np.testing.assert_allclose(found, targets, atol=0.03)


def test_images_without_objects_or_regions_have_no_samples(training_set: Callable) -> None:
    bare = ([], [OBJECT], np.ones((1, 6))), ([], [], np.zeros((0, 6)))
    images = scene(6)
    with_bare, counts = train(training_set(("cat", "dog"), bare[1], *images, *bare))
    _, alone = train(training_set(("cat", "dog"), *images))
    assert counts == alone
    assert np.isfinite(with_bare.model.bias).all()


def test_there_and_back(training_set: Callable, tmp_path: Path) -> None:
    regressor, _ = train(training_set(("cat", "dog"), *scene(4)))
    regressor.save(tmp_path / "bbox")
    loaded = BoxRegressor.load(tmp_path / "bbox", "systems/rcnn/dvc.yaml:bbox")
    np.testing.assert_array_equal(loaded.model.weights, regressor.model.weights)
    with pytest.raises(InputError, match=r"the stage systems/rcnn/dvc\.yaml:bbox writes it"):
        BoxRegressor.load(tmp_path / "none", "systems/rcnn/dvc.yaml:bbox")


FAR = (100.0, 0.0, 110.0, 10.0)
RIDGE = BoxRegression(layer="fc7", ridge="auto", ridge_values=(1e5, 1), min_iou=0.6)


def overlap_of_moved(regions: TrainingSet, ridge: float) -> float:
    """Return the mean over classes by hand; two objects an image stand before their proposals."""
    (regressor,), _ = train_box_regressors(regions.part([0]), RIDGE, [ridge], seed=1)
    found: dict[int, list[float]] = {1: [], 2: []}
    for image, features in regions.part([1]).images("fc7"):
        for box, row in zip(image.boxes[2:], features[2:], strict=True):
            overlaps = iou(box, image.truth)[0]
            if overlaps.max() > 0.6:
                label = image.labels[overlaps.argmax()]
                moved = regressor(row[None], box[None], np.array([label]))
                found[label].append(iou(moved, image.truth)[0, overlaps.argmax()])
    assert min(map(len, found.values())) > 10
    return float(np.mean([np.mean(values) for values in found.values()]))


def test_the_best_overlap_on_val_decides(training_set: Callable) -> None:
    regions = training_set(("cat", "dog"), *scene(20), splits=(12, 8))
    ridge, figures = chosen_ridge(regions, ("train", "val"), RIDGE, "rcnn.bbox.ridge", seed=1)
    strong, weak = (overlap_of_moved(regions, value) for value in RIDGE.ridge_values)
    assert weak > strong + 0.1
    assert ridge == 1
    assert figures == pytest.approx({"ridge": 1, "val_overlap_at_100000": strong, "val_overlap_at_1": weak}, abs=1e-4)


def test_a_ridge_that_is_a_number_stays(training_set: Callable) -> None:
    regions = training_set(("cat", "dog"), *scene(4))
    assert chosen_ridge(regions, ("train",), BoxRegression(ridge=7), "k", seed=1) == (7, {})


def test_without_a_proposal_near_an_object_of_val_there_is_no_ridge(training_set: Callable) -> None:
    regions = training_set(("cat", "dog"), *scene(4), ([(1, OBJECT)], [OBJECT, FAR], np.ones((2, 6))), splits=(4, 1))
    with pytest.raises(InputError, match=r"^rcnn\.bbox\.ridge is auto, but no proposal of val overlaps"):
        chosen_ridge(regions, ("train", "val"), RIDGE, "rcnn.bbox.ridge", seed=1)
    with pytest.raises(InputError, match="which needs train and val"):
        chosen_ridge(regions.part([0]), ("train",), RIDGE, "rcnn.bbox.ridge", seed=1)
